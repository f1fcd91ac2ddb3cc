//! The EndpointSlices a Service with a selector ought to have: Service, pods and nodes in,
//! slices to write out.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode, ForZone,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;

use crate::pack::{EndpointId, Group, Plan, Shape, Stamp, Wanted, pack};
use crate::pod::{self, Family};
use crate::{LABEL_HEADLESS, LABEL_MANAGED_BY, LABEL_SERVICE_NAME};

/// `managed-by` of the slices of Services with a selector.
pub const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Label with a node's zone.
pub const LABEL_ZONE: &str = "topology.kubernetes.io/zone";

/// What is observed about one Service.
pub struct Observed<'a> {
    /// The Service.
    pub service: &'a Service,
    /// Pods its selector matches.
    pub pods: &'a [Arc<Pod>],
    /// Nodes by name, at least those the pods run on.
    pub nodes: &'a BTreeMap<String, Arc<Node>>,
    /// Slices of this Service managed by [`MANAGER`].
    pub slices: &'a [Arc<EndpointSlice>],
    /// When what changed last did so.
    pub trigger_time: Option<Timestamp>,
}

/// Plans the writes for one Service; empty where all is as it should be.
pub fn reconcile(observed: &Observed<'_>, max_endpoints_per_slice: usize) -> Plan {
    let service = observed.service;
    let mut wanted = Wanted::new();
    for family in Family::of_service(service) {
        let before = wanted.len();
        for pod in observed.pods {
            let node = node_name(pod).and_then(|name| observed.nodes.get(name));
            if let Some((ports, endpoint)) =
                contribution(service, pod, node.map(Arc::as_ref), family)
            {
                let group = wanted
                    .entry(Shape::new(family.as_str(), &ports))
                    .or_insert_with(|| Group { ports, endpoints: BTreeMap::new() });
                group.endpoints.insert(EndpointId::of(&endpoint), endpoint);
            }
        }
        if wanted.len() == before {
            // One empty slice says that the Service is known and has no endpoints.
            let group = Group { ports: Vec::new(), endpoints: BTreeMap::new() };
            wanted.insert(Shape::new(family.as_str(), &[]), group);
        }
    }
    let stamp = stamp(service, observed.trigger_time);
    pack(wanted, observed.slices, max_endpoints_per_slice, &stamp)
}

/// The node that a pod is bound to.
pub fn node_name(pod: &Pod) -> Option<&str> {
    let name = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    name.filter(|name| !name.is_empty())
}

/// What a pod on `node` adds to the slices of one family: the ports as it serves them, and its
/// endpoint.
pub(crate) fn contribution(
    service: &Service,
    pod: &Pod,
    node: Option<&Node>,
    family: Family,
) -> Option<(Vec<EndpointPort>, Endpoint)> {
    if !pod::counts(pod, true) {
        return None;
    }
    // A pod on a node that is gone is gone too, though its object may linger.
    if node_name(pod).is_some() && node.is_none() && !publishes_not_ready(service) {
        return None;
    }
    let addresses = pod::addresses_of_family(pod, family);
    if addresses.is_empty() {
        return None;
    }
    Some((slice_ports(service, pod), endpoint(service, pod, node, addresses)))
}

fn publishes_not_ready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false)
}

/// The Service's ports as this pod serves them; a named port the pod lacks is left out.
fn slice_ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports
        .filter_map(|port| {
            Some(EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(pod::target_port(pod, port)?),
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

fn endpoint(service: &Service, pod: &Pod, node: Option<&Node>, addresses: Vec<String>) -> Endpoint {
    let serving = pod::is_ready(pod);
    let terminating = pod::is_terminating(pod);
    let ready = publishes_not_ready(service) || (serving && !terminating);
    let zone = node.and_then(|node| node.metadata.labels.as_ref()?.get(LABEL_ZONE).cloned());
    let node_name = node_name(pod).map(str::to_owned);
    Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hints: if ready { hints(service, zone.as_deref(), node_name.as_deref()) } else { None },
        hostname: pod::hostname_for(pod, service).map(str::to_owned),
        node_name,
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        zone,
        deprecated_topology: None,
    }
}

/// Where the endpoint ought to be used from, as `trafficDistribution` asks.
fn hints(service: &Service, zone: Option<&str>, node: Option<&str>) -> Option<EndpointHints> {
    let distribution = service.spec.as_ref()?.traffic_distribution.as_deref()?;
    let for_zones = zone.map(|zone| vec![ForZone { name: zone.to_owned() }]);
    let for_nodes = node.map(|node| vec![ForNode { name: node.to_owned() }]);
    match distribution {
        "PreferClose" | "PreferSameZone" => {
            for_zones.map(|zones| EndpointHints { for_nodes: None, for_zones: Some(zones) })
        }
        "PreferSameNode" if for_nodes.is_some() || for_zones.is_some() => {
            Some(EndpointHints { for_nodes, for_zones })
        }
        _ => None,
    }
}

/// What the Service's slices carry.
pub(crate) fn stamp(service: &Service, trigger_time: Option<Timestamp>) -> Stamp {
    let meta = &service.metadata;
    let name = meta.name.clone().unwrap_or_default();
    let mut labels = meta.labels.clone().unwrap_or_default();
    labels.remove(LABEL_HEADLESS);
    if is_headless(service) {
        labels.insert(LABEL_HEADLESS.to_owned(), String::new());
    }
    labels.insert(LABEL_SERVICE_NAME.to_owned(), name.clone());
    labels.insert(LABEL_MANAGED_BY.to_owned(), MANAGER.to_owned());
    Stamp {
        namespace: meta.namespace.clone().unwrap_or_default(),
        generate_name: format!("{name}-"),
        labels,
        annotations: None,
        owner: OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Service".to_owned(),
            name,
            uid: meta.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        },
        trigger_time: trigger_time.map(|time| time.to_string()),
    }
}

/// Whether the Service has no cluster IP of its own.
pub fn is_headless(service: &Service) -> bool {
    let cluster_ip = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref());
    matches!(cluster_ip, None | Some("" | "None"))
}
