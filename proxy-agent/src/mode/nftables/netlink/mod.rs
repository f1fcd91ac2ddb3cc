//! The kernel's nftables over netlink: steps out, a dump in. Runs no program, and
//! never decides what should be in the table.

mod batch;
mod dump;
mod element;
mod expression;

use std::io;

use crate::netlink::Socket;
pub use batch::{BATCH_BYTES, MAX_REMEMBERED};

use super::kernel::{Kernel, KernelError, Traffic};
use super::layout::TABLE;
use super::ruleset::{Ruleset, Step};
use crate::mode::Settings;
use crate::model::Family;

/// nf_tables of the network namespace that this was opened in.
pub struct Netlink {
    socket: Socket,
    family: Family,
    table: &'static str,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open(family: Family) -> io::Result<Netlink> {
        Netlink::open_table(family, TABLE)
    }

    /// The same for a table of another name.
    pub fn open_table(family: Family, table: &'static str) -> io::Result<Netlink> {
        Ok(Netlink {
            socket: Socket::open()?,
            family,
            table,
        })
    }

    /// The ruleset's generation id: it grows with each transaction of anyone.
    pub fn generation(&mut self) -> Result<u32, KernelError> {
        dump::generation(&mut self.socket)
    }
}

impl Kernel for Netlink {
    fn dump(&mut self, settings: &Settings) -> Result<Ruleset, KernelError> {
        dump::ruleset(&mut self.socket, self.table, settings)
    }

    fn commit(&mut self, steps: &[Step]) -> Result<Traffic, KernelError> {
        let mut traffic = Traffic::default();
        for batch in batch::encode(self.family, self.table, steps) {
            self.socket.commit(&batch.bytes)?;
            traffic.transactions += 1;
            traffic.messages += batch.messages;
            traffic.bytes += batch.bytes.len();
        }
        Ok(traffic)
    }
}
