//! Numbers and annotations of a Deployment and its ReplicaSets.
//!
//! Never decides anything with them.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::amount::resolve;

/// Annotation with the revision of a ReplicaSet, and the present one of a Deployment.
pub const ANNOTATION_REVISION: &str = "deployment.kubernetes.io/revision";
/// Annotation with earlier revisions of a ReplicaSet that came back.
pub const ANNOTATION_REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Annotation with the Deployment's replicas when the ReplicaSet was last scaled.
pub const ANNOTATION_DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// Annotation with the Deployment's replicas and surge at that time.
pub const ANNOTATION_MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a Deployment that its ReplicaSets do not get.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    ANNOTATION_REVISION,
    ANNOTATION_REVISION_HISTORY,
    ANNOTATION_DESIRED,
    ANNOTATION_MAX,
    "deprecated.deployment.rollback.to",
];
/// Longest revision history kept, in bytes.
const MAX_HISTORY_BYTES: usize = 2000;

/// Replicas wanted, 1 where nothing is said.
pub fn wanted(deployment: &Deployment) -> i32 {
    spec(deployment).and_then(|spec| spec.replicas).unwrap_or(1)
}

fn spec(deployment: &Deployment) -> Option<&DeploymentSpec> {
    deployment.spec.as_ref()
}

/// Whether the strategy is RollingUpdate.
pub fn is_rolling(deployment: &Deployment) -> bool {
    let strategy = spec(deployment).and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()).unwrap_or("RollingUpdate")
        == "RollingUpdate"
}

/// maxSurge and maxUnavailable in pods: the former rounded up, the latter down, never both zero.
pub fn fenceposts(deployment: &Deployment) -> (i32, i32) {
    if !is_rolling(deployment) {
        return (0, 0);
    }
    let rolling = spec(deployment)
        .and_then(|spec| spec.strategy.as_ref())
        .and_then(|strategy| strategy.rolling_update.clone())
        .unwrap_or_default();
    let total = wanted(deployment);
    let quarter = IntOrString::String("25%".to_owned());
    let surge = resolve(rolling.max_surge.as_ref().unwrap_or(&quarter), total, true);
    let unavailable = resolve(rolling.max_unavailable.as_ref().unwrap_or(&quarter), total, false);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// maxUnavailable in pods, at most the wanted replicas.
pub fn max_unavailable(deployment: &Deployment) -> i32 {
    let total = wanted(deployment);
    if total == 0 { 0 } else { fenceposts(deployment).1.min(total) }
}

/// `spec.replicas` of a ReplicaSet.
pub fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// `status.availableReplicas` of a ReplicaSet.
pub fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

/// The revision noted in the annotations, 0 without one.
pub fn revision(annotations: Option<&BTreeMap<String, String>>) -> i64 {
    number(annotations, ANNOTATION_REVISION).unwrap_or(0)
}

/// A number in an annotation.
pub fn number(annotations: Option<&BTreeMap<String, String>>, key: &str) -> Option<i64> {
    annotations?.get(key)?.parse().ok()
}

/// The annotations of the ReplicaSet that carries the Deployment's present template.
pub fn annotations_of_new(
    deployment: &Deployment,
    set: Option<&ReplicaSet>,
    revision_wanted: i64,
) -> BTreeMap<String, String> {
    let held = set.and_then(|set| set.metadata.annotations.clone()).unwrap_or_default();
    let mut annotations: BTreeMap<String, String> = held
        .iter()
        .filter(|(key, _)| NOT_COPIED.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    // What the ReplicaSet carries beyond that stays, unless the Deployment says otherwise.
    for (key, value) in held.iter().chain(deployment.metadata.annotations.iter().flatten()) {
        if !NOT_COPIED.contains(&key.as_str()) {
            annotations.insert(key.clone(), value.clone());
        }
    }
    let former = revision(Some(&held));
    if former < revision_wanted {
        annotations.insert(ANNOTATION_REVISION.to_owned(), revision_wanted.to_string());
        if former > 0 {
            let history = annotations.get(ANNOTATION_REVISION_HISTORY).cloned().unwrap_or_default();
            annotations
                .insert(ANNOTATION_REVISION_HISTORY.to_owned(), longer_history(&history, former));
        }
    }
    annotations
}

fn longer_history(history: &str, revision: i64) -> String {
    let mut revisions: Vec<String> =
        history.split(',').filter(|text| !text.is_empty()).map(str::to_owned).collect();
    revisions.push(revision.to_string());
    while revisions.iter().map(|text| text.len() + 1).sum::<usize>() > MAX_HISTORY_BYTES {
        revisions.remove(0);
    }
    revisions.join(",")
}

/// The annotations that tell a later scaling what this one aimed at.
pub fn scale_annotations(deployment: &Deployment) -> [(String, String); 2] {
    let wanted = wanted(deployment);
    let max = wanted + fenceposts(deployment).0;
    [
        (ANNOTATION_DESIRED.to_owned(), wanted.to_string()),
        (ANNOTATION_MAX.to_owned(), max.to_string()),
    ]
}
