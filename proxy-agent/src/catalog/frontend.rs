//! The destinations of a Service port, and where they lead.

use std::net::IpAddr;

use ipnet::IpNet;

use super::choose::{Chosen, Place, choose};
use super::service::{ServiceInfo, ServicePort};
use super::slice::Endpoint;
use crate::routes::{Destination, Family, Masquerade, Origin, Policy, Route, Routes, Unserved};

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
