//! Binds pods to nodes: spread over the nodes that may run them.
//!
//! Never moves a pod that is bound.

pub mod filter;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use client::{ControlLoop, EventType, Key, Reconciler, Recorder, is_status};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Status, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};

use crate::pod::group_of;
use crate::world::{PODS_BY_NODE, PODS_BY_NODE_AND_GROUP};
use crate::{World, pod};
use filter::{HostPort, host_ports, refusal};

/// Pods being bound at the same time.
const CONCURRENT_BINDINGS: usize = 64;
/// The scheduler's own name in `spec.schedulerName`.
const SCHEDULER_NAME: &str = "default-scheduler";

/// A node as the scheduler sees it for one pod.
pub struct Candidate {
    /// The node.
    pub node: Arc<Node>,
    /// How many pods it runs.
    pub pods: usize,
    /// How many of them belong to the same group as the pod in question.
    pub kin: usize,
    /// Host ports in use on it.
    pub taken: BTreeSet<HostPort>,
}

/// Chooses a node: the one with the fewest pods of the same group, then the fewest
/// pods, then the first name.
///
/// # Errors
/// No node may run the pod; the text counts the reasons, in upstream's words.
pub fn choose(pod: &Pod, candidates: &[Candidate]) -> Result<String, String> {
    if candidates.is_empty() {
        return Err("no nodes available to schedule pods".to_owned());
    }
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut best: Option<(usize, usize, &str)> = None;
    for candidate in candidates {
        if let Some(reason) = refusal(pod, &candidate.node, &candidate.taken) {
            *reasons.entry(reason).or_default() += 1;
            continue;
        }
        let rank = (
            candidate.kin,
            candidate.pods,
            candidate.node.metadata.name.as_deref().unwrap_or_default(),
        );
        best = Some(best.map_or(rank, |known| known.min(rank)));
    }
    if let Some((_, _, name)) = best {
        return Ok(name.to_owned());
    }
    let mut counted: Vec<String> =
        reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    counted.sort();
    Err(format!("0/{} nodes are available: {}.", candidates.len(), counted.join(", ")))
}

/// What was decided but is not yet seen in the watch, and what waits for a better day.
#[derive(Default)]
struct Memory {
    /// Pods on their way to a node, by UID.
    assumed: HashMap<String, (String, Arc<Pod>)>,
    /// Pods that fit nowhere.
    waiting: HashSet<Key>,
}

struct Controller {
    world: Arc<World>,
    recorder: Recorder,
    memory: Arc<Mutex<Memory>>,
}

/// Registers what makes a pod be looked at, and returns the loop that does.
pub fn start(world: Arc<World>) -> BoxFuture<'static, ()> {
    let mut control = ControlLoop::new("scheduler", CONCURRENT_BINDINGS);
    let memory: Arc<Mutex<Memory>> = Arc::default();
    let shared = memory.clone();
    control.watch(&world.pods, move |change| {
        let mut memory = lock(&shared);
        let bound = |pod: &Arc<Pod>| pod::node_name(pod).is_some();
        if let Some(uid) = change
            .states()
            .last()
            .filter(|pod| change.new.is_none() || bound(pod))
            .and_then(|pod| pod.metadata.uid.as_ref())
        {
            memory.assumed.remove(uid);
        }
        match &change.new {
            Some(pod) if !bound(pod) => vec![Key::of(pod.as_ref())],
            Some(_) => Vec::new(),
            // Its host ports are free now.
            None => memory.waiting.drain().collect(),
        }
    });
    let shared = memory.clone();
    control.watch(&world.nodes, move |change| {
        let part = |node: &Option<Arc<Node>>| node.as_deref().map(schedulable_part);
        let same = part(&change.old) == part(&change.new);
        if same { Vec::new() } else { lock(&shared).waiting.drain().collect() }
    });
    let recorder = Recorder::start(world.client.clone(), SCHEDULER_NAME, None);
    control.run(Controller { world, recorder, memory })
}

/// What of a node decides whether pods may run there; heartbeats are not part of it.
fn schedulable_part(node: &Node) -> impl PartialEq {
    (node.metadata.labels.clone(), node.spec.clone(), filter::is_ready(node))
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_ours(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    let scheduler = spec.and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or(SCHEDULER_NAME);
    let gated =
        spec.and_then(|spec| spec.scheduling_gates.as_ref()).is_some_and(|gates| !gates.is_empty());
    pod::node_name(pod).is_none() && pod::is_active(pod) && scheduler == SCHEDULER_NAME && !gated
}

impl Reconciler for Controller {
    async fn sync(&self, key: &Key) -> anyhow::Result<Option<Duration>> {
        let Some(pod) = self.world.pods.cache.get(key).filter(|pod| is_ours(pod)) else {
            lock(&self.memory).waiting.remove(key);
            return Ok(None);
        };
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let choice = {
            // Choosing and noting the choice are one step: two pods never see the same gap.
            let mut memory = lock(&self.memory);
            if memory.assumed.contains_key(&uid) {
                return Ok(None);
            }
            let choice = choose(&pod, &self.candidates(&pod, &memory));
            match &choice {
                Ok(node) => {
                    memory.waiting.remove(key);
                    memory.assumed.insert(uid.clone(), (node.clone(), pod.clone()));
                }
                Err(_) => {
                    memory.waiting.insert(key.clone());
                }
            }
            choice
        };
        match choice {
            Ok(node) => {
                let bound = self.bind(&pod, &node).await;
                if bound.is_err() {
                    lock(&self.memory).assumed.remove(&uid);
                }
                bound
            }
            Err(reason) => self.report_unschedulable(&pod, reason).await,
        }
        .map(|()| None)
    }
}

impl Controller {
    fn candidates(&self, pod: &Pod, memory: &Memory) -> Vec<Candidate> {
        let (pods, group) = (&self.world.pods.cache, group_of(pod));
        let wants_host_port = pod.spec.as_ref().is_some_and(|spec| !host_ports(spec).is_empty());
        let mut nodes = self.world.nodes.cache.all();
        nodes.retain(|node| node.metadata.deletion_timestamp.is_none());
        let candidate = |node: Arc<Node>| {
            let name = node.metadata.name.clone().unwrap_or_default();
            let on_the_way = memory.assumed.values().filter(|(at, _)| *at == name);
            let assumed: Vec<Arc<Pod>> = on_the_way.map(|(_, pod)| pod.clone()).collect();
            let kin = pods.count(PODS_BY_NODE_AND_GROUP, &format!("{name} {group}"))
                + assumed.iter().filter(|other| group_of(other) == group).count();
            let count = pods.count(PODS_BY_NODE, &name) + assumed.len();
            let mut taken = BTreeSet::new();
            if wants_host_port {
                let mut here = pods.by_index(PODS_BY_NODE, &name);
                here.retain(|pod| !pod::is_finished(pod));
                here.extend(assumed);
                taken =
                    here.iter().filter_map(|pod| pod.spec.as_ref()).flat_map(host_ports).collect();
            }
            Candidate { node, pods: count, kin, taken }
        };
        nodes.into_iter().map(candidate).collect()
    }

    async fn bind(&self, pod: &Pod, node: &str) -> anyhow::Result<()> {
        let meta = &pod.metadata;
        let (namespace, name) =
            (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        let api: Api<Pod> = Api::namespaced(self.world.client.clone(), &namespace);
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace.clone()),
                uid: meta.uid.clone(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                kind: Some("Node".to_owned()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        let answer: kube::Result<Status> =
            api.create_subresource("binding", &name, &PostParams::default(), &binding).await;
        if is_status(&answer, 404) {
            return Ok(());
        }
        answer.with_context(|| format!("binding to {node}"))?;
        self.recorder.event(
            pod,
            EventType::Normal,
            "Scheduled",
            format!("Successfully assigned {namespace}/{name} to {node}"),
        );
        Ok(())
    }

    async fn report_unschedulable(&self, pod: &Pod, message: String) -> anyhow::Result<()> {
        let known = pod::condition(pod, "PodScheduled");
        let said = known.is_some_and(|condition| {
            condition.status == "False" && condition.message.as_ref() == Some(&message)
        });
        if said {
            return Ok(());
        }
        self.recorder.event(pod, EventType::Warning, "FailedScheduling", message.clone());
        let unchanged_since = known
            .filter(|condition| condition.status == "False")
            .and_then(|condition| condition.last_transition_time.clone());
        let patch = serde_json::json!({"status": {"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
            "lastTransitionTime": unchanged_since.unwrap_or(Time(Timestamp::now())),
        }]}});
        let api: Api<Pod> = Api::namespaced(
            self.world.client.clone(),
            pod.metadata.namespace.as_deref().unwrap_or_default(),
        );
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let answer =
            api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        self.world.pods.keep(answer).context("saying that a pod cannot be scheduled")
    }
}
