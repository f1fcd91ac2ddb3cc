//! What a Deployment ought to do next.
//!
//! Never talks to the API server and reads no clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use crate::owner::{claim, controller_of, controller_reference};
use crate::pod;
use crate::template::{self, LABEL_TEMPLATE_HASH};

use super::facts::{self, ANNOTATION_DESIRED, ANNOTATION_REVISION};
use super::sets::Sets;
use super::{rollout, scale, status};

/// What is observed about one Deployment.
pub struct Observed<'a> {
    /// The Deployment.
    pub deployment: &'a Deployment,
    /// ReplicaSets it controls and those of its namespace without a controller.
    pub replica_sets: Vec<Arc<ReplicaSet>>,
    /// Pods of the ReplicaSets it controls; only the Recreate strategy looks at them.
    pub pods: &'a [Arc<Pod>],
}

/// One write.
#[derive(Clone, Debug)]
pub enum Action {
    /// Become the controller of a ReplicaSet.
    Adopt(Arc<ReplicaSet>),
    /// Let a ReplicaSet go.
    Release(Arc<ReplicaSet>),
    /// Create a ReplicaSet.
    Create(Box<ReplicaSet>),
    /// Bring a ReplicaSet's annotations and minReadySeconds up to date.
    Annotate(Arc<ReplicaSet>, BTreeMap<String, String>, i32),
    /// Set a ReplicaSet's replicas.
    Scale(Arc<ReplicaSet>, i32),
    /// Delete a ReplicaSet that history no longer needs.
    Delete(Arc<ReplicaSet>),
    /// Note the present revision in the Deployment.
    SetRevision(String),
    /// Write the Deployment's status.
    Status(Box<DeploymentStatus>),
}

/// The writes of one round, in order.
#[derive(Debug, Default)]
pub struct Plan {
    /// The writes.
    pub actions: Vec<Action>,
    /// When to look again although nothing changes: the progress deadline.
    pub again_after: Option<Duration>,
}

/// Plans one round for a Deployment.
pub fn reconcile(observed: Observed<'_>, now: Timestamp) -> Plan {
    let Observed { deployment, replica_sets, pods } = observed;
    let Some(spec) = &deployment.spec else {
        return Plan::default();
    };
    let claim = claim(deployment, &spec.selector, replica_sets);
    let mut plan = Plan::default();
    if !claim.adopt.is_empty() || !claim.release.is_empty() {
        // The next round sees them where they belong.
        plan.actions.extend(claim.adopt.into_iter().map(Action::Adopt));
        plan.actions.extend(claim.release.into_iter().map(Action::Release));
        return plan;
    }
    let mut sets = sort(deployment, claim.owned);
    let leaving = deployment.metadata.deletion_timestamp.is_some();
    let paused = spec.paused.unwrap_or(false);
    let mut created = None;
    let scaling = is_scaling(deployment, &sets);
    let complete = status::is_complete(deployment, &sets);
    if !leaving {
        if sets.new.is_none() && !paused && !scaling && may_start(deployment, &sets, pods) {
            let mut set = new_replica_set(deployment, &sets);
            set.spec.get_or_insert_default().replicas =
                Some(rollout::room_for_new(deployment, &sets, 0));
            plan.actions.push(Action::SetRevision(
                facts::revision(set.metadata.annotations.as_ref()).to_string(),
            ));
            created = set.metadata.name.clone();
            plan.actions.push(Action::Create(Box::new(set)));
        } else {
            refresh_new(deployment, &sets, &mut plan);
            if paused || scaling {
                scale::scale(deployment, &mut sets);
            } else if facts::is_rolling(deployment) {
                rollout::roll(deployment, &mut sets);
            } else {
                let old_pods_run = old_pods_run(&sets, pods);
                rollout::recreate(deployment, &mut sets, old_pods_run);
            }
            push_scalings(deployment, &sets, scaling, &mut plan);
            if complete || paused {
                push_cleanup(deployment, &sets, &mut plan);
            }
        }
    }
    let (status, again_after) =
        status::reconcile(deployment, &sets, created.as_deref(), leaving || scaling, now);
    plan.again_after = again_after;
    if deployment.status.as_ref() != Some(&status) {
        plan.actions.push(Action::Status(Box::new(status)));
    }
    plan
}

fn sort(deployment: &Deployment, mut owned: Vec<Arc<ReplicaSet>>) -> Sets {
    owned.retain(|set| set.metadata.deletion_timestamp.is_none());
    owned.sort_by_key(|set| (set.metadata.creation_timestamp.clone(), set.metadata.name.clone()));
    let template = deployment.spec.as_ref().map(|spec| &spec.template);
    let new = owned.iter().position(|set| {
        let held = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
        held.zip(template).is_some_and(|(held, template)| template::equal(held, template))
    });
    Sets { replicas: owned.iter().map(|set| facts::replicas(set)).collect(), all: owned, new }
}

/// Whether the Deployment was resized since its ReplicaSets were.
fn is_scaling(deployment: &Deployment, sets: &Sets) -> bool {
    let wanted = i64::from(facts::wanted(deployment));
    let active = sets.all.iter().filter(|set| facts::replicas(set) > 0);
    active.into_iter().any(|set| {
        facts::number(set.metadata.annotations.as_ref(), ANNOTATION_DESIRED)
            .is_some_and(|desired| desired != wanted)
    })
}

/// With Recreate the new ReplicaSet has to wait until the old pods are gone.
fn may_start(deployment: &Deployment, sets: &Sets, pods: &[Arc<Pod>]) -> bool {
    facts::is_rolling(deployment) || (sets.total() == 0 && !old_pods_run(sets, pods))
}

fn old_pods_run(sets: &Sets, pods: &[Arc<Pod>]) -> bool {
    let new = sets.new.and_then(|at| sets.all[at].metadata.uid.as_deref());
    pods.iter().any(|pod| {
        let owner = controller_of(&pod.metadata).map(|owner| owner.uid.as_str());
        owner != new && !pod::is_finished(pod)
    })
}

fn next_revision(sets: &Sets) -> i64 {
    sets.old()
        .map(|at| facts::revision(sets.all[at].metadata.annotations.as_ref()))
        .max()
        .unwrap_or(0)
        + 1
}

fn new_replica_set(deployment: &Deployment, sets: &Sets) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let collisions =
        deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
    let hash = template::hash(&spec.template, collisions);
    let with_hash = |labels: Option<BTreeMap<String, String>>| {
        let mut labels = labels.unwrap_or_default();
        labels.insert(LABEL_TEMPLATE_HASH.to_owned(), hash.clone());
        Some(labels)
    };
    let mut template = spec.template;
    let template_meta = template.metadata.get_or_insert_default();
    template_meta.labels = with_hash(template_meta.labels.take());
    let mut selector = spec.selector;
    selector.match_labels = with_hash(selector.match_labels.take());
    let mut annotations = facts::annotations_of_new(deployment, None, next_revision(sets));
    annotations.extend(facts::scale_annotations(deployment));
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!(
                "{}-{hash}",
                deployment.metadata.name.as_deref().unwrap_or_default()
            )),
            namespace: deployment.metadata.namespace.clone(),
            labels: template_meta.labels.clone(),
            annotations: Some(annotations),
            owner_references: Some(vec![controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: None,
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

/// Revision, copied annotations and minReadySeconds of the new ReplicaSet.
fn refresh_new(deployment: &Deployment, sets: &Sets, plan: &mut Plan) {
    let Some(set) = sets.new.map(|at| &sets.all[at]) else {
        return;
    };
    let annotations = facts::annotations_of_new(deployment, Some(set), next_revision(sets));
    let min_ready = deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let held_min_ready = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let revision = facts::revision(Some(&annotations));
    if set.metadata.annotations.as_ref() != Some(&annotations) || held_min_ready != min_ready {
        plan.actions.push(Action::Annotate(set.clone(), annotations, min_ready));
    }
    let noted =
        deployment.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION_REVISION));
    if noted != Some(&revision.to_string()) {
        plan.actions.push(Action::SetRevision(revision.to_string()));
    }
}

fn push_scalings(deployment: &Deployment, sets: &Sets, scaling: bool, plan: &mut Plan) {
    let wanted = i64::from(facts::wanted(deployment));
    for (set, to) in sets.all.iter().zip(&sets.replicas) {
        let desired = facts::number(set.metadata.annotations.as_ref(), ANNOTATION_DESIRED);
        // While the Deployment is being resized, also the note of its size is brought up to date.
        let stale = scaling && facts::replicas(set) > 0 && desired != Some(wanted);
        if facts::replicas(set) != *to || stale {
            plan.actions.push(Action::Scale(set.clone(), *to));
        }
    }
}

/// Deletes the oldest revisions beyond revisionHistoryLimit.
fn push_cleanup(deployment: &Deployment, sets: &Sets, plan: &mut Plan) {
    let Some(limit) = deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit) else {
        return;
    };
    let mut old: Vec<&Arc<ReplicaSet>> = sets.old().map(|at| &sets.all[at]).collect();
    old.sort_by_key(|set| facts::revision(set.metadata.annotations.as_ref()));
    let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    let idle = |set: &ReplicaSet| {
        let status = set.status.clone().unwrap_or_default();
        status.replicas == 0
            && facts::replicas(set) == 0
            && set.metadata.generation <= status.observed_generation
    };
    let gone = old.into_iter().take(surplus).filter(|set| idle(set)).cloned();
    plan.actions.extend(gone.map(Action::Delete));
}
