//! Why a packet is for no Service port.

use std::net::IpAddr;

use super::View;
use super::answer::{Decision, Outcome};
use super::query::Packet;
use crate::catalog::{Ignored, ServiceInfo, ServiceName};
use crate::routes::{Destination, RouteTable};

/// What becomes of it, and what it missed.
pub fn why(view: View<'_>, packet: &Packet) -> (Outcome, Vec<Decision>) {
    let address = packet.destination;
    let mut decisions = Vec::new();
    if view.catalog.is_cluster_ip(&address) {
        for (name, info) in owners(view, |info| info.cluster_ips.contains(&address)) {
            decisions.push(other_ports(name, info, "spec.clusterIPs", packet, "refused"));
        }
        return (Outcome::Reject, decisions);
    }
    let has_addresses = view.mode.has_addresses();
    let external = |info: &ServiceInfo| {
        info.external_ips.contains(&address) || info.load_balancer_ips.contains(&address)
    };
    for (name, info) in owners(view, external) {
        let field = if info.external_ips.contains(&address) {
            "spec.externalIPs"
        } else {
            "status.loadBalancer.ingress[].ip"
        };
        let so = match has_addresses {
            true => format!("refused, since in mode {} the node has the address", view.mode.name()),
            false => "left alone".to_owned(),
        };
        decisions.push(other_ports(name, info, field, packet, &so));
    }
    if has_addresses && !decisions.is_empty() && !view.is_own(&address) {
        return (Outcome::Reject, decisions);
    }
    for (name, ignored) in view.catalog.ignored() {
        decisions.extend(left_to_others(name, ignored, &address));
    }
    if view.is_own(&address) {
        decisions.push(no_node_port(view, packet));
    }
    if decisions.is_empty() {
        decisions.push(Decision {
            object: "Services".to_owned(),
            field: String::new(),
            value: address.to_string(),
            says: "no Service has this address. A headless Service has none: its clients go to \
                   its pods. One of type ExternalName is a name in DNS and no more"
                .to_owned(),
        });
    }
    (Outcome::Untouched, decisions)
}

fn owners<'a>(
    view: View<'a>,
    has: impl Fn(&ServiceInfo) -> bool + 'a,
) -> Vec<(&'a ServiceName, &'a ServiceInfo)> {
    let mut owners: Vec<_> = view.catalog.services().filter(|(_, info)| has(info)).collect();
    owners.sort_by_key(|(name, _)| *name);
    owners
}

fn other_ports(
    name: &ServiceName,
    info: &ServiceInfo,
    field: &str,
    packet: &Packet,
    so: &str,
) -> Decision {
    let ports = info.ports.iter().map(|p| format!("{}/{}", p.port, p.protocol));
    let ports: Vec<String> = ports.collect();
    Decision {
        object: format!("Service {name}"),
        field: field.to_owned(),
        value: packet.destination.to_string(),
        says: format!(
            "its ports are {}, not {}/{}: {so}",
            ports.join(", "),
            packet.port,
            packet.protocol
        ),
    }
}

fn left_to_others(name: &ServiceName, ignored: &Ignored, address: &IpAddr) -> Option<Decision> {
    ignored.addresses.contains(address).then(|| Decision {
        object: format!("Service {name}"),
        field: format!("metadata.labels[{}]", ignored.label),
        value: ignored.value.clone(),
        says: "it has this address, and is left alone by this label".to_owned(),
    })
}

fn no_node_port(view: View<'_>, packet: &Packet) -> Decision {
    let (protocol, port) = (packet.protocol, packet.port);
    let node_port = Destination::NodePort { family: packet.family(), protocol, port };
    let claimed = view.catalog.claimed(&node_port);
    let Some((name, _)) = claimed.filter(|_| !view.answers_node_ports(&packet.destination)) else {
        return Decision {
            object: format!("Node {}", view.catalog.place().node_name),
            field: "status.addresses".to_owned(),
            value: packet.destination.to_string(),
            says: format!("no Service has the node port {port}/{protocol} for {}", packet.family()),
        };
    };
    let networks = view.mode.settings().node_port_addresses.iter();
    let networks: Vec<String> = networks.map(ToString::to_string).collect();
    Decision {
        object: "proxy-agent".to_owned(),
        field: "nodePortAddresses".to_owned(),
        value: networks.join(", "),
        says: format!(
            "{port}/{protocol} is a node port of Service {}, and this address of the node answers \
             none{}",
            name.service,
            if packet.destination.is_loopback() { ": it is loopback" } else { "" }
        ),
    }
}
