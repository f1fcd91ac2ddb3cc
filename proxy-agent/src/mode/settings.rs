//! What every mode depends on beside Services. Never read from the API: the agent's
//! options and configuration become one of these for each family.

use ipnet::IpNet;

use crate::model::Family;

/// How packets of this node's pods are told from others: they need no masquerade, and
/// see all endpoints of a Service with `externalTrafficPolicy: Local`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LocalTraffic {
    /// They are not: only the node's own packets count as inside.
    #[default]
    Unknown,
    /// By source address: `ClusterCIDR` (pods of any node), `NodeCIDR` (of this one).
    Network(IpNet),
    /// By the interface they come in from: `BridgeInterface`.
    Interface(String),
    /// By the beginning of its name: `InterfaceNamePrefix`.
    InterfacePrefix(String),
}

/// What a mode depends on beside Services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The family that this instance of the mode carries.
    pub family: Family,
    /// How pods' packets are told.
    pub local_traffic: LocalTraffic,
    /// Node ports answer on the node's addresses in these networks; empty: on all but
    /// loopback.
    pub node_port_addresses: Vec<IpNet>,
    /// Replace the source of everything that goes through a cluster IP.
    pub masquerade_all: bool,
}
