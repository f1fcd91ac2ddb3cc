//! What several controllers ask of a pod. Never looks beyond the pod itself.

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::owner::controller_of;

/// The condition of that type.
pub fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == type_)
}

/// Whether the Ready condition is true.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// When the Ready condition last changed.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    condition(pod, "Ready")?.last_transition_time.as_ref().map(|time| time.0)
}

/// `status.phase`, "Pending" where none is set yet.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Whether all containers have ended for good.
pub fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether the pod counts as a replica: neither finished nor being deleted.
pub fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// The node the pod is bound to.
pub fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// Pods of a group are spread: those of one controller, else those of equal labels.
pub fn group_of(pod: &Pod) -> String {
    if let Some(owner) = controller_of(&pod.metadata) {
        return owner.uid.clone();
    }
    let labels: Vec<String> =
        pod.metadata.labels.iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{}/{}", pod.metadata.namespace.as_deref().unwrap_or_default(), labels.join(","))
}

/// How long until the pod has been ready for `min_ready_seconds`: zero when it is
/// available, none while it is not ready.
pub fn available_in(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Option<SignedDuration> {
    if !is_ready(pod) {
        return None;
    }
    if min_ready_seconds <= 0 {
        return Some(SignedDuration::ZERO);
    }
    let left = SignedDuration::from_secs(i64::from(min_ready_seconds))
        - now.duration_since(ready_since(pod)?);
    Some(left.max(SignedDuration::ZERO))
}
