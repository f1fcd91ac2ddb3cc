//! EndpointSlices of Services with a selector.
//!
//! Never touches slices that another manager writes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use client::{Key, WorkQueue};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Service;

use crate::desired::{LABEL_ZONE, MANAGER, Observed, reconcile};
use crate::pack::Plan;
use crate::trigger_time::TriggerTimes;
use crate::{PODS_BY_NODE, World, pod, selector_of};

use super::{CONCURRENT_SERVICES, drop_if_terminating, slice_manager_and_service, write};

/// Registers what makes a Service be looked at, and returns the loop that does.
pub fn start(world: Arc<World>) -> BoxFuture<'static, ()> {
    let queue = WorkQueue::new();
    watch_services_and_slices(&world, &queue);
    watch_pods_and_nodes(&world, &queue);
    let times = Mutex::new(TriggerTimes::default());
    Box::pin(async move {
        world.synced().await;
        let work = |key: Key| {
            let (world, times) = (&world, &times);
            async move { drop_if_terminating(sync(world, times, &key).await).map(|()| None) }
        };
        queue.run("endpointslice", CONCURRENT_SERVICES, work).await;
    })
}

fn watch_services_and_slices(world: &Arc<World>, queue: &Arc<WorkQueue<Key>>) {
    let to = queue.clone();
    world.services.on_change(move |change| {
        // After a deletion the queue still has to remove what is left.
        change.states().last().into_iter().for_each(|service| to.add(Key::of(service.as_ref())));
    });
    let to = queue.clone();
    world.slices.on_change(move |change| {
        for slice in change.states() {
            if let Some((MANAGER, service)) = slice_manager_and_service(slice) {
                to.add(service);
            }
        }
    });
}

fn watch_pods_and_nodes(world: &Arc<World>, queue: &Arc<WorkQueue<Key>>) {
    let (view, to) = (Arc::downgrade(world), queue.clone());
    world.pods.on_change(move |change| {
        let Some(world) = view.upgrade() else { return };
        if let (Some(old), Some(new)) = (&change.old, &change.new)
            && !pod::changed_for_endpoints(old, new)
        {
            return;
        }
        for service in change.states().flat_map(|pod| world.services_of(pod)) {
            to.add(Key::of(service.as_ref()));
        }
    });
    let (view, to) = (Arc::downgrade(world), queue.clone());
    world.nodes.on_change(move |change| {
        let Some(world) = view.upgrade() else { return };
        let zone = |node: &Arc<k8s_openapi::api::core::v1::Node>| {
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
            world.services_of(&pod).iter().for_each(|service| to.add(Key::of(service.as_ref())));
        }
    });
}

async fn sync(world: &World, times: &Mutex<TriggerTimes>, key: &Key) -> anyhow::Result<()> {
    let slices = world.slices_of(MANAGER, key);
    let plan = match world.services.cache.get(key) {
        None => {
            times.lock().unwrap_or_else(PoisonError::into_inner).forget(key);
            Plan { delete: slices, ..Plan::default() }
        }
        Some(service) if !gets_slices(&service) => return Ok(()),
        Some(service) => {
            let pods = world.pods_of(&service);
            let node_names = pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.clone());
            let nodes: BTreeMap<_, _> = node_names
                .filter_map(|name| {
                    Some((name.clone(), world.nodes.cache.get(&Key::new("", name))?))
                })
                .collect();
            let trigger_time =
                times.lock().unwrap_or_else(PoisonError::into_inner).observe(key, &service, &pods);
            let observed = Observed {
                service: &service,
                pods: &pods,
                nodes: &nodes,
                slices: &slices,
                trigger_time,
            };
            reconcile(&observed, world.max_endpoints_per_slice)
        }
    };
    if plan.is_empty() { Ok(()) } else { write(world, &key.namespace, plan).await }
}

fn gets_slices(service: &Service) -> bool {
    let external =
        service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("ExternalName");
    !external && selector_of(service).is_some() && service.metadata.deletion_timestamp.is_none()
}
