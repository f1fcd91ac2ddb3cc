//! The kernel's nftables over netlink: steps out, a dump in. Runs no program, and
//! never decides what should be in the table.

mod batch;
mod dump;
mod element;
mod expression;

use std::io;
use std::os::fd::OwnedFd;

use crate::netlink::{Monitor, Socket};
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
    /// `None`: others' changes are found at the next verification only.
    monitor: Option<Monitor>,
    /// Somebody else changed the table since the last dump.
    disturbed: bool,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open(family: Family) -> io::Result<Netlink> {
        Netlink::open_table(family, TABLE)
    }

    /// The same for a table of another name.
    pub fn open_table(family: Family, table: &'static str) -> io::Result<Netlink> {
        Netlink::with_socket(family, table, Socket::open()?)
    }

    /// The same with a send buffer of `bytes`, as on a kernel that gives no more.
    pub fn with_send_buffer(family: Family, bytes: usize) -> io::Result<Netlink> {
        Netlink::with_socket(family, TABLE, Socket::with_send_buffer(bytes)?)
    }

    fn with_socket(family: Family, table: &'static str, socket: Socket) -> io::Result<Netlink> {
        let monitor = Monitor::open()
            .inspect_err(|error| tracing::warn!(%error, "cannot listen to nf_tables: others' changes are repaired at the next verification"))
            .ok();
        Ok(Netlink { socket, family, table, monitor, disturbed: false })
    }

    /// The ruleset's generation id: it grows by one with each transaction of anyone.
    pub fn generation(&mut self) -> Result<u32, KernelError> {
        dump::generation(&mut self.socket)
    }

    /// Takes in what came meanwhile: only this table counts, and not what is our own.
    fn listen(&mut self) {
        let (own, family, table) = (self.socket.port(), self.family, self.table);
        if let Some(monitor) = &mut self.monitor {
            self.disturbed |= monitor
                .drain(|message| message.port != own && dump::is_ours(message, table, family));
        }
    }

    fn commit_all(&mut self, batches: &[batch::Batch]) -> Result<Traffic, KernelError> {
        let mut traffic = Traffic::default();
        for batch in batches {
            self.socket.commit(&batch.bytes)?;
            traffic.transactions += 1;
            traffic.messages += batch.messages;
            traffic.bytes += batch.bytes.len();
        }
        Ok(traffic)
    }

    /// Without listening; the generation tells whether others were there meanwhile.
    fn commit_deaf(&mut self, batches: &[batch::Batch]) -> Result<Traffic, KernelError> {
        let before = self.generation()?;
        self.listen();
        let Some(monitor) = &mut self.monitor else {
            return self.commit_all(batches);
        };
        monitor.listen(false)?;
        let done = self.commit_all(batches);
        if let Some(monitor) = &mut self.monitor {
            monitor.listen(true)?;
        }
        let after = self.generation()?;
        self.disturbed |= after.wrapping_sub(before) != batches.len() as u32;
        done
    }
}

impl Kernel for Netlink {
    fn dump(&mut self, settings: &Settings) -> Result<Ruleset, KernelError> {
        self.listen();
        self.disturbed = false;
        dump::ruleset(&mut self.socket, self.table, settings)
    }

    fn commit(&mut self, steps: &[Step]) -> Result<Traffic, KernelError> {
        let batches = batch::encode(self.family, self.table, steps);
        let done = match batches.len() {
            0 | 1 => self.commit_all(&batches),
            _ => self.commit_deaf(&batches),
        };
        self.listen();
        done
    }

    fn watched(&self) -> Option<OwnedFd> {
        self.monitor.as_ref()?.descriptor().ok()
    }

    fn is_disturbed(&mut self) -> bool {
        self.listen();
        self.disturbed
    }
}
