//! What is known about one Service's slices: which pod is in which, and which have room.
//!
//! A change of some pods is planned from here at a cost that does not grow with the Service; the
//! plan is the one that `desired` makes of everything. What is rare (ports that no slice has
//! yet, the first or the last endpoint, another Service) is left to that.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::jiff::Timestamp;

use crate::desired::{contribution, stamp};
use crate::pack::{Delta, EndpointId, Plan, Shape, Slot, pack_delta, recycle};
use crate::pod::Family;

/// A pod of the Service's namespace that may have changed.
pub struct PodChange {
    /// The pod's name.
    pub name: String,
    /// The pod, where the Service selects it.
    pub pod: Option<Arc<Pod>>,
    /// The node it is on, where there is one.
    pub node: Option<Arc<Node>>,
}

/// The slices of one Service as they are stored, with what is needed to find things in them.
pub struct State {
    /// The Service that the slices were planned for.
    service: Arc<Service>,
    families: Vec<Family>,
    groups: BTreeMap<Shape, Group>,
}

/// The slices of one shape.
#[derive(Default)]
struct Group {
    ports: Vec<EndpointPort>,
    slices: BTreeMap<String, EndpointSlice>,
    /// Slices by number of endpoints, then by name.
    by_length: BTreeSet<(usize, String)>,
    /// The slice that each pod is in.
    homes: HashMap<String, Arc<str>>,
    /// Slices taken out to be written.
    touched: BTreeMap<String, Slot>,
    /// Endpoints that need a place.
    missing: BTreeMap<EndpointId, Endpoint>,
}

impl State {
    /// The state of a Service whose slices are as they should be, or will be when what was
    /// written has been settled too.
    pub fn new(
        service: Arc<Service>,
        slices: impl IntoIterator<Item = Arc<EndpointSlice>>,
    ) -> Self {
        let families = Family::of_service(&service);
        let mut state = Self { service, families, groups: BTreeMap::new() };
        for slice in slices {
            state.settle(Arc::unwrap_or_clone(slice));
        }
        state
    }

    /// Whether the slices were planned for this state of the Service.
    pub fn is_of(&self, service: &Arc<Service>) -> bool {
        Arc::ptr_eq(&self.service, service)
    }

    /// The resourceVersion of a slice, if there is one of that name.
    pub fn version(&self, slice: &str) -> Option<&str> {
        let found = self.groups.values().find_map(|group| group.slices.get(slice));
        found?.metadata.resource_version.as_deref()
    }

    /// Enters a slice as it is stored now.
    pub fn settle(&mut self, slice: EndpointSlice) {
        let group = self.groups.entry(Shape::of(&slice)).or_default();
        group.ports = slice.ports.clone().unwrap_or_default();
        group.enter(slice);
    }

    /// Plans the writes after a change of pods; the slices to update are the caller's until
    /// they are settled. None where all has to be planned anew; the state is void then, as it is
    /// after a failed write.
    pub fn change(
        &mut self,
        changes: Vec<PodChange>,
        trigger_time: Option<Timestamp>,
        max: usize,
    ) -> Option<Plan> {
        for change in &changes {
            self.set_pod(change)?;
        }
        let mut plan = Plan::default();
        let stamp = stamp(&self.service, trigger_time);
        for (shape, group) in &mut self.groups {
            if group.touched.is_empty() && group.missing.is_empty() {
                continue;
            }
            if group.homes.is_empty() {
                // The first endpoints or none: an empty slice comes or goes.
                return None;
            }
            let delta = Delta {
                touched: std::mem::take(&mut group.touched).into_values().collect(),
                missing: std::mem::take(&mut group.missing),
            };
            let ports = group.ports.clone();
            let fullest = |missing: usize| group.take_fullest(missing, max);
            pack_delta(shape, &ports, delta, fullest, max, &stamp, &mut plan);
        }
        recycle(&mut plan);
        Some(plan)
    }

    /// Brings one pod's endpoints up to date. None where no slice has its ports.
    fn set_pod(&mut self, change: &PodChange) -> Option<()> {
        let mut wanted = Vec::new();
        for family in &self.families {
            let pod = change.pod.as_deref();
            let node = change.node.as_deref();
            let found = pod.and_then(|pod| contribution(&self.service, pod, node, *family));
            let Some((ports, endpoint)) = found else { continue };
            let shape = Shape::new(family.as_str(), &ports);
            self.groups.get_mut(&shape)?.set(&change.name, endpoint)?;
            wanted.push(shape);
        }
        for (shape, group) in &mut self.groups {
            if !wanted.contains(shape) {
                group.unset(&change.name)?;
            }
        }
        Some(())
    }
}

impl Group {
    fn enter(&mut self, slice: EndpointSlice) {
        let name = slice.metadata.name.clone().unwrap_or_default();
        let home: Arc<str> = name.as_str().into();
        for pod in slice.endpoints.iter().flatten().filter_map(pod_of) {
            if self.homes.get(pod) != Some(&home) {
                self.homes.insert(pod.to_owned(), home.clone());
            }
        }
        self.by_length.insert((length(&slice), name.clone()));
        self.slices.insert(name, slice);
    }

    /// Wants the pod's endpoint. None where the slices are not as this state says.
    fn set(&mut self, pod: &str, endpoint: Endpoint) -> Option<()> {
        let id = EndpointId::of(&endpoint);
        let Some(home) = self.homes.get(pod).cloned() else {
            self.missing.insert(id, endpoint);
            return Some(());
        };
        let held = self.held(&home, pod)?;
        if *held == endpoint {
            return Some(());
        }
        let same = EndpointId::of(held) == id;
        let (slot, at) = self.touch(&home, pod)?;
        if same {
            slot.endpoints[at] = endpoint;
        } else {
            slot.endpoints.remove(at);
            self.homes.remove(pod);
            self.missing.insert(id, endpoint);
        }
        Some(())
    }

    fn unset(&mut self, pod: &str) -> Option<()> {
        if let Some(home) = self.homes.remove(pod) {
            let (slot, at) = self.touch(&home, pod)?;
            slot.endpoints.remove(at);
        }
        Some(())
    }

    fn held(&self, home: &str, pod: &str) -> Option<&Endpoint> {
        let slice = self.slices.get(home).and_then(|slice| slice.endpoints.as_ref());
        let endpoints = slice.or_else(|| Some(&self.touched.get(home)?.endpoints))?;
        endpoints.iter().find(|endpoint| pod_of(endpoint) == Some(pod))
    }

    /// Takes a slice out to be written; also where the pod is in it.
    fn touch(&mut self, home: &str, pod: &str) -> Option<(&mut Slot, usize)> {
        if let Some(slot) = self.take(home) {
            self.touched.insert(home.to_owned(), slot);
        }
        let slot = self.touched.get_mut(home)?;
        let at = slot.endpoints.iter().position(|endpoint| pod_of(endpoint) == Some(pod))?;
        Some((slot, at))
    }

    fn take_fullest(&mut self, missing: usize, max: usize) -> Option<Slot> {
        let above = (max.checked_sub(missing)? + 1, String::new());
        let (_, name) = self.by_length.range(..above).next_back()?.clone();
        self.take(&name)
    }

    fn take(&mut self, name: &str) -> Option<Slot> {
        let (name, mut slice) = self.slices.remove_entry(name)?;
        self.by_length.remove(&(length(&slice), name));
        let endpoints = slice.endpoints.take().unwrap_or_default();
        Some(Slot { slice: Arc::new(slice), endpoints })
    }
}

fn length(slice: &EndpointSlice) -> usize {
    slice.endpoints.as_ref().map_or(0, Vec::len)
}

/// The pod that an endpoint stands for.
fn pod_of(endpoint: &Endpoint) -> Option<&str> {
    endpoint.target_ref.as_ref()?.name.as_deref()
}
