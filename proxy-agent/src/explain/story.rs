//! The decisions in the order in which a packet meets them. Never decides anything that
//! the catalog and the modes have not decided: the tests compare it with the packet table.

use std::net::IpAddr;

use super::answer::{Decision, Explanation, Outcome, Used};
use super::endpoints::{choice, unused};
use super::query::Packet;
use super::{View, miss};
use crate::catalog::ServicePortName;
use crate::mode::Asked;
use crate::routes::{Destination, Masquerade, Origin, Policy, Route, RouteTable, Routes, Unserved};
use crate::settings::LocalTraffic;

/// What becomes of a packet on this node, and why.
pub fn explain(view: View<'_>, packet: &Packet) -> Explanation {
    let mut story = Story {
        view,
        packet,
        told: Explanation {
            packet: packet.to_string(),
            node: view.catalog.place().node_name.to_owned(),
            mode: view.mode.name(),
            decisions: Vec::new(),
            outcome: Outcome::Untouched,
            endpoints: Vec::new(),
            unused: Vec::new(),
            rules: Vec::new(),
        },
    };
    story.tell();
    story.told
}

/// Where the packet comes from, as policies see it.
struct Whence {
    is_outside: bool,
    says: String,
}

struct Story<'a> {
    view: View<'a>,
    packet: &'a Packet,
    told: Explanation,
}

impl Story<'_> {
    fn decide(&mut self, object: &str, field: &str, value: impl ToString, says: impl Into<String>) {
        self.told.decisions.push(Decision {
            object: object.to_owned(),
            field: field.to_owned(),
            value: value.to_string(),
            says: says.into(),
        });
    }

    fn tell(&mut self) {
        let catalog = self.view.catalog;
        if self.is_astray() {
            let says = "the address is loopback, and the packet comes from elsewhere: dropped";
            let address = self.packet.destination;
            self.decide("Node", "", address, says);
            self.told.outcome = Outcome::Drop;
            return;
        }
        let Some(to) = destination_of(self.view, self.packet) else {
            let (outcome, decisions) = miss::why(self.view, self.packet);
            self.told.outcome = outcome;
            self.told.decisions.extend(decisions);
            return;
        };
        let Some((port, routes)) = catalog.claimed(&to) else {
            return;
        };
        self.tell_service(port, &to, routes.origin);
        let whence = self.whence();
        let is_outside = whence.is_outside;
        self.decide("proxy-agent", "", "", whence.says);
        let outside = routes.outside.as_ref().filter(|_| is_outside);
        let route = outside.unwrap_or(&routes.inside);
        self.told.rules = self.view.mode.rules_of(&Asked {
            catalog,
            to: &to,
            address: self.packet.destination,
            outside: outside.is_some(),
        });
        self.told.outcome = self.tell_routes(&to, port, routes, route, is_outside);
        if self.told.outcome == Outcome::Endpoint {
            self.tell_endpoints(route);
        }
    }

    /// The kernel or the mode lets nobody else come to loopback.
    fn is_astray(&self) -> bool {
        self.packet.destination.is_loopback() && !self.view.is_own(&self.packet.source)
    }

    /// From the Service's fields to what becomes of the packet.
    fn tell_routes(
        &mut self,
        to: &Destination,
        port: &ServicePortName,
        routes: &Routes,
        route: &Route,
        is_outside: bool,
    ) -> Outcome {
        let object = format!("Service {}", port.service);
        if let Some(ranges) = &routes.allowed_sources {
            let field = "spec.loadBalancerSourceRanges";
            let list: Vec<String> = ranges.iter().map(ToString::to_string).collect();
            let list = list.join(", ");
            if !ranges.iter().any(|range| range.contains(&self.packet.source)) {
                self.decide(&object, field, list, "the source is in none of them: dropped");
                return Outcome::Drop;
            }
            self.decide(&object, field, list, "the source is in one of them");
        }
        self.tell_policy(port, routes.origin, route, is_outside);
        self.tell_limits(to, routes);
        if !self.view.mode.carries(to.transport().0) {
            return Outcome::Reject;
        }
        let family = to.family();
        self.told.unused = unused(self.view.catalog, port, family, route);
        self.told.decisions.extend(choice(self.view.catalog, port, family, route));
        if route.endpoints.is_empty() {
            return self.tell_unserved(port, route);
        }
        if let Some(affinity) = route.affinity {
            let says = format!(
                "a client that came within the last {} s stays with its endpoint",
                affinity.timeout_seconds
            );
            self.decide(&object, "spec.sessionAffinity", "ClientIP", says);
        }
        Outcome::Endpoint
    }

    fn tell_service(&mut self, port: &ServicePortName, to: &Destination, origin: Origin) {
        let object = format!("Service {}", port.service);
        let (protocol, number) = to.transport();
        let (field, value) = match origin {
            Origin::ClusterIp => ("spec.clusterIPs", self.packet.destination.to_string()),
            Origin::ExternalIp => ("spec.externalIPs", self.packet.destination.to_string()),
            Origin::LoadBalancer => {
                ("status.loadBalancer.ingress[].ip", self.packet.destination.to_string())
            }
            Origin::NodePort => ("spec.ports[].nodePort", number.to_string()),
        };
        let named = match port.port.as_str() {
            "" => String::new(),
            name => format!(", its port `{name}`"),
        };
        let says = match origin {
            Origin::NodePort => format!("the packet is for this node's {number}/{protocol}{named}"),
            _ => format!("the packet is for {number}/{protocol} there{named}"),
        };
        self.decide(&object, field, value, says);
    }

    fn whence(&self) -> Whence {
        let source = self.packet.source;
        let is_own = self.view.is_own(&source);
        let from_pod = self.view.is_from_pod(self.packet);
        let says = match (is_own, from_pod) {
            (true, _) => format!("{source} is this node: inside the cluster"),
            (false, Some(true)) => {
                format!("{source} is a pod ({}): inside the cluster", self.how())
            }
            (false, Some(false)) => {
                format!("{source} is neither this node nor a pod ({}): outside", self.how())
            }
            (false, None) => {
                format!("{source} is not this node, and pods cannot be told: outside")
            }
        };
        Whence { is_outside: !is_own && from_pod != Some(true), says }
    }

    /// How pods are told.
    fn how(&self) -> String {
        match &self.view.mode.settings().local_traffic {
            LocalTraffic::Unknown => "not told".to_owned(),
            LocalTraffic::Network(network) => format!("pods are in {network}"),
            LocalTraffic::Interface(name) => format!("pods come in by {name}"),
            LocalTraffic::InterfacePrefix(name) => format!("pods come in by {name}*"),
        }
    }

    fn tell_policy(
        &mut self,
        port: &ServicePortName,
        origin: Origin,
        route: &Route,
        is_outside: bool,
    ) {
        let Some(service) = self.view.catalog.service(&port.service) else {
            return;
        };
        let internal = origin == Origin::ClusterIp;
        let (field, is_local) = match internal {
            true => ("spec.internalTrafficPolicy", service.internal_local),
            false => ("spec.externalTrafficPolicy", service.external_local),
        };
        let says = match (is_local, route.policy) {
            (false, _) => "endpoints of the whole cluster",
            (true, Policy::Local) => "endpoints of this node alone",
            (true, Policy::Cluster) if is_outside => "endpoints of the whole cluster",
            (true, Policy::Cluster) => {
                "it counts for packets from outside: the cluster's own meet all endpoints"
            }
        };
        let value = if is_local { "Local" } else { "Cluster" };
        self.decide(&format!("Service {}", port.service), field, value, says);
    }

    /// What the mode cannot do of what the Service asks for.
    fn tell_limits(&mut self, to: &Destination, routes: &Routes) {
        if let Some(cannot) = self.view.mode.cannot(to, routes) {
            let mode = self.told.mode;
            self.decide("proxy-agent", "mode", mode, cannot);
        }
    }

    fn tell_unserved(&mut self, port: &ServicePortName, route: &Route) -> Outcome {
        let object = format!("EndpointSlices of {}", port.service);
        match route.unserved {
            Unserved::Reject => {
                self.decide(&object, "endpoints", "", "none is usable anywhere: refused at once");
                Outcome::Reject
            }
            Unserved::Drop => {
                let says = "none is usable on this node, others have some: dropped, not refused";
                self.decide(&object, "endpoints", "", says);
                Outcome::Drop
            }
        }
    }

    fn tell_endpoints(&mut self, route: &Route) {
        let probability = 1.0 / route.endpoints.len() as f64;
        for target in &route.endpoints {
            let (masquerade, because) = self.masquerade(route, target.address);
            self.told.endpoints.push(Used {
                address: target.to_string(),
                probability,
                masquerade,
                because,
            });
        }
    }

    /// Whether the endpoint sees this node's address, and why.
    fn masquerade(&self, route: &Route, endpoint: IpAddr) -> (bool, String) {
        let is_pod = self.view.is_from_pod(self.packet);
        let told = |is, because: &str| (is, because.to_owned());
        if let Some(because) = self.view.mode.hides_clients() {
            return told(true, because);
        }
        let is_own = self.view.is_own(&self.packet.source);
        if self.view.is_own(&endpoint) && !is_own {
            return told(false, "the endpoint is this node itself: nothing leaves it");
        }
        match route.masquerade {
            Masquerade::Always => {
                return told(true, "the answer must come back through this node");
            }
            Masquerade::FromNode if is_own => {
                return told(true, "this node's source may be the destination's address");
            }
            Masquerade::UnlessFromPod if self.view.mode.settings().masquerade_all => {
                return told(true, "masqueradeAll is set");
            }
            Masquerade::UnlessFromPod if is_pod == Some(false) => {
                let because = format!("the source is no pod ({})", self.how());
                return (true, because);
            }
            _ => {}
        }
        if self.packet.source == endpoint && self.view.catalog.is_own_endpoint(&endpoint) {
            return told(true, "the pod meets itself: the answer must come from elsewhere");
        }
        match route.policy {
            Policy::Local => told(false, "policy Local: the endpoint sees the client"),
            Policy::Cluster => told(false, "the answer comes back this way by itself"),
        }
    }
}

/// The Service port's destination that the packet is for. One address comes before any
/// of the node's.
fn destination_of(view: View<'_>, packet: &Packet) -> Option<Destination> {
    let (protocol, port) = (packet.protocol, packet.port);
    let address = Destination::Address { address: packet.destination, protocol, port };
    if view.catalog.claimed(&address).is_some() {
        return Some(address);
    }
    let node_port = Destination::NodePort { family: packet.family(), protocol, port };
    let is_here = view.is_own(&packet.destination) && view.answers_node_ports(&packet.destination);
    (is_here && view.catalog.claimed(&node_port).is_some()).then_some(node_port)
}
