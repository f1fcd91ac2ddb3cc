//! What follows from a node's state: its conditions, its taints, its pods.
//!
//! Never trusts a node's clock: silence is measured by when this process last saw a change.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::controllers::scheduler::filter::{
    TAINT_NOT_READY, TAINT_UNSCHEDULABLE, is_tolerated_by,
};
use crate::pod;

/// Taint of nodes nobody hears from.
pub const TAINT_UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Annotation of pods that only mirror what a node runs by itself.
const ANNOTATION_MIRROR: &str = "kubernetes.io/config.mirror";
/// Conditions nobody can vouch for when the node is silent.
const NODE_CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// What is observed about one node.
pub struct Observed<'a> {
    /// The node.
    pub node: &'a Node,
    /// Pods bound to it.
    pub pods: &'a [Arc<Pod>],
    /// How long nothing was heard from it.
    pub silent_for: Duration,
    /// How long each taint with effect NoExecute has been seen on it, by key.
    pub tainted_for: &'a [(String, Duration)],
    /// Whether no node at all is ready: then the trouble is rather on this side.
    pub all_nodes_lost: bool,
}

/// Times that decide.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Silence after which a node counts as lost.
    pub grace: Duration,
    /// How long pods that say nothing about it stay on a node that is lost or not ready.
    pub default_toleration: Duration,
}

/// What to write.
#[derive(Debug, Default)]
pub struct Plan {
    /// Conditions to set; empty where all is said.
    pub conditions: Vec<NodeCondition>,
    /// All taints of the node, where they are to change.
    pub taints: Option<Vec<Taint>>,
    /// Pods to mark as not ready.
    pub not_ready: Vec<Arc<Pod>>,
    /// Pods to delete.
    pub evict: Vec<Arc<Pod>>,
    /// When to look again although nothing changes.
    pub again_after: Option<Duration>,
}

/// Plans one round for a node.
pub fn reconcile(observed: &Observed<'_>, limits: Limits, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let silent = observed.silent_for >= limits.grace;
    if silent {
        plan.conditions = unknown_conditions(observed.node, now);
    } else {
        plan.again_after = Some(limits.grace - observed.silent_for);
    }
    let ready = if silent { "Unknown" } else { ready_status(observed.node) };
    plan.taints = changed_taints(observed.node, ready, now);
    // A node that says itself that it is not ready speaks for its pods, too: one that has just
    // started is heard of before it is ready, and its pods may already be.
    if silent || is_given_up(observed.node) {
        let ready_pods = observed.pods.iter().filter(|pod| pod::is_ready(pod));
        plan.not_ready = ready_pods.cloned().collect();
    }
    if !observed.all_nodes_lost {
        plan_evictions(observed, limits, &mut plan);
    }
    plan
}

/// Status of the Ready condition, "Unknown" without one.
pub fn ready_status(node: &Node) -> &str {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
    ready.map_or("Unknown", |condition| condition.status.as_str())
}

/// Whether somebody wrote that nothing is heard of the node.
fn is_given_up(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "Unknown")
}

fn unknown_conditions(node: &Node, now: Timestamp) -> Vec<NodeCondition> {
    let held: Vec<NodeCondition> =
        node.status.iter().flat_map(|status| status.conditions.iter().flatten()).cloned().collect();
    let find = |type_: &str| held.iter().find(|condition| condition.type_ == type_).cloned();
    let unknown = |type_: &&str| {
        let known = find(type_);
        if known.as_ref().is_some_and(|condition| condition.status == "Unknown") {
            return None;
        }
        let never = known.is_none();
        let (reason, message) = if never {
            ("NodeStatusNeverUpdated", "Kubelet never posted node status.")
        } else {
            ("NodeStatusUnknown", "Kubelet stopped posting node status.")
        };
        Some(NodeCondition {
            type_: (*type_).to_owned(),
            status: "Unknown".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: known.and_then(|condition| condition.last_heartbeat_time),
            last_transition_time: Some(Time(now)),
        })
    };
    NODE_CONDITIONS.iter().filter_map(unknown).collect()
}

/// The taints as readiness and cordoning ask for, where they differ from those held.
fn changed_taints(node: &Node, ready: &str, now: Timestamp) -> Option<Vec<Taint>> {
    let spec = node.spec.clone().unwrap_or_default();
    let held = spec.taints.unwrap_or_default();
    let mut wanted: Vec<(&str, &str)> = match ready {
        "True" => Vec::new(),
        "False" => vec![(TAINT_NOT_READY, "NoSchedule"), (TAINT_NOT_READY, "NoExecute")],
        _ => vec![(TAINT_UNREACHABLE, "NoSchedule"), (TAINT_UNREACHABLE, "NoExecute")],
    };
    if spec.unschedulable.unwrap_or(false) {
        wanted.push((TAINT_UNSCHEDULABLE, "NoSchedule"));
    }
    let ours = |taint: &Taint| {
        [TAINT_NOT_READY, TAINT_UNREACHABLE, TAINT_UNSCHEDULABLE].contains(&taint.key.as_str())
    };
    let is_wanted = |taint: &Taint| wanted.contains(&(taint.key.as_str(), taint.effect.as_str()));
    let mut taints: Vec<Taint> =
        held.iter().filter(|taint| !ours(taint) || is_wanted(taint)).cloned().collect();
    for (key, effect) in &wanted {
        if !taints.iter().any(|taint| taint.key == *key && taint.effect == *effect) {
            taints.push(Taint {
                key: (*key).to_owned(),
                effect: (*effect).to_owned(),
                value: None,
                time_added: Some(Time(now)),
            });
        }
    }
    (taints != held).then_some(taints)
}

fn plan_evictions(observed: &Observed<'_>, limits: Limits, plan: &mut Plan) {
    let taints: Vec<&Taint> = observed
        .node
        .spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten())
        .filter(|taint| taint.effect == "NoExecute")
        .collect();
    for pod in observed.pods {
        let mirrors = pod
            .metadata
            .annotations
            .as_ref()
            .is_some_and(|all| all.contains_key(ANNOTATION_MIRROR));
        if mirrors || !pod::is_active(pod) {
            continue;
        }
        let left = taints
            .iter()
            .filter_map(|taint| stays_for(pod, taint, observed.tainted_for, limits))
            .min();
        match left {
            Some(Duration::ZERO) => plan.evict.push(pod.clone()),
            Some(left) => {
                plan.again_after = Some(plan.again_after.map_or(left, |other| other.min(left)))
            }
            None => {}
        }
    }
}

/// How much longer the pod may stay in spite of the taint; none for ever.
fn stays_for(
    pod: &Pod,
    taint: &Taint,
    tainted_for: &[(String, Duration)],
    limits: Limits,
) -> Option<Duration> {
    let tainted_for = tainted_for
        .iter()
        .find(|(key, _)| *key == taint.key)
        .map_or(Duration::ZERO, |(_, age)| *age);
    let tolerations = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
    let covering: Vec<Option<i64>> = tolerations
        .into_iter()
        .filter(|toleration| is_tolerated_by(taint, toleration))
        .map(|toleration| toleration.toleration_seconds)
        .collect();
    let allowed = if covering.is_empty() {
        // Upstream's API server gives every pod tolerations for these two.
        let by_default = [TAINT_NOT_READY, TAINT_UNREACHABLE].contains(&taint.key.as_str());
        if by_default { limits.default_toleration } else { Duration::ZERO }
    } else {
        let shortest = covering.into_iter().flatten().min()?;
        Duration::from_secs(u64::try_from(shortest).unwrap_or(0))
    };
    Some(allowed.saturating_sub(tainted_for))
}
