//! Deletes pods bound to a node that no longer exists: nobody is left to end them.
//!
//! Never acts on the cache alone: the node's absence is asked for again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use client::{ControlLoop, Key, Reconciler, is_status};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, Preconditions};

use crate::world::PODS_BY_NODE;
use crate::{World, pod};

/// How long a node must be gone before its pods follow: it may only be registering anew.
const QUARANTINE: Duration = Duration::from_secs(40);
/// Nodes looked after at the same time.
const CONCURRENT_NODES: usize = 4;

/// Registers what makes a node's absence be noticed, and returns the loop that acts on it.
pub fn start(world: Arc<World>) -> BoxFuture<'static, ()> {
    let mut control = ControlLoop::new("podgc", CONCURRENT_NODES);
    control.watch_later(&world, &world.nodes, QUARANTINE, |_, change| change.key_gone());
    control.watch_later(&world, &world.pods, QUARANTINE, |world, change| {
        let node = Key::new("", pod::node_name(change.new.as_ref()?)?);
        world.nodes.cache.get(&node).is_none().then_some(node)
    });
    control.run(Collector { world })
}

struct Collector {
    world: Arc<World>,
}

impl Reconciler for Collector {
    async fn sync(&self, node: &Key) -> anyhow::Result<Option<Duration>> {
        collect(&self.world, node).await.map(|()| None)
    }
}

async fn collect(world: &World, node: &Key) -> anyhow::Result<()> {
    let pods = world.pods.cache.by_index(PODS_BY_NODE, &node.name);
    if pods.is_empty() || world.nodes.cache.get(node).is_some() {
        return Ok(());
    }
    let nodes: Api<Node> = Api::all(world.client.clone());
    if nodes.get_metadata_opt(&node.name).await.context("asking for a node")?.is_some() {
        return Ok(());
    }
    for pod in pods {
        let key = Key::of(pod.as_ref());
        tracing::info!(pod = %key, node = node.name, "deleting a pod whose node is gone");
        let api: Api<Pod> = Api::namespaced(world.client.clone(), &key.namespace);
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: pod.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let answer = api.delete(&key.name, &params).await;
        if !is_status(&answer, 404) && !is_status(&answer, 409) {
            answer.context("deleting a pod whose node is gone")?;
        }
    }
    Ok(())
}
