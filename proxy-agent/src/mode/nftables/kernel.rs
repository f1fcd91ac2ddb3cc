//! What the mode needs of a kernel, so that tests can put another in its place.
//! Never knows what a Service is.

use super::layout::Settings;
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

/// Why the kernel did not do it.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The socket failed.
    #[error("netlink socket: {0}")]
    Socket(#[from] std::io::Error),
    /// The kernel refused a message of a transaction; nothing of it took effect.
    #[error("the kernel refused message {message} of an nftables transaction: {error}")]
    Refused {
        /// Counted from the transaction's begin.
        message: u32,
        /// The kernel's reason.
        error: std::io::Error,
    },
    /// The answer is not what the protocol says.
    #[error("netlink answer makes no sense: {0}")]
    Malformed(&'static str),
}

/// A place where a table can be.
pub trait Kernel: Send {
    /// What is there now. A table of another layout is reported as one without
    /// sets, which `make` of a fresh plan replaces.
    fn dump(&mut self, settings: &Settings) -> Result<Ruleset, KernelError>;

    /// Does the steps in order, in as few transactions as fit the socket. After an
    /// error any number of whole transactions may have been done: dump again.
    fn commit(&mut self, steps: &[Step]) -> Result<Traffic, KernelError>;
}
