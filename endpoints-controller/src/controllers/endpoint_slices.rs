//! EndpointSlices of Services with a selector. Slices of another manager are left alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use client::{Change, Key, WorkQueue};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::jiff::Timestamp;

use crate::desired::{LABEL_ZONE, MANAGER, Observed, node_name, reconcile};
use crate::pack::Plan;
use crate::state::{PodChange, State};
use crate::trigger_time::{TriggerTimes, earlier};
use crate::{PODS_BY_NODE, World, pod, selector_of};

use super::{
    CONCURRENT_SERVICES, drop_if_terminating, gets_endpoints, slice_manager_and_service, write,
};

/// Registers what makes a Service be looked at, and returns the loop that does.
pub fn start(world: Arc<World>) -> BoxFuture<'static, ()> {
    let changes = Arc::new(Changes { noted: Mutex::default(), queue: WorkQueue::new() });
    watch_services_and_slices(&world, &changes);
    watch_pods_and_nodes(&world, &changes);
    let queue = changes.queue.clone();
    let slices = Slices { world, changes, states: Mutex::default(), times: Mutex::default() };
    Box::pin(async move {
        slices.world.synced().await;
        let work = |key: Key| {
            let slices = &slices;
            async move {
                let outcome = drop_if_terminating(slices.sync(&key).await, ());
                // Whoever reads EndpointSlices is served first.
                slices.world.endpoints_due.add(key);
                outcome.map(|()| None)
            }
        };
        queue.run("endpointslice", CONCURRENT_SERVICES, work).await;
    })
}

/// What may have changed of a Service since it was looked at, by names.
#[derive(Default)]
struct Noted {
    pods: BTreeSet<String>,
    slices: BTreeSet<String>,
}

/// What may have changed, a Service; bounded by the objects there are.
struct Changes {
    noted: Mutex<HashMap<Key, Noted>>,
    queue: Arc<WorkQueue<Key>>,
}

impl Changes {
    fn note(&self, service: Key, note: impl FnOnce(&mut Noted)) {
        note(lock(&self.noted).entry(service.clone()).or_default());
        self.queue.add(service);
    }

    /// Notes the pod for every Service it belongs to.
    fn note_pod(&self, world: &World, pod: &Pod) {
        let name = pod.metadata.name.as_ref();
        for service in world.services_of(pod) {
            self.note(Key::of(service.as_ref()), |noted| noted.pods.extend(name.cloned()));
        }
    }
}

fn watch_services_and_slices(world: &Arc<World>, changes: &Arc<Changes>) {
    let to = changes.queue.clone();
    world.services.on_change(move |change| {
        // After a deletion the queue still has to remove what is left.
        change.states().last().into_iter().for_each(|service| to.add(Key::of(service.as_ref())));
    });
    let to = changes.clone();
    world.slices.on_change(move |change| {
        for slice in change.states() {
            let name = slice.metadata.name.as_ref();
            if let Some((MANAGER, service)) = slice_manager_and_service(&slice.metadata) {
                to.note(service, |noted| noted.slices.extend(name.cloned()));
            }
        }
    });
}

fn watch_pods_and_nodes(world: &Arc<World>, changes: &Arc<Changes>) {
    let (view, to) = (Arc::downgrade(world), changes.clone());
    world.pods.on_change(move |change| {
        let Some(world) = view.upgrade() else { return };
        if let Change { old: Some(old), new: Some(new) } = change
            && !pod::changed_for_endpoints(old, new)
        {
            return;
        }
        let labels = |pod: &Arc<Pod>| pod.metadata.labels.clone();
        // With the same labels it is in the same Services.
        let moved = change.old.as_ref().map(labels) != change.new.as_ref().map(labels);
        for pod in change.states().skip(usize::from(!moved)) {
            to.note_pod(&world, pod);
        }
    });
    let (view, to) = (Arc::downgrade(world), changes.clone());
    world.nodes.on_change(move |change| {
        let Some(world) = view.upgrade() else { return };
        let zone = |node: &Arc<Node>| {
            node.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_ZONE).cloned())
        };
        // Heartbeats change nodes all the time; only coming, going and zones matter here.
        if change.old.is_some()
            && change.new.is_some()
            && change.old.as_ref().map(zone) == change.new.as_ref().map(zone)
        {
            return;
        }
        let name =
            change.states().last().and_then(|node| node.metadata.name.clone()).unwrap_or_default();
        for pod in world.pods.cache.by_index(PODS_BY_NODE, &name) {
            to.note_pod(&world, &pod);
        }
    });
}

/// The loop's state, a Service.
struct Slices {
    world: Arc<World>,
    changes: Arc<Changes>,
    /// Absent where all of a Service has to be planned anew: at first, and after a failed write.
    states: Mutex<HashMap<Key, State>>,
    times: Mutex<TriggerTimes>,
}

impl Slices {
    async fn sync(&self, key: &Key) -> anyhow::Result<()> {
        // Taken before the caches are read: what comes later is noted for the next time.
        let noted = lock(&self.changes.noted).remove(key).unwrap_or_default();
        let state = lock(&self.states).remove(key);
        let Some(service) = self.world.services.cache.get(key) else {
            lock(&self.times).forget(key);
            let left = self.world.slices_of(MANAGER, key)?;
            let plan = Plan { delete: left, ..Plan::default() };
            return write(&self.world, &key.namespace, plan).await.map(drop);
        };
        if !gets_endpoints(&service) {
            return Ok(());
        }
        let known = state.filter(|state| state.is_of(&service) && self.agrees(state, key, &noted));
        let (mut state, plan) = match known {
            Some(state) => self.plan_changes(state, key, service, noted)?,
            None => self.plan_all(key, service, None)?,
        };
        for slice in write(&self.world, &key.namespace, plan).await? {
            state.settle(slice);
        }
        lock(&self.states).insert(key.clone(), state);
        Ok(())
    }

    /// Whether the noted slices are as this controller wrote them.
    fn agrees(&self, state: &State, key: &Key, noted: &Noted) -> bool {
        noted.slices.iter().all(|name| {
            let stored = self.world.slices.cache.get(&Key::new(&key.namespace, name));
            let stored = stored.as_ref().map(|slice| slice.metadata.resource_version.as_deref());
            stored.flatten() == state.version(name)
        })
    }

    /// Plans what the noted pods change.
    fn plan_changes(
        &self,
        mut state: State,
        key: &Key,
        service: Arc<Service>,
        noted: Noted,
    ) -> anyhow::Result<(State, Plan)> {
        let selector = selector_of(&service);
        let change = |name: String| {
            let pod = self.world.pods.cache.get(&Key::new(&key.namespace, &name));
            let pod = pod.filter(|pod| selector.is_some_and(|it| pod::is_selected(pod, it)));
            let node = pod.as_deref().and_then(node_name);
            let node = node.and_then(|name| self.world.nodes.cache.get(&Key::new("", name)));
            PodChange { name, pod, node }
        };
        let changes: Vec<PodChange> = noted.pods.into_iter().map(change).collect();
        let pods = changes.iter().map(|change| (change.name.as_str(), change.pod.as_deref()));
        let trigger_time = lock(&self.times).observe_changes(key, pods);
        match state.change(changes, trigger_time, self.world.max_endpoints_per_slice) {
            Some(plan) => Ok((state, plan)),
            None => self.plan_all(key, service, trigger_time),
        }
    }

    /// Plans everything from the caches. `observed` is a trigger time that is known already.
    fn plan_all(
        &self,
        key: &Key,
        service: Arc<Service>,
        observed: Option<Timestamp>,
    ) -> anyhow::Result<(State, Plan)> {
        let world = &self.world;
        let pods = world.pods_of(&service);
        let nodes: BTreeMap<_, _> = pods
            .iter()
            .filter_map(|pod| node_name(pod))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), world.nodes.cache.get(&Key::new("", name))?)))
            .collect();
        let trigger_time = earlier(observed, lock(&self.times).observe(key, &service, &pods));
        let slices = world.slices_of(MANAGER, key)?;
        let observed = Observed {
            service: &service,
            pods: &pods,
            nodes: &nodes,
            slices: &slices,
            trigger_time,
        };
        let plan = reconcile(&observed, world.max_endpoints_per_slice);
        let name = |slice: &EndpointSlice| slice.metadata.name.clone();
        let leaving: BTreeSet<_> =
            plan.update.iter().chain(plan.delete.iter().map(Arc::as_ref)).map(name).collect();
        let staying = slices.into_iter().filter(|slice| !leaving.contains(&name(slice)));
        let state = State::new(service, staying);
        Ok((state, plan))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
