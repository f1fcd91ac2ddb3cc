//! What leads where: destinations, and the routes of each. The words in which the catalog
//! says it, and modes take it; knows no object of the API, and no mode.

mod dirty;

use std::net::IpAddr;

use ipnet::IpNet;

pub use dirty::Dirty;

/// Endpoints used for one destination at most; the first by address are taken.
/// A mode's counters have 14 bits for them.
pub const MAX_ENDPOINTS: usize = 16_383;

/// An IP family; part of every key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Family {
    /// As the API and upstream's metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    /// Its number in sockets and in netfilter: `AF_INET`, `AF_INET6`.
    pub fn number(self) -> u8 {
        match self {
            Family::V4 => 2,
            Family::V6 => 10,
        }
    }

    /// The family of an address.
    pub fn of(address: &IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// A transport protocol of a Service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

impl Protocol {
    /// The protocol's number in the IP header.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// The protocol with this number, if a Service can have it.
    pub fn from_number(number: u8) -> Option<Protocol> {
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|p| p.number() == number)
    }

    /// The protocol as the API spells it (`TCP`), any case.
    pub fn parse(text: &str) -> Option<Protocol> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Some(Protocol::Tcp),
            "udp" => Some(Protocol::Udp),
            "sctp" => Some(Protocol::Sctp),
            _ => None,
        }
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

/// What a packet must be addressed to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Destination {
    /// One address: a cluster IP, an external IP, a load balancer's address.
    Address {
        /// The address.
        address: IpAddr,
        /// The protocol.
        protocol: Protocol,
        /// The Service's port.
        port: u16,
    },
    /// Any of the node's own addresses.
    NodePort {
        /// Which family's addresses.
        family: Family,
        /// The protocol.
        protocol: Protocol,
        /// The node port.
        port: u16,
    },
}

impl Destination {
    /// The family of the address.
    pub fn family(&self) -> Family {
        match self {
            Destination::Address { address, .. } => Family::of(address),
            Destination::NodePort { family, .. } => *family,
        }
    }

    /// Protocol and port.
    pub fn transport(&self) -> (Protocol, u16) {
        match self {
            Destination::Address { protocol, port, .. }
            | Destination::NodePort { protocol, port, .. } => (*protocol, *port),
        }
    }
}

/// An endpoint's address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The endpoint's address.
    pub address: IpAddr,
    /// The endpoint's port.
    pub port: u16,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::net::SocketAddr::new(self.address, self.port).fmt(f)
    }
}

/// What happens to a packet for a destination without a usable endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unserved {
    /// Refused at once.
    Reject,
    /// Dropped: others of the cluster may serve it (policy `Local`).
    Drop,
}

/// When the source address is replaced by the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Masquerade {
    /// Never; the endpoint sees the client.
    Never,
    /// Unless the source is a pod of the cluster, where that can be told. This is what
    /// "masquerade all" turns into `Always`.
    UnlessFromPod,
    /// Only what this node itself sends: its source may be the destination's address.
    FromNode,
    /// Always: the answer must come back through this node.
    Always,
}

/// Session affinity by client address; the timeout in seconds, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Affinity {
    /// Seconds without a new connection after which the client is forgotten.
    pub timeout_seconds: u32,
}

/// Which of the Service's endpoints a route may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Policy {
    /// Those of the whole cluster, as far as topology hints do not narrow them.
    Cluster,
    /// Those of this node.
    Local,
}

/// Where the packets of one destination go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The traffic policy that chose `endpoints`.
    pub policy: Policy,
    /// The usable endpoints, sorted, without duplicates.
    pub endpoints: Vec<Target>,
    /// What to do while `endpoints` is empty.
    pub unserved: Unserved,
    /// Whether the source is replaced.
    pub masquerade: Masquerade,
    /// Session affinity.
    pub affinity: Option<Affinity>,
}

/// Which field of the Service a destination comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// `spec.clusterIPs`
    ClusterIp,
    /// `spec.externalIPs`
    ExternalIp,
    /// `status.loadBalancer.ingress`
    LoadBalancer,
    /// `spec.ports[].nodePort`
    NodePort,
}

/// A destination's routes by where the packet comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    /// Where the Service names the destination.
    pub origin: Origin,
    /// `spec.loadBalancerSourceRanges` of the destination's family, sorted: a packet
    /// from elsewhere is dropped, from inside the cluster too, and also where nobody
    /// serves. With this node's address in them, the load balancer's are too. `None`: no restriction. `Some` of nothing: nobody may.
    pub allowed_sources: Option<Vec<IpNet>>,
    /// From the cluster itself: pods and this node.
    pub inside: Route,
    /// From elsewhere; `None` means the same as inside.
    pub outside: Option<Route>,
}

impl Routes {
    /// The endpoints of both ways; some may come twice.
    pub fn endpoints(&self) -> impl Iterator<Item = Target> {
        let ways = [Some(&self.inside), self.outside.as_ref()].into_iter().flatten();
        ways.flat_map(|route| route.endpoints.iter().copied())
    }
}

/// Something that has routes to lead packets by: the catalog, or what a mode has made of it.
pub trait RouteTable {
    /// The routes of a destination; `None`: nobody claims it.
    fn routes(&self, to: &Destination) -> Option<&Routes>;

    /// Every destination, in any order.
    fn destinations(&self) -> impl Iterator<Item = &Destination>;

    /// Whether the address is some Service's cluster IP: what none of its ports takes is
    /// refused there.
    fn is_cluster_ip(&self, address: &IpAddr) -> bool;

    /// Every cluster IP, in any order.
    fn cluster_ips(&self) -> impl Iterator<Item = &IpAddr>;

    /// Whether a pod with this address may meet itself through this node: it runs here,
    /// or nobody says where, or its packets are not masqueraded wherever it runs.
    fn is_own_endpoint(&self, address: &IpAddr) -> bool;

    /// Every address of which `is_own_endpoint` is true.
    fn own_endpoints(&self) -> impl Iterator<Item = &IpAddr>;

    /// Every key that there is something for.
    fn keys(&self) -> Dirty {
        Dirty {
            destinations: self.destinations().cloned().collect(),
            cluster_ips: self.cluster_ips().copied().collect(),
            own_endpoints: self.own_endpoints().copied().collect(),
        }
    }
}
