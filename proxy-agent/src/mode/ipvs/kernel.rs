//! What the mode needs of a kernel, and what it believes to be there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::server::{Name, RealServer, Scheduling, VirtualServer};
pub use crate::netlink::KernelError;
use crate::nft::ruleset::{Ruleset, Step};
use crate::routes::Target;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A step of the nftables table.
    Table(Step),
    /// Sets a kernel parameter, a path below `/proc/sys`.
    SetParameter(&'static str, String),
    /// Sets the timeouts of connections, in seconds: TCP, TCP after a FIN, UDP.
    SetTimeouts([u32; 3]),
    /// Makes the interface.
    AddInterface,
    /// Gives the interface an address.
    AddAddress(IpAddr),
    /// Takes an address from the interface.
    DeleteAddress(IpAddr),
    /// Makes a virtual server without real ones.
    AddServer(Name, Scheduling),
    /// Has a virtual server choose otherwise.
    SetServer(Name, Scheduling),
    /// Removes a virtual server with its real ones.
    DeleteServer(Name),
    /// Adds a real server, with its weight.
    AddReal(Name, Target, u32),
    /// Changes a real server's weight.
    SetReal(Name, Target, u32),
    /// Removes a real server; its connections end.
    DeleteReal(Name, Target),
}

/// What is (believed to be) there, of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// The nftables table.
    pub table: Ruleset,
    /// All virtual servers, others' too.
    pub servers: BTreeMap<Name, VirtualServer>,
    /// Whether the interface is there.
    pub interface: bool,
    /// The interface's addresses.
    pub carried: BTreeSet<IpAddr>,
    /// The node's other addresses, loopback left out.
    pub own: BTreeSet<IpAddr>,
    /// Kernel parameters that were looked at.
    pub parameters: BTreeMap<&'static str, String>,
    /// Timeouts of connections in seconds: TCP, TCP after a FIN, UDP.
    pub timeouts: [u32; 3],
}

impl Installed {
    /// Does to this what the kernel does.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Table(step) => step.iter().for_each(|op| self.table.apply(op)),
            Op::SetParameter(path, value) => {
                self.parameters.insert(path, value.clone());
            }
            Op::SetTimeouts(seconds) => {
                for (timeout, seconds) in self.timeouts.iter_mut().zip(seconds) {
                    // The kernel leaves as it is what is set to nothing.
                    if *seconds != 0 {
                        *timeout = *seconds;
                    }
                }
            }
            Op::AddInterface => self.interface = true,
            Op::AddAddress(address) => {
                self.carried.insert(*address);
            }
            Op::DeleteAddress(address) => {
                self.carried.remove(address);
            }
            Op::AddServer(name, scheduling) => {
                let server =
                    VirtualServer { scheduling: scheduling.clone(), reals: BTreeMap::new() };
                self.servers.insert(*name, server);
            }
            Op::SetServer(name, scheduling) => {
                if let Some(server) = self.servers.get_mut(name) {
                    server.scheduling = scheduling.clone();
                }
            }
            Op::DeleteServer(name) => {
                self.servers.remove(name);
            }
            Op::AddReal(name, target, weight) | Op::SetReal(name, target, weight) => {
                if let Some(server) = self.servers.get_mut(name) {
                    let real = RealServer { weight: *weight, connections: None };
                    server.reals.insert(*target, real);
                }
            }
            Op::DeleteReal(name, target) => {
                if let Some(server) = self.servers.get_mut(name) {
                    server.reals.remove(target);
                }
            }
        }
    }
}

/// A place where virtual servers can be.
pub trait Kernel: Send {
    /// What is there now.
    ///
    /// # Errors
    /// The kernel does not answer, or not in a way that makes sense.
    fn dump(&mut self) -> Result<Installed, KernelError>;

    /// Does the operations in order. After an error any number of them may have been
    /// done: dump again.
    ///
    /// # Errors
    /// The first operation that the kernel refuses.
    fn commit(&mut self, ops: &[Op]) -> Result<(), KernelError>;

    /// The connections of a virtual server's real servers.
    ///
    /// # Errors
    /// The kernel does not answer, or not in a way that makes sense.
    fn connections(&mut self, name: &Name) -> Result<BTreeMap<Target, u32>, KernelError>;
}
