//! IPVS, the interface and the table over netlink. Runs no program, and never decides
//! what there should be.

mod link;
mod servers;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};

use self::link::{Link, LinkOp};
use self::servers::{ServerOp, Servers};
use super::kernel::{Installed, Kernel, KernelError, Op};
use super::layout::TABLE;
use super::parameters;
use super::server::Name;
use crate::nft::kernel::Kernel as _;
use crate::nft::netlink::{Netlink as TableNetlink, has_table, remove_table};
use crate::nft::ruleset::Step;
use crate::routes::{Family, Target};

/// The interface that carries the Services' addresses; upstream's name.
const INTERFACE: &str = "kube-ipvs0";

/// The network namespace that this was opened in, of one family.
pub struct Netlink {
    servers: Servers,
    link: Link,
    table: TableNetlink,
}

impl Netlink {
    /// Opens sockets in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel has no IPVS.
    pub fn open(family: Family) -> Result<Netlink> {
        let servers = Servers::open(family).map_err(|error| match error {
            KernelError::Socket(error) if error.kind() == io::ErrorKind::NotFound => {
                anyhow::anyhow!(
                    "this kernel has no IPVS: load the modules ip_vs and ip_vs_rr, or use \
                     mode nftables"
                )
            }
            other => anyhow::Error::from(other).context("cannot ask for IPVS"),
        })?;
        Ok(Netlink {
            servers,
            link: Link::open(family).context("cannot open a netlink socket")?,
            table: TableNetlink::open(family, TABLE).context("cannot open a netlink socket")?,
        })
    }

    /// Tries what the mode needs, and leaves nothing behind.
    ///
    /// # Errors
    /// What is missing, by the module's name.
    pub fn probe(&mut self, scheduler: &str) -> Result<()> {
        self.servers.probe(scheduler).map_err(|error| match error {
            KernelError::Socket(error) if error.kind() == io::ErrorKind::NotFound => {
                anyhow::anyhow!(
                    "IPVS has no scheduler {scheduler}: load the module ip_vs_{scheduler}"
                )
            }
            KernelError::Socket(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                anyhow::anyhow!(
                    "IPVS is for the machine's own root with CAP_NET_ADMIN alone, not for \
                     a user namespace's: use mode nftables"
                )
            }
            other => anyhow::Error::from(other).context("cannot make a virtual server"),
        })?;
        if !self.link.has_interface()? {
            if let Err(error) = self.link.commit(&[LinkOp::AddInterface]) {
                bail!("no interface of type dummy ({error}): load the module dummy");
            }
            self.link.commit(&[LinkOp::DeleteInterface])?;
        }
        self.table.check()
    }
}

/// The node's own addresses of a family, without loopback and those of the interface.
///
/// # Errors
/// The kernel does not answer, or not in a way that makes sense.
pub fn own_addresses(family: Family) -> Result<BTreeSet<IpAddr>, KernelError> {
    Ok(Link::open(family)?.addresses()?.1)
}

/// Whether the mode has ever been here: there is an interface or a table of its own.
///
/// # Errors
/// The kernel does not answer, or not in a way that makes sense.
pub fn has_traces(family: Family) -> Result<bool> {
    Ok(Link::open(family)?.has_interface()? || has_table(family, TABLE)?)
}

/// Removes the table and the addresses of a family, and the interface if no family has an
/// address there any more.
///
/// # Errors
/// The kernel refuses.
pub fn remove_traces(family: Family) -> Result<()> {
    remove_table(family, TABLE)?;
    let mut link = Link::open(family)?;
    let (carried, _) = link.addresses()?;
    let ops: Vec<LinkOp> = carried.into_iter().map(LinkOp::DeleteAddress).collect();
    link.commit(&ops)?;
    for family in [Family::V4, Family::V6] {
        if !Link::open(family)?.addresses()?.0.is_empty() {
            return Ok(());
        }
    }
    if link.has_interface()? {
        link.commit(&[LinkOp::DeleteInterface])?;
    }
    Ok(())
}

impl Kernel for Netlink {
    fn dump(&mut self) -> Result<Installed, KernelError> {
        let (carried, own) = self.link.addresses()?;
        let mut installed = Installed {
            table: self.table.dump()?,
            servers: self.servers.dump()?,
            interface: self.link.has_interface()?,
            carried,
            own,
            parameters: BTreeMap::new(),
            timeouts: self.servers.timeouts()?,
        };
        for path in parameters::ALL {
            // One that this kernel has not is none that is asked for.
            if let Ok(value) = std::fs::read_to_string(parameter(path)) {
                installed.parameters.insert(path, value.trim().to_owned());
            }
        }
        Ok(installed)
    }

    fn commit(&mut self, ops: &[Op]) -> Result<(), KernelError> {
        let mut run = Run::default();
        for op in ops {
            if run.kind() != Some(Kind::of(op)) {
                self.flush(&mut run)?;
            }
            match op {
                Op::Table(step) => run.table.push(step.clone()),
                Op::SetParameter(path, value) => {
                    std::fs::write(parameter(path), value).map_err(|error| {
                        let what = format!("{path} = {value}");
                        KernelError::RefusedThat { what, error }
                    })?;
                }
                Op::AddInterface => run.links.push(LinkOp::AddInterface),
                Op::AddAddress(address) => run.links.push(LinkOp::AddAddress(*address)),
                Op::DeleteAddress(address) => run.links.push(LinkOp::DeleteAddress(*address)),
                other => run.servers.push(ServerOp(other)),
            }
        }
        self.flush(&mut run)
    }

    fn connections(&mut self, name: &Name) -> Result<BTreeMap<Target, u32>, KernelError> {
        self.servers.connections(name)
    }
}

fn parameter(path: &str) -> std::path::PathBuf {
    Path::new("/proc/sys").join(path)
}

/// Which part of the kernel an operation is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Table,
    Link,
    Servers,
    Parameter,
}

impl Kind {
    fn of(op: &Op) -> Kind {
        match op {
            Op::Table(_) => Kind::Table,
            Op::SetParameter(..) => Kind::Parameter,
            Op::AddInterface | Op::AddAddress(_) | Op::DeleteAddress(_) => Kind::Link,
            _ => Kind::Servers,
        }
    }
}

/// Operations of one kind that follow each other.
#[derive(Default)]
struct Run<'a> {
    table: Vec<Step>,
    links: Vec<LinkOp>,
    servers: Vec<ServerOp<'a>>,
}

impl Run<'_> {
    fn kind(&self) -> Option<Kind> {
        if !self.table.is_empty() {
            Some(Kind::Table)
        } else if !self.links.is_empty() {
            Some(Kind::Link)
        } else if !self.servers.is_empty() {
            Some(Kind::Servers)
        } else {
            None
        }
    }
}

impl Netlink {
    fn flush(&mut self, run: &mut Run<'_>) -> Result<(), KernelError> {
        if !run.table.is_empty() {
            self.table.commit(&run.table)?;
        }
        self.link.commit(&run.links)?;
        self.servers.commit(&run.servers)?;
        *run = Run::default();
        Ok(())
    }
}
