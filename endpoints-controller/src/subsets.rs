//! The Endpoints object a Service with a selector ought to have.
//!
//! Never touches the Endpoints of a Service without a selector: those are their writer's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use crate::desired::is_headless;
use crate::pod::{self, Family};
use crate::{ANNOTATION_TRIGGER_TIME, LABEL_HEADLESS};

/// Most addresses in one Endpoints object.
pub const MAX_ADDRESSES: usize = 1000;
/// Annotation of Endpoints that were cut at [`MAX_ADDRESSES`].
pub const ANNOTATION_OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Label that says who writes an Endpoints object.
pub const LABEL_MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// `managed-by` of the Endpoints this controller writes.
pub const MANAGER: &str = "endpoint-controller";

/// The Endpoints object to write, or none where `current` is as it should be. One with
/// a resourceVersion replaces, one without creates.
pub fn reconcile(
    service: &Service,
    pods: &[Arc<Pod>],
    current: Option<&Endpoints>,
    trigger_time: Option<Timestamp>,
) -> Option<Endpoints> {
    let mut subsets = subsets(service, pods);
    let truncated = truncate(&mut subsets);
    let subsets = (!subsets.is_empty()).then_some(subsets);
    let labels = labels(service);
    if let Some(current) = current {
        let annotation =
            current.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION_OVER_CAPACITY));
        let held = current.subsets.as_ref().filter(|subsets| !subsets.is_empty());
        if held == subsets.as_ref()
            && current.metadata.labels.as_ref() == Some(&labels)
            && annotation.is_some() == truncated
        {
            return None;
        }
    }
    let mut metadata =
        current.map(|current| current.metadata.clone()).unwrap_or_else(|| ObjectMeta {
            namespace: service.metadata.namespace.clone(),
            name: service.metadata.name.clone(),
            ..ObjectMeta::default()
        });
    let mut annotations = metadata.annotations.take().unwrap_or_default();
    let mut set = |key: &str, value: Option<String>| match value {
        Some(value) => annotations.insert(key.to_owned(), value),
        None => annotations.remove(key),
    };
    set(ANNOTATION_TRIGGER_TIME, trigger_time.map(|time| time.to_string()));
    set(ANNOTATION_OVER_CAPACITY, truncated.then(|| "truncated".to_owned()));
    metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    metadata.labels = Some(labels);
    Some(Endpoints { metadata, subsets })
}

/// Whether this controller wrote the Endpoints.
pub fn is_managed(endpoints: &Endpoints) -> bool {
    endpoints
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(LABEL_MANAGED_BY))
        .is_some_and(|by| by == MANAGER)
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(LABEL_HEADLESS);
    if is_headless(service) {
        labels.insert(LABEL_HEADLESS.to_owned(), String::new());
    }
    labels.insert(LABEL_MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

type PortKey = (String, i32, String, Option<String>);

/// Addresses with the same ports share a subset, however many Service ports led there.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> Vec<EndpointSubset> {
    let spec = service.spec.clone().unwrap_or_default();
    let publish_not_ready = spec.publish_not_ready_addresses.unwrap_or(false);
    let family = Family::of_service(service)[0];
    let service_ports = spec.ports.unwrap_or_default();
    let mut by_ports: BTreeMap<BTreeSet<PortKey>, EndpointSubset> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| pod::counts(pod, publish_not_ready)) {
        let Some(ip) = pod::addresses_of_family(pod, family).into_iter().next() else {
            continue;
        };
        let ports: BTreeSet<PortKey> = service_ports
            .iter()
            .filter_map(|port| {
                let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
                let number = pod::target_port(pod, port)?;
                Some((
                    port.name.clone().unwrap_or_default(),
                    number,
                    protocol,
                    port.app_protocol.clone(),
                ))
            })
            .collect();
        // Only a headless Service may have endpoints without ports.
        if ports.is_empty()
            && !(service_ports.is_empty() && spec.cluster_ip.as_deref() == Some("None"))
        {
            continue;
        }
        let subset = by_ports.entry(ports).or_default();
        let list = if publish_not_ready || pod::is_ready(pod) {
            &mut subset.addresses
        } else {
            &mut subset.not_ready_addresses
        };
        list.get_or_insert_default().push(address(service, pod, ip));
    }
    by_ports.into_iter().map(|(ports, subset)| finish(ports, subset)).collect()
}

fn finish(ports: BTreeSet<PortKey>, mut subset: EndpointSubset) -> EndpointSubset {
    let uid = |address: &EndpointAddress| {
        address.target_ref.as_ref().and_then(|target| target.uid.clone())
    };
    for list in [&mut subset.addresses, &mut subset.not_ready_addresses].into_iter().flatten() {
        list.sort_by(|a, b| a.ip.cmp(&b.ip).then_with(|| uid(a).cmp(&uid(b))));
    }
    let ports: Vec<EndpointPort> = ports
        .into_iter()
        .map(|(name, port, protocol, app_protocol)| EndpointPort {
            name: (!name.is_empty()).then_some(name),
            port,
            protocol: Some(protocol),
            app_protocol,
        })
        .collect();
    subset.ports = (!ports.is_empty()).then_some(ports);
    subset
}

fn address(service: &Service, pod: &Pod, ip: String) -> EndpointAddress {
    EndpointAddress {
        ip,
        hostname: pod::hostname_for(pod, service).map(str::to_owned),
        node_name: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
    }
}

/// Cuts to [`MAX_ADDRESSES`]: ready addresses first, shared out over the subsets by
/// their size, rounded up. Returns whether anything was cut.
fn truncate(subsets: &mut Vec<EndpointSubset>) -> bool {
    let length = |list: &Option<Vec<EndpointAddress>>| list.as_ref().map_or(0, Vec::len);
    let ready: usize = subsets.iter().map(|subset| length(&subset.addresses)).sum();
    let not_ready: usize = subsets.iter().map(|subset| length(&subset.not_ready_addresses)).sum();
    if ready + not_ready <= MAX_ADDRESSES {
        return false;
    }
    let cut_ready = ready > MAX_ADDRESSES;
    let (room, total) =
        if cut_ready { (MAX_ADDRESSES, ready) } else { (MAX_ADDRESSES - ready, not_ready) };
    let mut left = room;
    for subset in subsets.iter_mut() {
        if cut_ready {
            subset.not_ready_addresses = None;
        }
        let list = if cut_ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        let share = (length(list) * room).div_ceil(total.max(1)).min(left);
        if let Some(addresses) = list {
            addresses.truncate(share);
        }
        left -= share;
        if length(list) == 0 {
            *list = None;
        }
    }
    subsets.retain(|subset| subset.addresses.is_some() || subset.not_ready_addresses.is_some());
    true
}
