//! EndpointSlices of Services without a selector, mirrored from their Endpoints.
//!
//! Never writes Endpoints.

use std::sync::Arc;

use client::{Key, WorkQueue};
use futures::future::BoxFuture;

use crate::World;
use crate::mirror::{MANAGER, reconcile};

use super::{CONCURRENT_SERVICES, drop_if_terminating, slice_manager_and_service, write};

/// Registers what makes Endpoints be looked at, and returns the loop that does.
pub fn start(world: Arc<World>) -> BoxFuture<'static, ()> {
    let queue = WorkQueue::new();
    let to = queue.clone();
    world.endpoints.on_change(move |change| {
        change
            .states()
            .last()
            .into_iter()
            .for_each(|endpoints| to.add(Key::of(endpoints.as_ref())));
    });
    let to = queue.clone();
    world.services.on_change(move |change| {
        change.states().last().into_iter().for_each(|service| to.add(Key::of(service.as_ref())));
    });
    let to = queue.clone();
    world.slices.on_change(move |change| {
        for slice in change.states() {
            if let Some((MANAGER, service)) = slice_manager_and_service(&slice.metadata) {
                to.add(service);
            }
        }
    });
    Box::pin(async move {
        world.synced().await;
        let work = |key: Key| {
            let world = &world;
            async move { drop_if_terminating(sync(world, &key).await, ()).map(|()| None) }
        };
        queue.run("endpointslicemirroring", CONCURRENT_SERVICES, work).await;
    })
}

async fn sync(world: &World, key: &Key) -> anyhow::Result<()> {
    let endpoints = world.endpoints.cache.get(key);
    let service = world.services.cache.get(key);
    let slices = world.slices_of(MANAGER, key)?;
    let plan =
        reconcile(endpoints.as_deref(), service.as_deref(), &slices, world.max_endpoints_per_slice);
    write(world, &key.namespace, plan).await.map(drop)
}
