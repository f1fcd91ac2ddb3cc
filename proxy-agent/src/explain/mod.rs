//! Explain: why a packet goes where it goes on this node. A pure function of the catalog,
//! the settings and the node's addresses; never looks at the kernel and never changes
//! anything.

mod answer;
pub mod desk;
mod endpoints;
pub(crate) mod http;
mod miss;
mod query;
mod story;

use std::net::IpAddr;

pub use answer::{Decision, Explanation, Outcome, Unused, Used};
pub use query::{BadQuery, Packet, parse};
pub use story::explain;

use crate::catalog::Catalog;
use crate::mode::{Mode, OnLoopback};
use crate::settings::{LocalTraffic, Settings};

/// What the answer is made from.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// What is known of Services.
    pub catalog: &'a Catalog,
    /// The mode that carries the packet's family.
    pub mode: &'a dyn Mode,
    /// This node's own addresses.
    pub node_addresses: &'a [IpAddr],
}

impl View<'_> {
    /// Whether this node has the address.
    fn is_own(&self, address: &IpAddr) -> bool {
        address.is_loopback() || self.node_addresses.contains(address)
    }

    /// Whether node ports answer on this one of the node's addresses.
    fn answers_node_ports(&self, address: &IpAddr) -> bool {
        let settings = self.mode.settings();
        let networks = &settings.node_port_addresses;
        let is_named = networks.iter().any(|network| network.contains(address));
        if !address.is_loopback() {
            return networks.is_empty() || is_named;
        }
        // The kernel never routes `::1`.
        let is_asked = match self.mode.on_loopback() {
            OnLoopback::Never => false,
            OnLoopback::WhereNamed => is_named,
            OnLoopback::ByDefault => networks.is_empty() || is_named,
        };
        is_asked && address.is_ipv4()
    }

    /// Whether the packet comes from a pod; `None` where that cannot be told.
    fn is_from_pod(&self, packet: &Packet) -> Option<bool> {
        let interface = packet.interface.as_deref().unwrap_or_default();
        match &self.mode.settings().local_traffic {
            LocalTraffic::Unknown => None,
            LocalTraffic::Network(network) => Some(network.contains(&packet.source)),
            LocalTraffic::Interface(name) => Some(interface == name),
            LocalTraffic::InterfacePrefix(name) => Some(interface.starts_with(name)),
        }
    }
}

/// Whether the question lacks what this node tells pods by.
///
/// # Errors
/// It does; the field is named.
pub fn check(packet: &Packet, settings: &Settings, node: &[IpAddr]) -> Result<(), BadQuery> {
    let by_interface = matches!(
        settings.local_traffic,
        LocalTraffic::Interface(_) | LocalTraffic::InterfacePrefix(_)
    );
    if by_interface && packet.interface.is_none() && !node.contains(&packet.source) {
        return Err(BadQuery {
            field: "interface".to_owned(),
            says: "is missing: this node tells pods by the interface that packets come in by"
                .to_owned(),
        });
    }
    Ok(())
}
