//! What an update may change of a pod that runs: images, deadlines, and more tolerations.
//!
//! Never decides what is restarted: the node agent does.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use serde_json::Value;

use crate::{
    check::Checks,
    field::{FieldError, Path},
};

/// Most changed fields that an error names.
const NAMED_CHANGES: usize = 10;

const FORBIDDEN: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
     `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions \
     to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it \
     was previously negative)";

/// Every violated rule of a change.
pub fn validate(new: &Pod, old: &Pod) -> Vec<FieldError> {
    let mut checks = Checks::new();
    let path = Path::new("spec");
    let (new, old) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
    if new == old {
        return Vec::new();
    }
    let fewer = "pod updates may not add or remove containers";
    if new.containers.len() != old.containers.len() {
        return vec![FieldError::forbidden(&path.child("containers"), fewer)];
    }
    let count = |spec: &PodSpec| spec.init_containers.as_ref().map_or(0, Vec::len);
    if count(&new) != count(&old) {
        return vec![FieldError::forbidden(&path.child("initContainers"), fewer)];
    }
    validate_images(&mut checks, &path.child("containers"), &new.containers);
    let init = new.init_containers.as_deref().unwrap_or_default();
    validate_images(&mut checks, &path.child("initContainers"), init);
    validate_deadline(&mut checks, &path.child("activeDeadlineSeconds"), &new, &old);
    validate_tolerations(&mut checks, &path.child("tolerations"), &new, &old);
    let allowed = with_mutable_fields_of(old.clone(), &new);
    if allowed != new {
        let mut changes = Vec::new();
        let json = |spec: &PodSpec| serde_json::to_value(spec).unwrap_or_default();
        differences("spec", &json(&allowed), &json(&new), &mut changes);
        changes.truncate(NAMED_CHANGES);
        let detail = format!("{FORBIDDEN}\nchanged: {}", changes.join(", "));
        checks.push(FieldError::forbidden(&path, &detail));
    }
    checks.into_errors()
}

/// The old spec with the new values of what may change.
fn with_mutable_fields_of(mut old: PodSpec, new: &PodSpec) -> PodSpec {
    let take_images = |old: &mut [Container], new: &[Container]| {
        for (old, new) in old.iter_mut().zip(new) {
            old.image.clone_from(&new.image);
        }
    };
    take_images(&mut old.containers, &new.containers);
    if let (Some(old), Some(new)) = (&mut old.init_containers, &new.init_containers) {
        take_images(old, new);
    }
    old.active_deadline_seconds = new.active_deadline_seconds;
    old.tolerations.clone_from(&new.tolerations);
    let negative = old.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0);
    if negative && new.termination_grace_period_seconds == Some(1) {
        old.termination_grace_period_seconds = Some(1);
    }
    // A gate can be lifted, not set up again.
    let kept = |spec: &PodSpec| spec.scheduling_gates.clone().unwrap_or_default();
    let before = kept(&old);
    if kept(new).iter().all(|gate| before.contains(gate)) {
        old.scheduling_gates.clone_from(&new.scheduling_gates);
    }
    old
}

fn validate_images(checks: &mut Checks, path: &Path, containers: &[Container]) {
    for (index, container) in containers.iter().enumerate() {
        let image = container.image.as_deref().unwrap_or_default();
        let detail = "must not have leading or trailing whitespace";
        checks.holds(image.trim() == image, &path.index(index).child("image"), image, detail);
    }
}

fn validate_deadline(checks: &mut Checks, path: &Path, new: &PodSpec, old: &PodSpec) {
    let Some(before) = old.active_deadline_seconds else {
        return;
    };
    match new.active_deadline_seconds {
        None => {
            let detail = "must not update from a positive integer to nil value";
            checks.push(FieldError::invalid(path, &None::<i64>, detail));
        }
        Some(now) => {
            checks.holds(now <= before, path, &now, "must be less than or equal to previous value");
        }
    }
}

fn validate_tolerations(checks: &mut Checks, path: &Path, new: &PodSpec, old: &PodSpec) {
    for before in old.tolerations.iter().flatten() {
        let kept = new.tolerations.iter().flatten().any(|now| {
            let mut now = now.clone();
            now.toleration_seconds = before.toleration_seconds;
            now == *before
        });
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        checks.allowed(kept, path, detail);
    }
}

/// Paths of what differs, to the innermost field.
fn differences(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Value::Object(old), Value::Object(new)) => {
            let keys: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let (old, new) = (old.get(key), new.get(key));
                let (old, new) = (old.unwrap_or(&Value::Null), new.unwrap_or(&Value::Null));
                differences(&format!("{path}.{key}"), old, new, found);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                differences(&format!("{path}[{index}]"), old, new, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}
