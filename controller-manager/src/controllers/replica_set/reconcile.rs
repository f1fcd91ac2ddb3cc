//! What a ReplicaSet ought to do next: pods to adopt, release, create or delete, and its status.
//!
//! Never talks to the API server and reads no clock.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;

use crate::owner::{claim, controller_reference, selects};
use crate::pod;

use super::rank::sort_for_deletion;

/// Most pods created or deleted in one go; the rest follows in the next.
pub const BURST_REPLICAS: usize = 500;

/// What is observed about one ReplicaSet.
pub struct Observed<'a> {
    /// The ReplicaSet.
    pub replica_set: &'a ReplicaSet,
    /// Pods it controls and pods of its namespace without a controller, without those
    /// this process has already deleted.
    pub pods: Vec<Arc<Pod>>,
    /// Pods it controls that this process has deleted but the watch still shows alive.
    pub doomed: usize,
    /// Pods of ReplicaSets with the same owner, for the choice whom to delete.
    pub related: &'a [Arc<Pod>],
}

/// What to do, in this order.
#[derive(Debug)]
pub struct Actions {
    /// Pods to become the controller of.
    pub adopt: Vec<Arc<Pod>>,
    /// Pods to let go.
    pub release: Vec<Arc<Pod>>,
    /// How many pods to create.
    pub create: usize,
    /// Pods to delete.
    pub delete: Vec<Arc<Pod>>,
    /// The status as observed, before creation and deletion.
    pub status: ReplicaSetStatus,
    /// When to look again although nothing changes: a pod becomes available by waiting.
    pub again_after: Option<Duration>,
}

/// Plans one round for a ReplicaSet.
pub fn reconcile(observed: Observed<'_>, now: Timestamp) -> Actions {
    let Observed { replica_set, pods, doomed, related } = observed;
    let spec = replica_set.spec.clone().unwrap_or_default();
    let candidates = pods.into_iter().filter(|pod| !pod::is_finished(pod)).collect();
    let claim = claim(replica_set, &spec.selector, candidates);
    let (active, leaving): (Vec<_>, Vec<_>) =
        claim.owned.into_iter().partition(|pod| pod::is_active(pod));
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    let alive = replica_set.metadata.deletion_timestamp.is_none();
    let create = if alive { wanted.saturating_sub(active.len()).min(BURST_REPLICAS) } else { 0 };
    let surplus = if alive { active.len().saturating_sub(wanted).min(BURST_REPLICAS) } else { 0 };
    let status = status(replica_set, &active, leaving.len() + doomed, now);
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let again_after = active
        .iter()
        .filter_map(|pod| pod::available_in(pod, min_ready, now))
        .filter(|left| left.is_positive())
        .min()
        .map(|left| left.unsigned_abs());
    let mut delete = Vec::new();
    if surplus > 0 {
        delete = active;
        sort_for_deletion(&mut delete, related);
        delete.truncate(surplus);
    }
    Actions { adopt: claim.adopt, release: claim.release, create, delete, status, again_after }
}

fn status(
    replica_set: &ReplicaSet,
    active: &[Arc<Pod>],
    terminating: usize,
    now: Timestamp,
) -> ReplicaSetStatus {
    let spec = replica_set.spec.clone().unwrap_or_default();
    let template_labels =
        spec.template.and_then(|template| template.metadata).and_then(|meta| meta.labels);
    let count = |test: &dyn Fn(&Pod) -> bool| {
        let number = active.iter().filter(|pod| test(pod)).count();
        Some(i32::try_from(number).unwrap_or(i32::MAX)).filter(|number| *number > 0)
    };
    let fully_labeled = |pod: &Pod| {
        let wanted = template_labels.iter().flatten();
        let labels = pod.metadata.labels.as_ref();
        wanted
            .into_iter()
            .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
    };
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let available =
        |pod: &Pod| pod::available_in(pod, min_ready, now).is_some_and(|left| left.is_zero());
    let old = replica_set.status.clone().unwrap_or_default();
    ReplicaSetStatus {
        replicas: i32::try_from(active.len()).unwrap_or(i32::MAX),
        fully_labeled_replicas: count(&fully_labeled),
        ready_replicas: count(&pod::is_ready),
        available_replicas: count(&available),
        terminating_replicas: i32::try_from(terminating).ok().filter(|number| *number > 0),
        observed_generation: replica_set.metadata.generation,
        conditions: old.conditions,
    }
}

/// Sets or clears the condition that says pods cannot be created or deleted.
pub fn set_failure(status: &mut ReplicaSetStatus, failure: Option<(&str, String)>, now: Timestamp) {
    let conditions = status.conditions.take().unwrap_or_default();
    let (old, mut rest): (Vec<_>, Vec<_>) =
        conditions.into_iter().partition(|condition| condition.type_ == "ReplicaFailure");
    if let Some((reason, message)) = failure {
        let since = old.first().and_then(|condition| condition.last_transition_time.clone());
        rest.push(ReplicaSetCondition {
            type_: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(since.unwrap_or(Time(now))),
        });
    }
    status.conditions = (!rest.is_empty()).then_some(rest);
}

/// A new pod of the ReplicaSet, named by the API server.
pub fn new_pod(replica_set: &ReplicaSet) -> Pod {
    let template = replica_set.spec.clone().and_then(|spec| spec.template).unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    let name = replica_set.metadata.name.as_deref().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: replica_set.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![controller_reference(replica_set)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// Whether a pod without a controller could be this ReplicaSet's.
pub fn could_adopt(replica_set: &ReplicaSet, pod: &Pod) -> bool {
    replica_set
        .spec
        .as_ref()
        .is_some_and(|spec| selects(&spec.selector, pod.metadata.labels.as_ref()))
}
