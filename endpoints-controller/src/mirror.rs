//! The EndpointSlices that mirror Endpoints somebody wrote by hand.
//!
//! Never mirrors what this crate writes itself, nor Endpoints that ask to be skipped.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::pack::{EndpointId, Group, Plan, Shape, Stamp, Wanted, pack};
use crate::pod::Family;
use crate::subsets::is_managed;
use crate::{ANNOTATION_TRIGGER_TIME, LABEL_MANAGED_BY, LABEL_SERVICE_NAME, selector_of};

/// `managed-by` of mirrored slices.
pub const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
/// Label of Endpoints that are not to be mirrored.
pub const LABEL_SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Annotation of Endpoints that are only a lock of a leader election.
pub const ANNOTATION_LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// What `kubectl apply` keeps in an object; it describes the Endpoints, not the slices.
const ANNOTATION_LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Most endpoints mirrored of one subset; further ones are left out.
pub const MAX_ENDPOINTS_PER_SUBSET: usize = 1000;

/// Plans the writes that make `slices` (those of [`MANAGER`] with this Service's name)
/// mirror `endpoints`.
pub fn reconcile(
    endpoints: Option<&Endpoints>,
    service: Option<&Service>,
    slices: &[Arc<EndpointSlice>],
    max_endpoints_per_slice: usize,
) -> Plan {
    match (endpoints, service) {
        (Some(endpoints), Some(service)) if is_mirrored(endpoints, service) => {
            pack(wanted(endpoints), slices, max_endpoints_per_slice, &stamp(endpoints))
        }
        _ => Plan { delete: slices.to_vec(), ..Plan::default() },
    }
}

fn is_mirrored(endpoints: &Endpoints, service: &Service) -> bool {
    let meta = &endpoints.metadata;
    let skipped = meta
        .labels
        .as_ref()
        .and_then(|labels| labels.get(LABEL_SKIP_MIRROR))
        .is_some_and(|value| value == "true");
    let is_lock = meta.annotations.as_ref().is_some_and(|all| all.contains_key(ANNOTATION_LEADER));
    !skipped && !is_lock && !is_managed(endpoints) && selector_of(service).is_none()
}

fn wanted(endpoints: &Endpoints) -> Wanted {
    let mut wanted = Wanted::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ports = slice_ports(subset);
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let not_ready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        for (address, ready) in ready.chain(not_ready).take(MAX_ENDPOINTS_PER_SUBSET) {
            let Some(family) = Family::of(&address.ip) else {
                continue;
            };
            let endpoint = endpoint(address, ready);
            let group = wanted
                .entry(Shape::new(family.as_str(), &ports))
                .or_insert_with(|| Group { ports: ports.clone(), endpoints: BTreeMap::new() });
            // An address both ready and not is ready: the ready ones come first.
            group.endpoints.entry(EndpointId::of(&endpoint)).or_insert(endpoint);
        }
    }
    wanted
}

fn slice_ports(subset: &EndpointSubset) -> Vec<EndpointPort> {
    let ports = subset.ports.iter().flatten();
    ports
        .map(|port| EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(port.port),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
            app_protocol: port.app_protocol.clone(),
        })
        .collect()
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            ..EndpointConditions::default()
        }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

fn stamp(endpoints: &Endpoints) -> Stamp {
    let meta = &endpoints.metadata;
    let name = meta.name.clone().unwrap_or_default();
    let mut labels = meta.labels.clone().unwrap_or_default();
    labels.insert(LABEL_SERVICE_NAME.to_owned(), name.clone());
    labels.insert(LABEL_MANAGED_BY.to_owned(), MANAGER.to_owned());
    let mut annotations = meta.annotations.clone().unwrap_or_default();
    annotations.remove(ANNOTATION_LAST_APPLIED);
    let trigger_time = annotations.remove(ANNOTATION_TRIGGER_TIME);
    Stamp {
        namespace: meta.namespace.clone().unwrap_or_default(),
        generate_name: format!("{name}-"),
        labels,
        annotations: Some(annotations),
        owner: OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Endpoints".to_owned(),
            name,
            uid: meta.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        },
        trigger_time,
    }
}
