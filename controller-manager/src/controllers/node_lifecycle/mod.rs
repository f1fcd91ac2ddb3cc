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
use client::{ControlLoop, EventType, Informer, Key, Reconciler, Recorder, is_status, no_index};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use tokio::time::Instant;

use crate::world::PODS_BY_NODE;
use crate::{World, pod};

use plan::{Limits, Observed, Plan, ready_status, reconcile};

/// Nodes worked on at the same time.
const CONCURRENT_NODES: usize = 16;
/// The namespace of the nodes' Leases.
const NODE_LEASES: &str = "kube-node-lease";
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
    let mut control = ControlLoop::new("nodelifecycle", CONCURRENT_NODES);
    let ears = Ears::default();
    let leases = Api::namespaced(world.client.clone(), NODE_LEASES);
    listen(&mut control, &world, &world.informers.some(leases, "", no_index), &ears);
    let recorder = Recorder::start(world.client.clone(), "node-controller", None);
    let limits = Limits {
        grace: Duration::from_secs(world.options.node_monitor_grace_period_seconds),
        default_toleration: Duration::from_secs(
            world.options.default_unreachable_toleration_seconds,
        ),
    };
    control.run(Controller { world, recorder, ears, limits })
}

fn listen(
    control: &mut ControlLoop,
    world: &Arc<World>,
    leases: &Arc<Informer<Lease>>,
    ears: &Ears,
) {
    let heard = ears.clone();
    control.watch(&world.nodes, move |change| {
        if let Some(gone) = change.key_gone() {
            lock(&heard).remove(&gone.name);
        }
        let node = change.new.as_ref()?;
        let key = Key::of(node.as_ref());
        hear_node(lock(&heard).entry(key.name.clone()).or_insert_with(Heard::new), node);
        Some(key)
    });
    let heard = ears.clone();
    control.watch(leases, move |change| {
        let lease = change.new.as_ref()?;
        let name = lease.metadata.name.clone().unwrap_or_default();
        let renewed =
            lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0);
        let mut ears = lock(&heard);
        let ear = ears.entry(name.clone()).or_insert_with(Heard::new);
        if ear.renewals != renewed {
            ear.renewals = renewed;
            ear.at = Instant::now();
            return Some(Key::new("", name));
        }
        None
    });
    control.watch_in(world, &world.pods, |world, change| {
        let node = Key::new("", pod::node_name(change.new.as_ref()?)?);
        let troubled = |node: &Node| ready_status(node) != "True" || !no_execute(node).is_empty();
        world.nodes.cache.get(&node).is_some_and(|node| troubled(&node)).then_some(node)
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

impl Reconciler for Controller {
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
}

impl Controller {
    async fn run(&self, node: &Node, plan: Plan) -> anyhow::Result<()> {
        let api: Api<Node> = Api::all(self.world.client.clone());
        let name = node.metadata.name.as_deref().unwrap_or_default();
        if !plan.conditions.is_empty() {
            tracing::warn!(node = name, "nothing was heard from the node for the grace period");
            let patch = Patch::Strategic(json!({"status": {"conditions": plan.conditions}}));
            let written = api.patch_status(name, &PatchParams::default(), &patch).await;
            self.world.nodes.keep(written).context("marking a node as unknown")?;
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
            self.world.nodes.keep(written).context("tainting a node")?;
        }
        stream::iter(plan.evict)
            .map(anyhow::Ok)
            .try_for_each_concurrent(CONCURRENT_PODS, |pod| async move { self.evict(&pod).await })
            .await
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
        self.world.pods.keep(written).context("marking a pod as not ready")?;
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
