//! Endpoints of Services with a selector. Endpoints of another writer are never deleted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use client::{Key, WorkQueue, is_status};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Endpoints;
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};
use tokio::time::Instant;

use crate::World;
use crate::subsets::{is_managed, reconcile};
use crate::trigger_time::TriggerTimes;

use super::{CONCURRENT_SERVICES, drop_if_terminating, gets_endpoints};

/// Between two writes of one Service's Endpoints. The object holds all addresses, so that each
/// change of a big Service rewrites it whole; the first is written at once, those that follow
/// are gathered.
pub const WRITE_PERIOD: Duration = Duration::from_millis(200);

/// Registers what makes a Service be looked at, and returns the loop that does. Changes of
/// Services, pods and nodes come by way of their slices.
pub fn start(world: Arc<World>) -> BoxFuture<'static, ()> {
    let to = world.endpoints_due.clone();
    world.endpoints.on_change(move |change| {
        change
            .states()
            .last()
            .into_iter()
            .for_each(|endpoints| to.add(Key::of(endpoints.as_ref())));
    });
    let times = Mutex::new(TriggerTimes::default());
    let queue = world.endpoints_due.clone();
    Box::pin(async move {
        world.synced().await;
        let sync = |key: Key| {
            let (world, times) = (&world, &times);
            async move { drop_if_terminating(sync(world, times, &key).await, Written::Nothing) }
        };
        run_gathered(&queue, sync).await;
    })
}

/// Whether an object was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Nothing,
    Object,
}

/// Works the queue; a key whose object was written waits out [`WRITE_PERIOD`] before it is
/// looked at again.
async fn run_gathered<F, Fut>(queue: &WorkQueue<Key>, sync: F)
where
    F: Fn(Key) -> Fut,
    Fut: Future<Output = anyhow::Result<Written>>,
{
    let rests: Mutex<HashMap<Key, Instant>> = Mutex::default();
    let rests = || rests.lock().unwrap_or_else(PoisonError::into_inner);
    let work = |key: Key| {
        let rest = rests().get(&key).map(|end| end.saturating_duration_since(Instant::now()));
        let rest = rest.filter(|rest| !rest.is_zero());
        let looked = rest.is_none().then(|| sync(key.clone()));
        async move {
            let Some(looked) = looked else { return Ok(rest) };
            rests().remove(&key);
            if looked.await? == Written::Object {
                rests().insert(key, Instant::now() + WRITE_PERIOD);
            }
            Ok(None)
        }
    };
    queue.run("endpoint", CONCURRENT_SERVICES, work).await;
}

async fn sync(world: &World, times: &Mutex<TriggerTimes>, key: &Key) -> anyhow::Result<Written> {
    let api: Api<Endpoints> = Api::namespaced(world.client.clone(), &key.namespace);
    let current = world.endpoints.cache.get(key);
    let Some(service) = world.services.cache.get(key) else {
        times.lock().unwrap_or_else(PoisonError::into_inner).forget(key);
        if let Some(left) = current.filter(|left| is_managed(left)) {
            remove(world, &api, &left).await?;
        }
        return Ok(Written::Nothing);
    };
    if !gets_endpoints(&service) {
        return Ok(Written::Nothing);
    }
    let pods = world.pods_of(&service);
    let trigger_time =
        times.lock().unwrap_or_else(PoisonError::into_inner).observe(key, &service, &pods);
    let Some(wanted) = reconcile(&service, &pods, current.as_deref(), trigger_time) else {
        return Ok(Written::Nothing);
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
    Ok(Written::Object)
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Changes of one Service, ms after the start, and when its Endpoints are written.
    async fn check(changes_ms: &[u64], expected_ms: &[u128]) {
        let (queue, key) = (WorkQueue::new(), Key::new("default", "web"));
        let (start, written) = (Instant::now(), RefCell::new(Vec::new()));
        let dirty = RefCell::new(false);
        let changes = async {
            for at_ms in changes_ms {
                tokio::time::sleep_until(start + Duration::from_millis(*at_ms)).await;
                *dirty.borrow_mut() = true;
                queue.add(key.clone());
            }
            tokio::time::sleep(WRITE_PERIOD * 3).await;
        };
        let sync = |_| async {
            if !dirty.replace(false) {
                return Ok(Written::Nothing);
            }
            written.borrow_mut().push(start.elapsed().as_millis());
            Ok(Written::Object)
        };
        tokio::select! {
            () = run_gathered(&queue, sync) => {}
            () = changes => {}
        }
        assert_eq!(*written.borrow(), expected_ms, "changes at {changes_ms:?}");
        assert!(!*dirty.borrow(), "a change was lost");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_change_is_written_at_once_and_later_ones_are_gathered() {
        check(&[10], &[10]).await;
        check(&[10, 20, 30], &[10, 210]).await;
        check(&[10, 20, 209], &[10, 210]).await;
        check(&[10, 20, 211], &[10, 210, 410]).await;
        check(&[10, 300], &[10, 300]).await;
        let often: Vec<u64> = (0..100).map(|flip| flip * 10).collect();
        check(&often, &[0, 200, 400, 600, 800, 1000]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_write_does_not_count() {
        let (queue, tries) = (WorkQueue::new(), RefCell::new(Vec::new()));
        let start = Instant::now();
        queue.add(Key::new("default", "web"));
        let sync = |_| async {
            tries.borrow_mut().push(start.elapsed().as_millis());
            anyhow::ensure!(tries.borrow().len() > 2, "a conflict");
            Ok(Written::Object)
        };
        tokio::select! {
            () = run_gathered(&queue, sync) => {}
            () = tokio::time::sleep(WRITE_PERIOD) => {}
        }
        assert_eq!(*tries.borrow(), [0, 5, 15], "as the queue's back-off says");
    }
}
