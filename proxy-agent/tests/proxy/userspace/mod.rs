//! Mode `userspace`: its table of listeners, and connections through it in namespaces.
//! Never says what is right for a packet: the packet table does.

mod connections;
mod datagrams;
mod end;
mod histories;
mod memory_sockets;
pub mod packets;
mod text;

use std::net::{IpAddr, SocketAddr};

use proxy_agent::catalog::{Catalog, Change};
use proxy_agent::mode::Mode;
use proxy_agent::mode::userspace::limits::Limits;
use proxy_agent::mode::userspace::sockets::NodeSockets;
use proxy_agent::mode::userspace::{self, Userspace};
use proxy_agent::nft::netlink::Netlink;

use super::{objects, table};

/// A pod of this node, one of another node, this node, and a client outside.
pub const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 244, 1, 11));
pub const OTHER_POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 244, 2, 11));
pub const NODE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 77, 11));
pub const OUTSIDE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 78, 2));
/// The Service of most tests.
pub const WEB: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 10)), 80);

/// The mode on the real kernel with its catalog.
pub struct Agent {
    pub mode: Userspace<Netlink, NodeSockets>,
    catalog: Catalog,
}

impl Agent {
    pub fn new(limits: Limits, text: &str) -> Agent {
        let mode = userspace::open(table::settings(), limits).expect("a mode that works here");
        let catalog = table::catalog_of(Vec::new());
        let mut agent = Agent { mode, catalog };
        agent.apply(objects::changes(text));
        agent
    }

    pub fn apply(&mut self, changes: Vec<Change>) {
        changes.into_iter().for_each(|change| self.catalog.apply(change));
        let dirty = self.catalog.take_dirty();
        self.mode.sync(&self.catalog, &dirty).expect("synced");
        while self.mode.needs_sweep() {
            self.mode.sweep().expect("swept");
        }
    }
}
