//! The kernel's nftables over netlink: steps out, a dump in. Runs no program, and
//! never decides what should be in the table.

mod batch;
mod dump;
mod element;
mod expression;

use std::io;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};

pub use batch::{BATCH_BYTES, MAX_REMEMBERED};

use super::kernel::{Kernel, KernelError, Traffic};
use super::ruleset::{Op, Ruleset, Step};
use crate::netlink::{Monitor, Socket};
use crate::routes::Family;

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
    /// Opens a socket in the calling thread's network namespace, to the family's table of
    /// this name.
    pub fn open(family: Family, table: &'static str) -> io::Result<Netlink> {
        Netlink::with_socket(family, table, Socket::open()?)
    }

    /// The same where it is known then that the kernel takes rules.
    ///
    /// # Errors
    /// It has no nf_tables, or does not let this process use it.
    pub fn open_usable(family: Family, table: &'static str) -> Result<Netlink> {
        let mut netlink = Netlink::open(family, table).context("cannot open a netlink socket")?;
        netlink.check()?;
        Ok(netlink)
    }

    /// Whether the kernel takes rules.
    ///
    /// # Errors
    /// It has no nf_tables, or does not let this process use it.
    pub fn check(&mut self) -> Result<()> {
        self.generation().context(
            "cannot read nf_tables: the kernel needs CONFIG_NF_TABLES and the agent CAP_NET_ADMIN",
        )?;
        Ok(())
    }

    /// As `open`, with a send buffer of `bytes`, as on a kernel that gives no more.
    pub fn with_send_buffer(
        family: Family,
        table: &'static str,
        bytes: usize,
    ) -> io::Result<Netlink> {
        Netlink::with_socket(family, table, Socket::with_send_buffer(bytes)?)
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
    fn dump(&mut self) -> Result<Ruleset, KernelError> {
        self.listen();
        self.disturbed = false;
        dump::ruleset(&mut self.socket, self.table, self.family)
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

/// nf_tables' generation in the calling thread's network namespace; `None` where it cannot
/// be read.
pub fn generation() -> Option<u32> {
    dump::generation(&mut Socket::open().ok()?).ok()
}

/// The family's table of this name, if there is one; a kernel without nf_tables has none.
fn existing(family: Family, table: &'static str) -> Result<Option<Netlink>> {
    let Ok(mut netlink) = Netlink::open(family, table) else {
        return Ok(None);
    };
    match netlink.generation() {
        Ok(_) => Ok(netlink.dump()?.table.then_some(netlink)),
        Err(error) if error.is_denied() => {
            Err(error).context("cannot read nf_tables: this needs CAP_NET_ADMIN")
        }
        Err(_) => Ok(None),
    }
}

/// Whether the family has a table of this name.
///
/// # Errors
/// No right to look.
pub fn has_table(family: Family, table: &'static str) -> Result<bool> {
    Ok(existing(family, table)?.is_some())
}

/// Removes the family's table of this name; whether there was one.
///
/// # Errors
/// No right to look, or the kernel refuses.
pub fn remove_table(family: Family, table: &'static str) -> Result<bool> {
    let Some(mut netlink) = existing(family, table)? else {
        return Ok(false);
    };
    netlink.commit(&[vec![Op::DeleteTable]])?;
    Ok(true)
}
