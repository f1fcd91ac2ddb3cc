//! Random objects and packets of one small world, where things often meet. Never makes an
//! object that the API could not, and the same ones for the same seed.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    ClientIPConfig, LoadBalancerIngress, LoadBalancerStatus, Node, Service, ServicePort,
    ServiceSpec, ServiceStatus, SessionAffinityConfig,
};
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode, ForZone,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proxy_agent::catalog::{Change, ServiceName};
use proxy_agent::routes::{Family, Protocol};

use super::packet::Packet;

/// Services that there can be, and slices.
const SERVICES: u64 = 4;
const SLICES: u64 = 6;
/// Names, protocols and ports of a Service's ports; one of these lists.
const PORTS: [&[(&str, &str, u16)]; 5] = [
    &[("", "TCP", 80)],
    &[("", "UDP", 80)],
    &[("web", "TCP", 80), ("dns", "UDP", 53)],
    &[("web", "TCP", 80), ("dns", "UDP", 80)],
    &[("assoc", "SCTP", 80), ("web", "TCP", 81)],
];
/// The same of slices; what no Service asks for is left.
const ENDPOINT_PORTS: [&[(&str, &str, u16)]; 5] = [
    ALL_PORTS,
    ALL_PORTS,
    &[("", "UDP", 5353), ("web", "TCP", 9090), ("assoc", "SCTP", 9090)],
    &[("", "TCP", 9090), ("web", "TCP", 8080), ("web", "TCP", 9090)],
    &[("", "TCP", 8080), ("web", "UDP", 8080), ("dns", "UDP", 5353)],
];
const ALL_PORTS: &[(&str, &str, u16)] =
    &[("", "TCP", 8080), ("web", "TCP", 8080), ("dns", "UDP", 5353), ("assoc", "SCTP", 8080)];
/// Addresses of endpoints, and where they are.
const PLACES: [(&str, &str, &str); 7] = [
    ("10.244.1.11", "fd44:1::11", "node-1"),
    ("10.244.1.12", "fd44:1::12", "node-1"),
    ("192.168.77.11", "fd77::11", "node-1"),
    ("10.244.2.11", "fd44:2::11", "node-2"),
    ("10.244.2.12", "fd44:2::12", "node-2"),
    ("10.244.3.11", "fd44:3::11", "node-3"),
    ("192.168.78.2", "fd78::2", ""),
];
const SOURCES: [(&str, &str); 6] = [
    ("10.244.1.11", "fd44:1::11"),
    ("10.244.1.99", "fd44:1::99"),
    REMOTE_POD,
    NODE,
    ("192.168.77.12", "fd77::12"),
    ("192.168.78.2", "fd78::2"),
];
const NODE: (&str, &str) = ("192.168.77.11", "fd77::11");
const REMOTE_POD: (&str, &str) = ("10.244.2.11", "fd44:2::11");

const RANGES: [&str; 5] =
    ["192.168.78.0/24", "10.244.1.0/24", "192.168.77.11/32", "fd78::/64", "fd44:1::/64"];

/// A source of randomness (splitmix64) and what is made of it.
pub struct Generator {
    state: u64,
    /// What Services had at any time.
    destinations: Vec<(IpAddr, Protocol, u16)>,
}

impl Generator {
    pub fn new(seed: u64) -> Generator {
        Generator { state: seed, destinations: Vec::new() }
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % limit
    }

    pub fn one_in(&mut self, number: u64) -> bool {
        self.below(number) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn some_of<T: Copy>(&mut self, from: &[T]) -> Vec<T> {
        from.iter().copied().filter(|_| self.one_in(2)).collect()
    }

    /// Any one thing that a watch can report.
    pub fn change(&mut self) -> Change {
        match self.below(16) {
            0..5 => self.service(),
            5 => Change::ServiceGone(service_name(self.below(SERVICES))),
            6..14 => self.slice(),
            14 => Change::SliceGone(slice_name(self.below(SLICES))),
            _ => self.node(),
        }
    }

    fn node(&mut self) -> Change {
        let zone = self.pick(&["a", "b", ""]);
        let labels = [("topology.kubernetes.io/zone".to_owned(), zone.to_owned())];
        let metadata = ObjectMeta {
            name: Some("node-1".to_owned()),
            labels: (!zone.is_empty()).then(|| labels.into()),
            ..ObjectMeta::default()
        };
        Change::Node(Box::new(Node { metadata, ..Node::default() }))
    }

    fn service(&mut self) -> Change {
        let index = self.below(SERVICES);
        let kind = self.pick(&["ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer"]);
        let (name, kind) =
            (service_name(index), if self.one_in(24) { "ExternalName" } else { kind });
        let both = [format!("10.96.0.{}", 10 + index), format!("fd96::{}", 10 + index)];
        let cluster_ips = match self.below(4) {
            0 => vec![both[0].clone()],
            1 => vec![both[1].clone()],
            _ if self.one_in(24) => vec!["None".to_owned()],
            _ => both.to_vec(),
        };
        let is_external = kind != "ClusterIP";
        let ports = self.pick(&PORTS).iter().enumerate();
        let ports = ports.map(|(at, (name, protocol, port))| ServicePort {
            name: (!name.is_empty()).then(|| (*name).to_owned()),
            protocol: Some((*protocol).to_owned()),
            port: i32::from(*port),
            node_port: is_external.then(|| 30_000 + (index * 10) as i32 + at as i32),
            ..ServicePort::default()
        });
        let ports = Some(ports.collect());
        let others = self.one_in(24);
        let label = self
            .pick(&["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"]);
        let label = (label.to_owned(), "other".to_owned());
        let spec = ServiceSpec {
            type_: Some(kind.to_owned()),
            cluster_ip: cluster_ips.first().cloned(),
            cluster_ips: Some(cluster_ips),
            ports,
            external_ips: self.one_in(3).then(|| {
                let ips = self.some_of(&["198.51.100.7", "198.51.100.8", "fd51::7"]);
                ips.into_iter().map(str::to_owned).collect()
            }),
            internal_traffic_policy: Some(self.policy()),
            external_traffic_policy: is_external.then(|| self.policy()),
            load_balancer_source_ranges: self.source_ranges(kind),
            session_affinity: Some("None".to_owned()),
            ..ServiceSpec::default()
        };
        let spec = self.with_affinity(spec);
        self.note(&spec, index);
        Change::Service(Box::new(Service {
            metadata: ObjectMeta { labels: others.then(|| [label].into()), ..metadata_of(&name) },
            status: Some(self.status(index)),
            spec: Some(spec),
        }))
    }

    /// Where packets for this Service go.
    fn note(&mut self, spec: &ServiceSpec, index: u64) {
        let balancer = [format!("198.51.100.{}", 100 + index), format!("fd51::{}", 100 + index)];
        let ips = spec.cluster_ips.iter().chain(&spec.external_ips).flatten();
        let ips = ips.chain(&balancer).filter_map(|ip| ip.parse().ok());
        for (ip, port) in
            ips.flat_map(|ip: IpAddr| spec.ports.iter().flatten().map(move |p| (ip, p)))
        {
            let protocol = port.protocol.as_deref().and_then(Protocol::parse);
            let protocol = protocol.expect("a protocol");
            self.destinations.push((ip, protocol, port.port as u16));
            let node = if ip.is_ipv4() { NODE.0 } else { NODE.1 };
            if let Some(node_port) = port.node_port {
                let node = node.parse().expect("an address");
                self.destinations.push((node, protocol, node_port as u16));
            }
        }
    }

    fn policy(&mut self) -> String {
        (if self.one_in(3) { "Local" } else { "Cluster" }).to_owned()
    }

    fn source_ranges(&mut self, kind: &str) -> Option<Vec<String>> {
        let is_restricted = kind == "LoadBalancer" && self.one_in(2);
        is_restricted.then(|| {
            let ranges = self.some_of(&RANGES);
            ranges.into_iter().map(str::to_owned).collect()
        })
    }

    fn with_affinity(&mut self, mut spec: ServiceSpec) -> ServiceSpec {
        if self.one_in(4) {
            let timeout_seconds = Some(self.pick(&[60, 10_800]));
            spec.session_affinity = Some("ClientIP".to_owned());
            spec.session_affinity_config =
                Some(SessionAffinityConfig { client_ip: Some(ClientIPConfig { timeout_seconds }) });
        }
        spec
    }

    fn status(&mut self, index: u64) -> ServiceStatus {
        let addresses = [format!("198.51.100.{}", 100 + index), format!("fd51::{}", 100 + index)];
        let ingress = addresses.into_iter().map(|ip| LoadBalancerIngress {
            ip: Some(ip),
            ip_mode: self.pick(&[None, Some("VIP"), Some("Proxy")]).map(str::to_owned),
            ..LoadBalancerIngress::default()
        });
        ServiceStatus {
            load_balancer: Some(LoadBalancerStatus { ingress: Some(ingress.collect()) }),
            ..ServiceStatus::default()
        }
    }

    fn slice(&mut self) -> Change {
        // Moves between Services too, and may be nobody's.
        let index = self.below(SLICES);
        let name = slice_name(index);
        let owner = service_name(self.below(SERVICES / 2) * 2 + index % 2);
        let mut labels = vec![("kubernetes.io/service-name".to_owned(), owner.name)];
        if self.one_in(24) {
            labels.push(("service.kubernetes.io/headless".to_owned(), String::new()));
        }
        let address_type = self.pick(&["IPv4", "IPv4", "IPv4", "IPv6", "IPv6", "IPv6", "FQDN"]);
        let has_hints = self.one_in(2);
        let places = self.some_of(&PLACES);
        let endpoints =
            places.into_iter().map(|place| self.endpoint(place, address_type, has_hints));
        let endpoints = endpoints.collect();
        let ports = self.pick(&ENDPOINT_PORTS).iter();
        let ports = ports
            .map(|(name, protocol, port)| EndpointPort {
                name: Some((*name).to_owned()),
                protocol: Some((*protocol).to_owned()),
                port: (!self.one_in(16)).then_some(i32::from(*port)),
                app_protocol: None,
            })
            .collect();
        Change::Slice(Box::new(EndpointSlice {
            metadata: ObjectMeta {
                labels: (!self.one_in(24)).then(|| labels.into_iter().collect()),
                ..metadata_of(&name)
            },
            address_type: address_type.to_owned(),
            ports: Some(ports),
            endpoints: Some(endpoints),
        }))
    }

    fn endpoint(&mut self, place: (&str, &str, &str), kind: &str, has_hints: bool) -> Endpoint {
        let (v4, v6, node) = place;
        let address = match kind {
            "IPv4" => v4,
            "IPv6" => v6,
            _ => "example.org",
        };
        let mut perhaps = |usually: bool| match self.below(6) {
            0 => None,
            1 => Some(!usually),
            _ => Some(usually),
        };
        let conditions = EndpointConditions {
            ready: perhaps(true),
            serving: perhaps(true),
            terminating: perhaps(false),
        };
        let hints = (has_hints && !self.one_in(12)).then(|| EndpointHints {
            for_nodes: self.one_in(2).then(|| {
                let nodes = self.some_of(&["node-1", "node-2"]).into_iter();
                nodes.map(|name| ForNode { name: name.to_owned() }).collect()
            }),
            for_zones: Some({
                let zones = self.some_of(&["a", "a", "b"]).into_iter();
                zones.map(|name| ForZone { name: name.to_owned() }).collect()
            }),
        });
        Endpoint {
            addresses: vec![address.to_owned()],
            conditions: (!self.one_in(12)).then_some(conditions),
            node_name: (!node.is_empty() && !self.one_in(12)).then(|| node.to_owned()),
            hints,
            ..Endpoint::default()
        }
    }

    /// A packet that has a fair chance of being for some Service.
    pub fn packet(&mut self, family: Family) -> Packet {
        let of = |(v4, v6): (&str, &str)| -> IpAddr {
            let text = if family == Family::V4 { v4 } else { v6 };
            text.parse().expect("an address")
        };
        let known = self.destinations.iter().copied();
        let known: Vec<_> = known.filter(|(ip, ..)| Family::of(ip) == family).collect();
        let (mut destination, mut protocol, mut port) = match known.is_empty() {
            true => (of(NODE), Protocol::Tcp, 30_000),
            false => self.pick(&known),
        };
        match self.below(16) {
            0 => protocol = self.pick(&[Protocol::Tcp, Protocol::Udp, Protocol::Sctp]),
            1 => port = self.pick(&[80, 81, 53]),
            2 => {
                destination =
                    of(self.pick(&[("192.168.77.12", "fd77::12"), ("10.244.2.12", "fd44:2::12")]))
            }
            _ => {}
        }
        // A pod elsewhere meets a cluster IP on its own node, never here.
        let is_cluster_ip = destination.to_string().starts_with(match family {
            Family::V4 => "10.96.",
            Family::V6 => "fd96:",
        });
        let source = match self.pick(&SOURCES) {
            REMOTE_POD if is_cluster_ip => SOURCES[0],
            source => source,
        };
        Packet { source: of(source), destination, protocol, port }
    }
}

fn service_name(index: u64) -> ServiceName {
    ServiceName { namespace: namespace(index), name: format!("s{}", index / 2) }
}

fn slice_name(index: u64) -> ServiceName {
    ServiceName { namespace: namespace(index), name: format!("slice{index}") }
}

fn namespace(index: u64) -> String {
    ["default", "other"][index as usize % 2].to_owned()
}

fn metadata_of(name: &ServiceName) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(name.namespace.clone()),
        name: Some(name.name.clone()),
        ..ObjectMeta::default()
    }
}
