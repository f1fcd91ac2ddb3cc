//! Nodes that come, fall silent and return.
//!
//! Never holds old leases against a node: silence counts from when this process started
//! to listen.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use client::{EventType, Key, Recorder, WorkQueue};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use tokio::time::Instant;

use crate::{PODS_BY_NODE, World, is_status, pod};

use plan::{Limits, Observed, Plan, ready_status, reconcile};

/// Nodes worked on at the same time.
const CONCURRENT_NODES: usize = 16;
/// Pods of one node written or deleted at the same time.
const CONCURRENT_PODS: usize = 32;

/// What was heard from a node, and when.
struct Heard {
    renewals: Option<Timestamp>,
    heartbeat: Option<Timestamp>,
    at: Instant,
    /// When each NoExecute taint was first seen.
    taints: HashMap<String, Instant>,
}

impl Heard {
    fn new() -> Self {
        Self { renewals: None, heartbeat: None, at: Instant::now(), taints: HashMap::new() }
    }
}

type Ears = Arc<Mutex<HashMap<String, Heard>>>;

struct Controller {
    world: Arc<World>,
    recorder: Recorder,
    ears: Ears,
    limits: Limits,
}

/// Registers what makes a node be looked at, and returns the loop that does.
pub fn start(world: Arc<World>) -> BoxFuture<'static, ()> {
    let queue = WorkQueue::new();
    let ears = Ears::default();
    listen(&world, &queue, &ears);
    let (recorder, events) = Recorder::new(world.client.clone(), "node-controller");
    let limits = Limits {
        grace: Duration::from_secs(world.options.node_monitor_grace_period_seconds),
        default_toleration: Duration::from_secs(
            world.options.default_unreachable_toleration_seconds,
        ),
    };
    let controller = Controller { world, recorder, ears, limits };
    Box::pin(async move {
        controller.world.nodes.cache.synced().await;
        controller.world.leases.cache.synced().await;
        controller.world.pods.cache.synced().await;
        let work = |key: Key| {
            let controller = &controller;
            async move { controller.sync(&key).await }
        };
        tokio::join!(events, queue.run("nodelifecycle", CONCURRENT_NODES, work));
    })
}

fn listen(world: &Arc<World>, queue: &Arc<WorkQueue<Key>>, ears: &Ears) {
    let (to, heard) = (queue.clone(), ears.clone());
    world.nodes.on_change(move |change| {
        let Some(node) = change.states().last() else {
            return;
        };
        let name = node.metadata.name.clone().unwrap_or_default();
        if change.new.is_none() {
            lock(&heard).remove(&name);
            return;
        }
        hear_node(lock(&heard).entry(name).or_insert_with(Heard::new), node);
        to.add(Key::of(node.as_ref()));
    });
    let (to, heard) = (queue.clone(), ears.clone());
    world.leases.on_change(move |change| {
        let Some(lease) = &change.new else { return };
        let name = lease.metadata.name.clone().unwrap_or_default();
        let renewed =
            lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0);
        let mut ears = lock(&heard);
        let ear = ears.entry(name.clone()).or_insert_with(Heard::new);
        if ear.renewals != renewed {
            ear.renewals = renewed;
            ear.at = Instant::now();
            // Only a node that was given up has something to gain from a sign of life now.
            to.add_after(Key::new("", name), Duration::ZERO);
        }
    });
    let (view, to) = (Arc::downgrade(world), queue.clone());
    world.pods.on_change(move |change| {
        let Some((world, pod)) = view.upgrade().zip(change.new.as_ref()) else {
            return;
        };
        let Some(key) = pod::node_name(pod).map(|name| Key::new("", name)) else {
            return;
        };
        let node = world.nodes.cache.get(&key);
        let troubled = |node: &Node| ready_status(node) != "True" || !no_execute(node).is_empty();
        if node.is_some_and(|node| troubled(&node)) {
            to.add(key);
        }
    });
}

fn hear_node(ear: &mut Heard, node: &Node) {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
    let heartbeat =
        ready.and_then(|condition| condition.last_heartbeat_time.as_ref()).map(|time| time.0);
    if ear.heartbeat != heartbeat {
        ear.heartbeat = heartbeat;
        ear.at = Instant::now();
    }
    let taints = no_execute(node);
    ear.taints.retain(|key, _| taints.iter().any(|taint| taint.key == *key));
    for taint in taints {
        ear.taints.entry(taint.key.clone()).or_insert_with(Instant::now);
    }
}

fn no_execute(node: &Node) -> Vec<&Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.filter(|taint| taint.effect == "NoExecute").collect()
}

fn lock(ears: &Ears) -> MutexGuard<'_, HashMap<String, Heard>> {
    ears.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Controller {
    async fn sync(&self, key: &Key) -> anyhow::Result<Option<Duration>> {
        let Some(node) = self.world.nodes.cache.get(key) else {
            return Ok(None);
        };
        let pods = self.world.pods.cache.by_index(PODS_BY_NODE, &key.name);
        let (silent_for, tainted_for): (Duration, Vec<(String, Duration)>) = {
            let mut ears = lock(&self.ears);
            let ear = ears.entry(key.name.clone()).or_insert_with(Heard::new);
            let ages = ear.taints.iter().map(|(key, since)| (key.clone(), since.elapsed()));
            (ear.at.elapsed(), ages.collect())
        };
        let ready = |node: &Node| ready_status(node) == "True";
        let all_nodes_lost =
            !ready(&node) && !self.world.nodes.cache.all().iter().any(|node| ready(node));
        let observed = Observed {
            node: &node,
            pods: &pods,
            silent_for,
            tainted_for: &tainted_for,
            all_nodes_lost,
        };
        let plan = reconcile(&observed, self.limits, Timestamp::now());
        let again_after = plan.again_after;
        self.run(&node, plan).await?;
        // While all are lost, evictions wait for the first node that is back.
        Ok(if all_nodes_lost {
            Some(again_after.map_or(self.limits.grace, |left| left.min(self.limits.grace)))
        } else {
            again_after
        })
    }

    async fn run(&self, node: &Node, plan: Plan) -> anyhow::Result<()> {
        let api: Api<Node> = Api::all(self.world.client.clone());
        let name = node.metadata.name.as_deref().unwrap_or_default();
        if !plan.conditions.is_empty() {
            tracing::warn!(node = name, "nothing was heard from the node for the grace period");
            let patch = Patch::Strategic(json!({"status": {"conditions": plan.conditions}}));
            let written = api.patch_status(name, &PatchParams::default(), &patch).await;
            self.keep(written).context("marking a node as unknown")?;
            self.recorder.event(
                node,
                EventType::Normal,
                "NodeNotReady",
                format!("Node {name} status is now: NodeNotReady"),
            );
        }
        // Out of Service before anything else: clients are sent there until then.
        stream::iter(plan.not_ready)
            .map(anyhow::Ok)
            .try_for_each_concurrent(CONCURRENT_PODS, |pod| async move {
                self.mark_not_ready(&pod).await
            })
            .await?;
        if let Some(taints) = plan.taints {
            // An empty list is no list.
            let taints = Some(taints).filter(|taints| !taints.is_empty());
            // The version in the patch keeps taints that somebody adds at the same moment.
            let version = self
                .world
                .nodes
                .cache
                .get(&Key::of(node))
                .and_then(|node| node.metadata.resource_version.clone());
            let patch = Patch::Merge(
                json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}}),
            );
            let written = api.patch(name, &PatchParams::default(), &patch).await;
            self.keep(written).context("tainting a node")?;
        }
        stream::iter(plan.evict)
            .map(anyhow::Ok)
            .try_for_each_concurrent(CONCURRENT_PODS, |pod| async move { self.evict(&pod).await })
            .await
    }

    fn keep(&self, written: kube::Result<Node>) -> kube::Result<()> {
        if !is_status(&written, 404) {
            self.world.nodes.wrote(written?);
        }
        Ok(())
    }

    fn pods(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(
            self.world.client.clone(),
            pod.metadata.namespace.as_deref().unwrap_or_default(),
        )
    }

    async fn mark_not_ready(&self, pod: &Pod) -> anyhow::Result<()> {
        let patch = json!({"status": {"conditions": [
            {"type": "Ready", "status": "False", "lastTransitionTime": Time(Timestamp::now())},
        ]}});
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let written = self
            .pods(pod)
            .patch_status(name, &PatchParams::default(), &Patch::Strategic(patch))
            .await;
        if !is_status(&written, 404) {
            self.world.pods.wrote(written.context("marking a pod as not ready")?);
        }
        self.recorder.event(pod, EventType::Warning, "NodeNotReady", "Node is not ready");
        Ok(())
    }

    async fn evict(&self, pod: &Pod) -> anyhow::Result<()> {
        let key = Key::of(pod);
        self.recorder.event(
            pod,
            EventType::Normal,
            "TaintManagerEviction",
            format!("Marking for deletion Pod {key}"),
        );
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: pod.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let answer = self.pods(pod).delete(&key.name, &params).await;
        if !is_status(&answer, 404) && !is_status(&answer, 409) {
            answer.context("evicting a pod")?;
        }
        Ok(())
    }
}
