//! Which pods go first when a ReplicaSet shrinks.
//!
//! Never decides how many go.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use crate::pod;

/// Annotation that makes a pod cheaper (lower) or dearer to delete.
const ANNOTATION_DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Sorts pods so that the first ones are the first to delete: unassigned, pending, not
/// ready, cheap, crowded on their node (counting `related` pods), ready for a short
/// time, restarted often, young.
pub fn sort_for_deletion(pods: &mut [Arc<Pod>], related: &[Arc<Pod>]) {
    let mut crowd: HashMap<&str, usize> = HashMap::new();
    for node in
        related.iter().filter(|pod| pod::is_active(pod)).filter_map(|pod| pod::node_name(pod))
    {
        *crowd.entry(node).or_default() += 1;
    }
    pods.sort_by_cached_key(|pod| {
        let neighbours = pod::node_name(pod).and_then(|node| crowd.get(node)).copied().unwrap_or(0);
        let phase = match pod::phase(pod) {
            "Pending" => 0,
            "Unknown" => 1,
            _ => 2,
        };
        let ready_since =
            pod::is_ready(pod).then(|| pod::ready_since(pod).unwrap_or(Timestamp::MAX));
        let created =
            pod.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0);
        (
            pod::node_name(pod).is_some(),
            phase,
            pod::is_ready(pod),
            deletion_cost(pod),
            Reverse(neighbours),
            Reverse(ready_since),
            Reverse(restarts(pod)),
            Reverse(created),
        )
    });
}

fn deletion_cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(ANNOTATION_DELETION_COST))
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|status| status.restart_count).max().unwrap_or(0)
}
