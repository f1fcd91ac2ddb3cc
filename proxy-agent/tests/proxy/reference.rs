//! What becomes of a packet, straight from the objects: a second opinion for every mode,
//! written from upstream's documentation of Services and EndpointSlices. Never uses the
//! proxy's catalog, and is in no hurry.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use proxy_agent::catalog::{Change, ServiceName};
use proxy_agent::routes::Target;

use super::packet::{Outcome, Packet};

/// A cluster's objects as they are, and the node that packets come to.
#[derive(Debug)]
pub struct Cluster {
    node_name: &'static str,
    node_addresses: Vec<IpAddr>,
    pods: Vec<IpNet>,
    zone: String,
    services: BTreeMap<ServiceName, Service>,
    slices: BTreeMap<ServiceName, EndpointSlice>,
}

/// Which of a Service's addresses a packet was sent to.
#[derive(PartialEq)]
enum Address {
    Cluster,
    External,
    LoadBalancer,
    Node,
}

/// One endpoint, from all slices that have it: in its best condition.
#[derive(Default)]
struct Condition {
    ready: bool,
    serving: bool,
    /// In one slice at least it is not terminating.
    stays: bool,
    is_local: bool,
    nodes: BTreeSet<String>,
    zones: BTreeSet<String>,
}

impl Condition {
    /// Leaves, but answers yet.
    fn is_draining(&self) -> bool {
        self.serving && !self.stays
    }
}

impl Cluster {
    /// An empty cluster.
    pub fn new(node_name: &'static str, node_addresses: Vec<IpAddr>, pods: Vec<IpNet>) -> Cluster {
        Cluster {
            node_name,
            node_addresses,
            pods,
            zone: String::new(),
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
        }
    }

    pub fn apply(&mut self, change: &Change) {
        let name = |metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
            let namespace = metadata.namespace.clone().unwrap_or_default();
            let name = metadata.name.clone().unwrap_or_default();
            ServiceName { namespace, name }
        };
        match change {
            Change::Service(object) => {
                self.services.insert(name(&object.metadata), (**object).clone());
            }
            Change::ServiceGone(name) => {
                self.services.remove(name);
            }
            Change::Slice(object) => {
                self.slices.insert(name(&object.metadata), (**object).clone());
            }
            Change::SliceGone(name) => {
                self.slices.remove(name);
            }
            Change::Node(object) => {
                let labels = object.metadata.labels.as_ref();
                let zone = labels.and_then(|l| l.get("topology.kubernetes.io/zone"));
                self.zone = zone.cloned().unwrap_or_default();
            }
        }
    }

    /// Every outcome that chance allows a client without affinity.
    pub fn outcomes(&self, packet: &Packet) -> BTreeSet<Outcome> {
        let Some((name, spec, port, address)) = self.find(packet) else {
            let is_cluster_ip =
                self.proxied().any(|(_, spec, _)| cluster_ips(spec).contains(&packet.destination));
            return BTreeSet::from([match is_cluster_ip {
                true => Outcome::Reject,
                false => Outcome::Untouched,
            }]);
        };
        if address == Address::LoadBalancer && !is_allowed(spec, packet.source) {
            return BTreeSet::from([Outcome::Drop]);
        }
        let from_node = self.node_addresses.contains(&packet.source);
        let from_pod = self.pods.iter().any(|pods| pods.contains(&packet.source));
        let is_local = |policy: &Option<String>| policy.as_deref() == Some("Local");
        // Policy `Local` keeps the source, and is for clients outside alone: from inside
        // the cluster its addresses are short cuts to all endpoints.
        let (local_only, masquerade) = match address {
            Address::Cluster => (is_local(&spec.internal_traffic_policy), !from_pod),
            _ if !is_local(&spec.external_traffic_policy) => (false, true),
            _ => (!from_node && !from_pod, from_node),
        };
        let endpoints = self.endpoints(name, port, packet);
        let chosen = self.choose(&endpoints, local_only);
        if chosen.is_empty() {
            // Somebody serves, but elsewhere: that is for others to say.
            let anybody = endpoints.values().any(|e| e.ready || e.is_draining());
            return BTreeSet::from([if anybody { Outcome::Drop } else { Outcome::Reject }]);
        }
        let outcome = |target: Target| {
            // What ends on the node itself never leaves it, and keeps its source.
            let arrives = !from_node && self.node_addresses.contains(&target.address);
            let masquerade = (masquerade || target.address == packet.source) && !arrives;
            Outcome::Endpoint { target, masquerade }
        };
        chosen.into_iter().map(outcome).collect()
    }

    /// Whether some Service has this address, on any port.
    pub fn is_claimed(&self, to: &IpAddr) -> bool {
        self.proxied().any(|(_, spec, service)| {
            let external = spec.external_ips.iter().flatten();
            let mut external = external.filter_map(|ip| ip.parse().ok());
            cluster_ips(spec).iter().any(|ip| ip.is_ipv4() == to.is_ipv4())
                && (external.any(|ip: IpAddr| ip == *to) || ingress(service).any(|ip| ip == *to))
        })
    }

    /// The Services that a proxy cares for in some family.
    fn proxied(&self) -> impl Iterator<Item = (&ServiceName, &ServiceSpec, &Service)> {
        self.services.iter().filter_map(|(name, service)| {
            let labels = service.metadata.labels.as_ref();
            let has = |label| labels.is_some_and(|l| l.contains_key(label));
            let is_left_alone = has("service.kubernetes.io/service-proxy-name")
                || has("service.kubernetes.io/headless");
            let spec = service.spec.as_ref()?;
            let has_rules = spec.type_.as_deref() != Some("ExternalName")
                && spec.cluster_ip.as_deref() != Some("None");
            (has_rules && !is_left_alone).then_some((name, spec, service))
        })
    }

    /// The Service port that a packet is for: the first by name where several want it, and
    /// a node port last.
    fn find(&self, packet: &Packet) -> Option<(&ServiceName, &ServiceSpec, &ServicePort, Address)> {
        let Packet { destination: to, .. } = packet;
        let mut node_port = None;
        for (name, spec, service) in self.proxied() {
            let same_family = |ip: &IpAddr| ip.is_ipv4() == to.is_ipv4();
            if !cluster_ips(spec).iter().any(same_family) {
                continue;
            }
            let ports = spec.ports.iter().flatten();
            for port in ports.filter(|port| protocol(&port.protocol) == packet.protocol.number()) {
                let external = spec.external_ips.iter().flatten();
                let address = if i32::from(packet.port) != port.port {
                    None
                } else if cluster_ips(spec).contains(to) {
                    Some(Address::Cluster)
                } else if external.into_iter().any(|ip| ip.parse() == Ok(*to)) {
                    Some(Address::External)
                } else if ingress(service).any(|ip| ip == *to) {
                    Some(Address::LoadBalancer)
                } else {
                    None
                };
                if let Some(address) = address {
                    return Some((name, spec, port, address));
                }
                if spec.type_.as_deref() != Some("ClusterIP")
                    && port.node_port == Some(packet.port.into())
                    && self.node_addresses.contains(to)
                {
                    node_port.get_or_insert((name, spec, port, Address::Node));
                }
            }
        }
        node_port
    }

    /// The endpoints of a Service's port, of the packet's family.
    fn endpoints(
        &self,
        service: &ServiceName,
        port: &ServicePort,
        packet: &Packet,
    ) -> BTreeMap<Target, Condition> {
        let mut all: BTreeMap<Target, Condition> = BTreeMap::new();
        for (name, slice) in &self.slices {
            let Some(labels) = &slice.metadata.labels else {
                continue;
            };
            let is_its = name.namespace == service.namespace
                && labels.get("kubernetes.io/service-name") == Some(&service.name)
                && !labels.contains_key("service.kubernetes.io/headless");
            let family = if packet.destination.is_ipv4() { "IPv4" } else { "IPv6" };
            if !is_its || slice.address_type != family {
                continue;
            }
            for at in slice.ports.iter().flatten() {
                let same_name = at.name.as_deref().unwrap_or_default()
                    == port.name.as_deref().unwrap_or_default();
                if !same_name || protocol(&at.protocol) != protocol(&port.protocol) {
                    continue;
                }
                let Some(number) = at.port else { continue };
                for endpoint in slice.endpoints.iter().flatten() {
                    let address = endpoint.addresses[0].parse().expect("an address");
                    let port = number.try_into().expect("a port");
                    self.add(all.entry(Target { address, port }).or_default(), endpoint);
                }
            }
        }
        all
    }

    fn add(&self, condition: &mut Condition, endpoint: &Endpoint) {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        condition.ready |= conditions.ready.unwrap_or(true);
        condition.serving |= conditions.serving.unwrap_or(true);
        condition.stays |= !conditions.terminating.unwrap_or(false);
        condition.is_local |= endpoint.node_name.as_deref() == Some(self.node_name);
        if let Some(hints) = &endpoint.hints {
            let nodes = hints.for_nodes.iter().flatten().map(|hint| hint.name.clone());
            condition.nodes.extend(nodes);
            let zones = hints.for_zones.iter().flatten().map(|hint| hint.name.clone());
            condition.zones.extend(zones);
        }
    }

    /// Ready ones, near ones if hints say so; only where there is none, those that drain.
    fn choose(&self, endpoints: &BTreeMap<Target, Condition>, local_only: bool) -> Vec<Target> {
        let candidates: Vec<_> =
            endpoints.iter().filter(|(_, e)| e.is_local || !local_only).collect();
        let targets = |which: &dyn Fn(&Condition) -> bool| -> Vec<Target> {
            let which = candidates.iter().filter(|(_, e)| which(e));
            which.map(|(target, _)| **target).collect()
        };
        let ready: Vec<_> = candidates.iter().filter(|(_, e)| e.ready).collect();
        if ready.is_empty() {
            return targets(&|e| e.is_draining());
        }
        let is_here = |e: &Condition| e.nodes.contains(self.node_name);
        let is_near = |e: &Condition| e.zones.contains(&self.zone);
        if local_only {
            return targets(&|e| e.ready);
        }
        // Hints count when all ready endpoints have them, and some are for here.
        if ready.iter().all(|(_, e)| !e.nodes.is_empty()) && ready.iter().any(|(_, e)| is_here(e)) {
            return targets(&|e| e.ready && is_here(e));
        }
        if ready.iter().all(|(_, e)| !e.zones.is_empty()) && ready.iter().any(|(_, e)| is_near(e)) {
            return targets(&|e| e.ready && is_near(e));
        }
        targets(&|e| e.ready)
    }
}

fn cluster_ips(spec: &ServiceSpec) -> Vec<IpAddr> {
    let ips = spec.cluster_ips.iter().flatten();
    ips.filter_map(|ip| ip.parse().ok()).collect()
}

/// A load balancer's addresses, but of one that answers itself.
fn ingress(service: &Service) -> impl Iterator<Item = IpAddr> {
    let is_balanced =
        service.spec.as_ref().and_then(|s| s.type_.as_deref()) == Some("LoadBalancer");
    let status = service.status.iter().filter(move |_| is_balanced);
    let ingress =
        status.flat_map(|s| s.load_balancer.iter().flat_map(|b| b.ingress.iter().flatten()));
    let here = ingress.filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
    here.filter_map(|ingress| ingress.ip.as_ref()?.parse().ok())
}

fn is_allowed(spec: &ServiceSpec, source: IpAddr) -> bool {
    let ranges = spec.load_balancer_source_ranges.iter().flatten();
    let mut ranges = ranges.map(|range| range.parse::<IpNet>().expect("a range")).peekable();
    ranges.peek().is_none() || ranges.any(|range| range.contains(&source))
}

fn protocol(name: &Option<String>) -> u8 {
    match name.as_deref().unwrap_or("TCP") {
        "TCP" => 6,
        "UDP" => 17,
        "SCTP" => 132,
        other => panic!("no protocol: {other}"),
    }
}
