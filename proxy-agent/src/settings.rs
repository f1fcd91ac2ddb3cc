//! What every mode depends on beside Services. Never read from the API: the agent's
//! options and configuration become one of these for each family.

use std::time::Duration;

use ipnet::IpNet;

use crate::routes::Family;

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

/// What mode `ipvs` alone depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpvsSettings {
    /// The kernel's scheduler: `rr`, `lc`, `sh`, …
    pub scheduler: String,
    /// Virtual servers with an address in these networks are somebody else's.
    pub exclude_cidrs: Vec<IpNet>,
    /// Answer ARP only for addresses of the interface that it came in from, so that
    /// those of `kube-ipvs0` are not claimed.
    pub strict_arp: bool,
    /// Idle TCP connections end after this; zero: as the kernel has it.
    pub tcp_timeout: Duration,
    /// TCP connections end so long after a FIN; zero: as the kernel has it.
    pub tcp_fin_timeout: Duration,
    /// Silent UDP connections end after this; zero: as the kernel has it.
    pub udp_timeout: Duration,
}

impl Default for IpvsSettings {
    fn default() -> IpvsSettings {
        IpvsSettings {
            scheduler: "rr".to_owned(),
            exclude_cidrs: Vec::new(),
            strict_arp: false,
            tcp_timeout: Duration::ZERO,
            tcp_fin_timeout: Duration::ZERO,
            udp_timeout: Duration::ZERO,
        }
    }
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
    /// Which bit of a packet's mark asks for masquerade, 0 to 31.
    pub masquerade_bit: u8,
    /// `iptables.localhostNodePorts`: node ports answer on 127.0.0.0/8 too, where
    /// `node_port_addresses` does not leave it out. Mode `nftables` answers there where
    /// that says so, whatever is said here.
    pub localhost_node_ports: bool,
    /// Mode `ipvs` alone.
    pub ipvs: IpvsSettings,
}

impl Settings {
    /// Upstream's defaults, and pods that cannot be told from others.
    pub fn new(family: Family) -> Settings {
        Settings {
            family,
            local_traffic: LocalTraffic::Unknown,
            node_port_addresses: Vec::new(),
            masquerade_all: false,
            masquerade_bit: 14,
            localhost_node_ports: true,
            ipvs: IpvsSettings::default(),
        }
    }

    /// The bit of a packet's mark that asks for masquerade.
    pub fn masquerade_mark(&self) -> u32 {
        1 << (self.masquerade_bit & 31)
    }
}
