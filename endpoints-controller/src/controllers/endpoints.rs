//! Endpoints of Services with a selector.
//!
//! Never deletes Endpoints that it did not write.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use client::{Key, WorkQueue, is_status};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};

use crate::subsets::{is_managed, reconcile};
use crate::trigger_time::TriggerTimes;
use crate::{World, pod, selector_of};

use super::{CONCURRENT_SERVICES, drop_if_terminating};

/// Registers what makes a Service be looked at, and returns the loop that does.
pub fn start(world: Arc<World>) -> BoxFuture<'static, ()> {
    let queue = WorkQueue::new();
    let to = queue.clone();
    world.services.on_change(move |change| {
        change.states().last().into_iter().for_each(|service| to.add(Key::of(service.as_ref())));
    });
    let to = queue.clone();
    world.endpoints.on_change(move |change| {
        change
            .states()
            .last()
            .into_iter()
            .for_each(|endpoints| to.add(Key::of(endpoints.as_ref())));
    });
    let (view, to) = (Arc::downgrade(&world), queue.clone());
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
    let times = Mutex::new(TriggerTimes::default());
    Box::pin(async move {
        world.synced().await;
        let work = |key: Key| {
            let (world, times) = (&world, &times);
            async move { drop_if_terminating(sync(world, times, &key).await).map(|()| None) }
        };
        queue.run("endpoint", CONCURRENT_SERVICES, work).await;
    })
}

async fn sync(world: &World, times: &Mutex<TriggerTimes>, key: &Key) -> anyhow::Result<()> {
    let api: Api<Endpoints> = Api::namespaced(world.client.clone(), &key.namespace);
    let current = world.endpoints.cache.get(key);
    let Some(service) = world.services.cache.get(key) else {
        times.lock().unwrap_or_else(PoisonError::into_inner).forget(key);
        return match current {
            Some(left) if is_managed(&left) => remove(world, &api, &left).await,
            _ => Ok(()),
        };
    };
    if !gets_endpoints(&service) {
        return Ok(());
    }
    let pods = world.pods_of(&service);
    let trigger_time =
        times.lock().unwrap_or_else(PoisonError::into_inner).observe(key, &service, &pods);
    let Some(wanted) = reconcile(&service, &pods, current.as_deref(), trigger_time) else {
        return Ok(());
    };
    let written = match &current {
        None => api.create(&PostParams::default(), &wanted).await.context("creating Endpoints")?,
        Some(_) => {
            let answer = api.replace(&key.name, &PostParams::default(), &wanted).await;
            if is_status(&answer, 404) {
                world.endpoints.cache.forget(&wanted);
            }
            answer.context("updating Endpoints")?
        }
    };
    world.endpoints.wrote(written);
    Ok(())
}

async fn remove(world: &World, api: &Api<Endpoints>, left: &Endpoints) -> anyhow::Result<()> {
    let same_life = Preconditions { uid: left.metadata.uid.clone(), resource_version: None };
    let params = DeleteParams { preconditions: Some(same_life), ..DeleteParams::default() };
    let answer = api.delete(left.metadata.name.as_deref().unwrap_or_default(), &params).await;
    if !is_status(&answer, 404) {
        answer.context("deleting Endpoints")?;
    }
    world.endpoints.cache.forget(left);
    Ok(())
}

fn gets_endpoints(service: &Service) -> bool {
    let external =
        service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("ExternalName");
    !external && selector_of(service).is_some() && service.metadata.deletion_timestamp.is_none()
}
