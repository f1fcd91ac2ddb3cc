//! Destinations and where they lead. Knows no mode and never reads an object of
//! the API itself.

use std::net::IpAddr;

use ipnet::IpNet;

use super::choose::{Chosen, Place, choose};
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

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

impl Family {
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

/// Calls `emit` for each destination of one Service port in one family: none where the
/// Service has no cluster IP of it, as upstream.
pub(super) fn routes_of(
    service: &ServiceInfo,
    port: &ServicePort,
    family: Family,
    endpoints: &[Endpoint],
    place: Place<'_>,
    mut emit: impl FnMut(Destination, Routes),
) {
    let of_family = |address: &&IpAddr| Family::of(address) == family;
    if !service.cluster_ips.iter().any(|address| of_family(&address)) {
        return;
    }
    let chosen = choose(endpoints, place);
    let at = |address| Destination::Address { address, protocol: port.protocol, port: port.port };
    for &address in service.cluster_ips.iter().filter(of_family) {
        emit(at(address), internal(service, &chosen));
    }
    for &address in service.external_ips.iter().filter(of_family) {
        emit(at(address), external(service, &chosen, Origin::ExternalIp));
    }
    let allowed_sources = allowed_sources(service, family, place.addresses);
    for &address in service.load_balancer_ips.iter().filter(of_family) {
        let routes = Routes {
            allowed_sources: allowed_sources.clone(),
            ..external(service, &chosen, Origin::LoadBalancer)
        };
        emit(at(address), routes);
    }
    if port.node_port != 0 {
        let destination =
            Destination::NodePort { family, protocol: port.protocol, port: port.node_port };
        emit(destination, external(service, &chosen, Origin::NodePort));
    }
}

/// The Service's source ranges of one family. Where this node is in them, so are the load
/// balancer's own addresses: the node may have got them too, and then its packets to one
/// come from there.
fn allowed_sources(
    service: &ServiceInfo,
    family: Family,
    node_addresses: &[IpAddr],
) -> Option<Vec<IpNet>> {
    let of_family = |range: &&IpNet| Family::of(&range.addr()) == family;
    let ranges = service.source_ranges.allowed.as_ref()?;
    let ranges = ranges.iter().filter(of_family);
    let mut ranges: Vec<IpNet> = ranges.copied().collect();
    let has_node = |range: &IpNet| node_addresses.iter().any(|a| range.contains(a));
    if ranges.iter().any(has_node) {
        let own = service.load_balancer_ips.iter().copied().map(IpNet::from);
        ranges.extend(own.filter(|own| of_family(&own)));
        ranges.sort_unstable();
    }
    Some(ranges)
}

/// Routes of a cluster IP.
fn internal(service: &ServiceInfo, chosen: &Chosen) -> Routes {
    let policy = if service.internal_local { Policy::Local } else { Policy::Cluster };
    Routes {
        origin: Origin::ClusterIp,
        allowed_sources: None,
        inside: route(service, chosen, policy, Masquerade::UnlessFromPod),
        outside: None,
    }
}

/// Routes of what clients outside the cluster may use. With policy `Local` the
/// cluster's own clients still meet all endpoints, as upstream: a pod that goes by the
/// load balancer's address must not depend on the node it is on.
fn external(service: &ServiceInfo, chosen: &Chosen, origin: Origin) -> Routes {
    let (masquerade, outside) = if service.external_local {
        let outside = route(service, chosen, Policy::Local, Masquerade::Never);
        (Masquerade::FromNode, Some(outside))
    } else {
        (Masquerade::Always, None)
    };
    Routes {
        origin,
        allowed_sources: None,
        inside: route(service, chosen, Policy::Cluster, masquerade),
        outside,
    }
}

fn route(service: &ServiceInfo, chosen: &Chosen, policy: Policy, masquerade: Masquerade) -> Route {
    let endpoints = match policy {
        Policy::Cluster => &chosen.cluster,
        Policy::Local => &chosen.local,
    };
    Route {
        policy,
        endpoints: endpoints.clone(),
        // Nobody anywhere: refuse. Somebody, but not here: leave it to others.
        unserved: if chosen.is_empty() { Unserved::Reject } else { Unserved::Drop },
        masquerade,
        affinity: service.affinity,
    }
}
