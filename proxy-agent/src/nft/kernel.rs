//! What a table needs of a kernel, so that tests can put another in its place.

use std::os::fd::OwnedFd;

pub use crate::netlink::KernelError;

use super::ruleset::{Ruleset, Step};

/// What went over the socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Transactions.
    pub transactions: usize,
    /// Netlink messages, with those that begin and end a transaction.
    pub messages: usize,
    /// Bytes of all messages.
    pub bytes: usize,
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, other: Traffic) {
        self.transactions += other.transactions;
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

/// A place where a table can be.
pub trait Kernel: Send {
    /// What is there now. A table of another layout is reported as one without
    /// sets, which `make` of a fresh plan replaces.
    fn dump(&mut self) -> Result<Ruleset, KernelError>;

    /// Does the steps in order, in as few transactions as fit the socket. After an
    /// error any number of whole transactions may have been done: dump again.
    fn commit(&mut self, steps: &[Step]) -> Result<Traffic, KernelError>;

    /// Becomes readable when somebody may have changed something; `None`: never.
    fn watched(&self) -> Option<OwnedFd> {
        None
    }

    /// Whether somebody else changed the table since the last `dump`.
    fn is_disturbed(&mut self) -> bool {
        false
    }
}
