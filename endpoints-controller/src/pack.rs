//! Fits wanted endpoints into EndpointSlices with as few writes as possible.
//!
//! Never moves an endpoint from one slice to another: what is in a slice stays there
//! while it is wanted, so that one change rewrites one slice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::ANNOTATION_TRIGGER_TIME;

/// What makes an endpoint the same one, whatever its conditions say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndpointId {
    addresses: BTreeSet<String>,
    hostname: Option<String>,
    target: Option<[Option<String>; 4]>,
}

impl EndpointId {
    /// The identity of an endpoint.
    pub fn of(endpoint: &Endpoint) -> Self {
        let target = |target: &ObjectReference| {
            [target.kind.clone(), target.namespace.clone(), target.name.clone(), target.uid.clone()]
        };
        Self {
            addresses: endpoint.addresses.iter().cloned().collect(),
            hostname: endpoint.hostname.clone(),
            target: endpoint.target_ref.as_ref().map(target),
        }
    }
}

/// What all endpoints of a slice share: the address type and the ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    address_type: String,
    ports: Vec<(String, String, Option<i32>, Option<String>)>,
}

impl Shape {
    /// The shape for an address type and ports in any order.
    pub fn new(address_type: &str, ports: &[EndpointPort]) -> Self {
        let mut ports: Vec<_> = ports
            .iter()
            .map(|port| {
                let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
                (
                    port.name.clone().unwrap_or_default(),
                    protocol,
                    port.port,
                    port.app_protocol.clone(),
                )
            })
            .collect();
        ports.sort();
        Self { address_type: address_type.to_owned(), ports }
    }

    /// The shape of a slice.
    pub(crate) fn of(slice: &EndpointSlice) -> Self {
        Self::new(&slice.address_type, slice.ports.as_deref().unwrap_or_default())
    }
}

/// The endpoints wanted in slices of one shape. Without endpoints one empty slice is wanted.
#[derive(Clone, Debug)]
pub struct Group {
    /// `ports` of the slices, in the Service's order.
    pub ports: Vec<EndpointPort>,
    /// The endpoints by identity.
    pub endpoints: BTreeMap<EndpointId, Endpoint>,
}

/// Wanted endpoints by the shape of their slices.
pub type Wanted = BTreeMap<Shape, Group>;

/// What every slice of an owner carries.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// Namespace of owner and slices.
    pub namespace: String,
    /// Prefix of new slices' names.
    pub generate_name: String,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// All annotations but the trigger time; none where slices keep what they have.
    pub annotations: Option<BTreeMap<String, String>>,
    /// The owner.
    pub owner: OwnerReference,
    /// Trigger time for what is written now, RFC 3339.
    pub trigger_time: Option<String>,
}

/// Slices to write.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// New slices, named by the API server.
    pub create: Vec<EndpointSlice>,
    /// Slices to replace, with the resourceVersion they were seen at.
    pub update: Vec<EndpointSlice>,
    /// Slices to delete.
    pub delete: Vec<Arc<EndpointSlice>>,
}

impl Plan {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.create.is_empty() && self.update.is_empty() && self.delete.is_empty()
    }
}

/// An existing slice on its way to its wanted state.
pub(crate) struct Slot {
    /// The slice as it is.
    pub slice: Arc<EndpointSlice>,
    /// What it is to hold.
    pub endpoints: Vec<Endpoint>,
}

/// What changes among the slices of one shape.
pub(crate) struct Delta {
    /// Slices that are written anyway, by name.
    pub touched: Vec<Slot>,
    /// Endpoints that are in no slice yet.
    pub missing: BTreeMap<EndpointId, Endpoint>,
}

/// Plans the writes that bring `existing` to `wanted`, with at most `max` endpoints a slice.
/// `existing` is ordered by name.
pub fn pack(wanted: Wanted, existing: &[Arc<EndpointSlice>], max: usize, stamp: &Stamp) -> Plan {
    let mut by_shape: BTreeMap<Shape, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    let mut plan = Plan::default();
    for slice in existing {
        let shape = Shape::of(slice);
        if owned_by(slice, &stamp.owner) && wanted.contains_key(&shape) {
            by_shape.entry(shape).or_default().push(slice.clone());
        } else {
            plan.delete.push(slice.clone());
        }
    }
    for (shape, group) in wanted {
        let slices = by_shape.remove(&shape).unwrap_or_default();
        if group.endpoints.is_empty() {
            keep_one_empty(&shape, &group.ports, slices, max, stamp, &mut plan);
        } else {
            pack_group(&shape, group, slices, max, stamp, &mut plan);
        }
    }
    recycle(&mut plan);
    plan
}

fn pack_group(
    shape: &Shape,
    group: Group,
    slices: Vec<Arc<EndpointSlice>>,
    max: usize,
    stamp: &Stamp,
    plan: &mut Plan,
) {
    let Group { ports, endpoints: mut missing } = group;
    let (mut touched, mut untouched) = (Vec::new(), Vec::new());
    for slice in slices {
        let (slot, changed) = keep_wanted(slice, &mut missing, max, stamp);
        // A slice that holds nothing is touched too: it goes.
        if changed || slot.endpoints.is_empty() {
            touched.push(slot);
        } else {
            untouched.push(slot);
        }
    }
    let fullest = |missing: usize| {
        let room =
            untouched.iter().enumerate().filter(|(_, it)| it.endpoints.len() + missing <= max);
        let at = room.max_by_key(|(_, slot)| slot.endpoints.len()).map(|(at, _)| at);
        at.map(|at| untouched.remove(at))
    };
    pack_delta(shape, &ports, Delta { touched, missing }, fullest, max, stamp, plan);
}

/// Plans the writes for one shape. `fullest` takes out of the slices that are not touched the
/// fullest that has room for that many endpoints, of equals the last by name.
pub(crate) fn pack_delta(
    shape: &Shape,
    ports: &[EndpointPort],
    delta: Delta,
    mut fullest: impl FnMut(usize) -> Option<Slot>,
    max: usize,
    stamp: &Stamp,
    plan: &mut Plan,
) {
    let Delta { mut touched, mut missing } = delta;
    touched.retain(|slot| {
        if slot.endpoints.is_empty() {
            plan.delete.push(slot.slice.clone());
        }
        !slot.endpoints.is_empty()
    });
    // Slices that are written anyway take what is missing first.
    for slot in &mut touched {
        fill(&mut slot.endpoints, &mut missing, max);
    }
    while !missing.is_empty() {
        // The fullest slice that takes all the rest: one write, and the others stay as they are.
        if let Some(mut slot) = fullest(missing.len()) {
            fill(&mut slot.endpoints, &mut missing, max);
            touched.push(slot);
            continue;
        }
        let mut endpoints = Vec::new();
        fill(&mut endpoints, &mut missing, max);
        plan.create.push(new_slice(&shape.address_type, ports, endpoints, stamp));
    }
    plan.update.extend(touched.into_iter().map(|slot| updated(slot, stamp)));
}

/// Of a shape without endpoints one empty slice stays or is made.
fn keep_one_empty(
    shape: &Shape,
    ports: &[EndpointPort],
    slices: Vec<Arc<EndpointSlice>>,
    max: usize,
    stamp: &Stamp,
    plan: &mut Plan,
) {
    let mut slots = slices.into_iter().map(|it| keep_wanted(it, &mut BTreeMap::new(), max, stamp));
    match slots.next() {
        Some((slot, true)) => plan.update.push(updated(slot, stamp)),
        Some((_, false)) => {}
        None => plan.create.push(new_slice(&shape.address_type, ports, Vec::new(), stamp)),
    }
    plan.delete.extend(slots.map(|(slot, _)| slot.slice));
}

fn updated(slot: Slot, stamp: &Stamp) -> EndpointSlice {
    let mut slice = Arc::unwrap_or_clone(slot.slice);
    slice.endpoints = Some(slot.endpoints);
    mark(&mut slice.metadata, stamp);
    slice
}

/// Takes out of `missing` what the slice already holds, brought up to date. Also tells whether
/// the slice has to be written.
fn keep_wanted(
    slice: Arc<EndpointSlice>,
    missing: &mut BTreeMap<EndpointId, Endpoint>,
    max: usize,
    stamp: &Stamp,
) -> (Slot, bool) {
    let held = slice.endpoints.as_deref().unwrap_or_default();
    let mut endpoints = Vec::with_capacity(held.len());
    let mut changed = false;
    for endpoint in held {
        let wanted =
            if endpoints.len() < max { missing.remove(&EndpointId::of(endpoint)) } else { None };
        changed |= wanted.as_ref() != Some(endpoint);
        endpoints.extend(wanted);
    }
    changed |= slice.metadata.labels.as_ref() != Some(&stamp.labels)
        || annotations_differ(&slice.metadata, stamp);
    (Slot { slice, endpoints }, changed)
}

fn annotations_differ(meta: &ObjectMeta, stamp: &Stamp) -> bool {
    let Some(wanted) = &stamp.annotations else {
        return false;
    };
    let held = meta.annotations.iter().flatten().filter(|(key, _)| *key != ANNOTATION_TRIGGER_TIME);
    !held.eq(wanted.iter())
}

fn fill(endpoints: &mut Vec<Endpoint>, missing: &mut BTreeMap<EndpointId, Endpoint>, max: usize) {
    while endpoints.len() < max
        && let Some((_, endpoint)) = missing.pop_first()
    {
        endpoints.push(endpoint);
    }
}

fn owned_by(slice: &EndpointSlice, owner: &OwnerReference) -> bool {
    slice.metadata.owner_references.iter().flatten().any(|reference| reference.uid == owner.uid)
}

fn new_slice(
    address_type: &str,
    ports: &[EndpointPort],
    endpoints: Vec<Endpoint>,
    stamp: &Stamp,
) -> EndpointSlice {
    let mut slice = EndpointSlice {
        metadata: ObjectMeta {
            namespace: Some(stamp.namespace.clone()),
            generate_name: Some(stamp.generate_name.clone()),
            owner_references: Some(vec![stamp.owner.clone()]),
            ..ObjectMeta::default()
        },
        address_type: address_type.to_owned(),
        endpoints: Some(endpoints),
        ports: Some(ports.to_vec()),
    };
    mark(&mut slice.metadata, stamp);
    slice
}

/// Sets what every written slice carries.
fn mark(meta: &mut ObjectMeta, stamp: &Stamp) {
    meta.labels = Some(stamp.labels.clone());
    let mut annotations =
        stamp.annotations.clone().unwrap_or_else(|| meta.annotations.take().unwrap_or_default());
    match &stamp.trigger_time {
        Some(time) => annotations.insert(ANNOTATION_TRIGGER_TIME.to_owned(), time.clone()),
        None => annotations.remove(ANNOTATION_TRIGGER_TIME),
    };
    meta.annotations = (!annotations.is_empty()).then_some(annotations);
}

/// Turns each pair of a deletion and a creation of one address type into one update:
/// watchers see one event, never a moment without the slice.
pub(crate) fn recycle(plan: &mut Plan) {
    let mut created = Vec::new();
    for mut slice in std::mem::take(&mut plan.create) {
        let donor = plan.delete.iter().position(|gone| {
            gone.address_type == slice.address_type
                && gone.metadata.owner_references == slice.metadata.owner_references
        });
        match donor {
            Some(at) => {
                let gone = plan.delete.swap_remove(at);
                let wanted = std::mem::replace(&mut slice.metadata, gone.metadata.clone());
                slice.metadata.labels = wanted.labels;
                slice.metadata.annotations = wanted.annotations;
                plan.update.push(slice);
            }
            None => created.push(slice),
        }
    }
    plan.create = created;
}
