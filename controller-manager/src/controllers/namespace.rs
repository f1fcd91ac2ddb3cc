//! Empties namespaces that are being deleted, then lets them go.
//!
//! Never knows a kind by name, but that pods go first: while they run they may need the rest.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use client::{ControlLoop, Key, Reconciler, is_status};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};

use crate::World;
use crate::kinds::{AnyObject, Kind, discover};

/// The finalizer this controller works for.
const FINALIZER: &str = "kubernetes";
/// Namespaces emptied at the same time.
const CONCURRENT_NAMESPACES: usize = 8;
/// Objects of one namespace deleted at the same time.
const CONCURRENT_DELETIONS: usize = 32;
/// Objects listed at once.
const PAGE: u32 = 500;
/// How soon to look again for objects that take their time to go.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Registers what makes a namespace be looked at, and returns the loop that does.
pub fn start(world: Arc<World>) -> BoxFuture<'static, ()> {
    let mut control = ControlLoop::new("namespace", CONCURRENT_NAMESPACES);
    control.watch(&world.namespaces, |change| change.key_now());
    control.run(Emptier { world })
}

struct Emptier {
    world: Arc<World>,
}

impl Reconciler for Emptier {
    async fn sync(&self, key: &Key) -> anyhow::Result<Option<Duration>> {
        sync(&self.world, key).await
    }
}

async fn sync(world: &World, key: &Key) -> anyhow::Result<Option<Duration>> {
    let name = &key.name;
    let Some(namespace) = world.namespaces.cache.get(key) else {
        return Ok(None);
    };
    let finalizers =
        namespace.spec.as_ref().and_then(|spec| spec.finalizers.clone()).unwrap_or_default();
    if namespace.metadata.deletion_timestamp.is_none()
        || !finalizers.iter().any(|held| held == FINALIZER)
    {
        return Ok(None);
    }
    let kinds = discover(&world.client, true).await?;
    let (pods, others): (Vec<Kind>, Vec<Kind>) = kinds
        .into_iter()
        .filter(|kind| kind.namespaced)
        .partition(|kind| kind.resource.group.is_empty() && kind.resource.kind == "Pod");
    for round in [pods, others] {
        let mut left = 0;
        for kind in round {
            left += empty(world, name, &kind).await?;
        }
        if left > 0 {
            return Ok(Some(LOOK_AGAIN));
        }
    }
    finalize(world, &namespace, finalizers).await?;
    Ok(None)
}

/// Deletes all objects of a kind; returns how many were still there.
async fn empty(world: &World, namespace: &str, kind: &Kind) -> anyhow::Result<usize> {
    let api: Api<AnyObject> = Api::namespaced_with(world.client.clone(), namespace, &kind.resource);
    let listed = api.list(&ListParams::default().limit(PAGE)).await;
    // A kind can go away between discovery and here.
    if is_status(&listed, 404) || is_status(&listed, 405) {
        return Ok(0);
    }
    let listed =
        listed.with_context(|| format!("listing what is left of {}", kind.resource.plural))?;
    let count = listed.items.len();
    let undeleted =
        listed.items.into_iter().filter(|object| object.metadata.deletion_timestamp.is_none());
    stream::iter(undeleted)
        .map(anyhow::Ok)
        .try_for_each_concurrent(CONCURRENT_DELETIONS, |object| {
            let api = api.clone();
            async move {
                let name = object.metadata.name.unwrap_or_default();
                let answer = api.delete(&name, &DeleteParams::background()).await;
                if !is_status(&answer, 404) {
                    answer.with_context(|| format!("deleting {} {name}", kind.resource.plural))?;
                }
                Ok(())
            }
        })
        .await?;
    Ok(count)
}

async fn finalize(
    world: &World,
    namespace: &Namespace,
    finalizers: Vec<String>,
) -> anyhow::Result<()> {
    let mut emptied = namespace.clone();
    let left = finalizers.into_iter().filter(|held| held != FINALIZER).collect();
    emptied.spec.get_or_insert_default().finalizers = Some(left);
    let api: Api<Namespace> = Api::all(world.client.clone());
    let name = namespace.metadata.name.as_deref().unwrap_or_default();
    let answer = api.replace_subresource("finalize", name, &PostParams::default(), &emptied).await;
    if !is_status(&answer, 404) {
        answer.context("finalizing a namespace")?;
    }
    Ok(())
}
