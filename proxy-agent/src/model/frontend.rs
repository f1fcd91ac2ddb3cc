//! Destinations and where they lead. Knows no mode and never reads an object of
//! the API itself.

use std::net::IpAddr;

use super::choose::choose;
use super::service::{ServiceInfo, ServicePort};
use super::slice::Endpoint;

/// An IP family; part of every key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: &IpAddr) -> Family {
        if address.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        }
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
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
            .into_iter()
            .find(|p| p.number() == number)
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
    /// Unless the source is a pod of the cluster, where that can be told.
    UnlessFromPod,
    /// Always: the answer must come back through this node.
    Always,
}

/// Session affinity by client address; the timeout in seconds, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Affinity {
    /// Seconds without a new connection after which the client is forgotten.
    pub timeout_seconds: u32,
}

/// Where the packets of one destination go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The usable endpoints, sorted, without duplicates.
    pub endpoints: Vec<Target>,
    /// What to do while `endpoints` is empty.
    pub unserved: Unserved,
    /// Whether the source is replaced.
    pub masquerade: Masquerade,
    /// Session affinity.
    pub affinity: Option<Affinity>,
}

/// A destination's routes by where the packet comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    /// From the cluster itself: pods and this node.
    pub inside: Route,
    /// From elsewhere; `None` means the same as inside.
    pub outside: Option<Route>,
}

/// Calls `emit` for each destination of one Service port in one family.
pub(super) fn routes_of(
    service: &ServiceInfo,
    port: &ServicePort,
    family: Family,
    endpoints: &[Endpoint],
    mut emit: impl FnMut(Destination, Routes),
) {
    let chosen = choose(endpoints);
    let route = |endpoints: &[Target], unserved, masquerade| Route {
        endpoints: endpoints.to_vec(),
        // Nobody anywhere: refuse. Somebody, but not here: leave it to others.
        unserved: if chosen.is_empty() {
            Unserved::Reject
        } else {
            unserved
        },
        masquerade,
        affinity: service.affinity,
    };
    let at = |address| Destination::Address {
        address,
        protocol: port.protocol,
        port: port.port,
    };
    let internal = if service.internal_local {
        &chosen.local
    } else {
        &chosen.cluster
    };
    for &address in service
        .cluster_ips
        .iter()
        .filter(|a| Family::of(a) == family)
    {
        let routes = Routes {
            inside: route(internal, Unserved::Drop, Masquerade::UnlessFromPod),
            outside: None,
        };
        emit(at(address), routes);
    }
    let external = || {
        if service.external_local {
            Routes {
                inside: route(&chosen.cluster, Unserved::Drop, Masquerade::UnlessFromPod),
                outside: Some(route(&chosen.local, Unserved::Drop, Masquerade::Never)),
            }
        } else {
            Routes {
                inside: route(&chosen.cluster, Unserved::Drop, Masquerade::Always),
                outside: None,
            }
        }
    };
    for &address in service
        .external_ips
        .iter()
        .filter(|a| Family::of(a) == family)
    {
        emit(at(address), external());
    }
    if port.node_port != 0 && service.cluster_ips.iter().any(|a| Family::of(a) == family) {
        let destination = Destination::NodePort {
            family,
            protocol: port.protocol,
            port: port.node_port,
        };
        emit(destination, external());
    }
}
