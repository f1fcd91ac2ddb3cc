//! How lists and maps of the group `apps` merge: patch strategies, merge keys, list-map keys.
//!
//! Never says anything of types or descriptions: those come with the Rust types.

/// One line a field, read by `crate::facts`; the prefix of the definitions stands first.
pub const FACTS: (&str, &str) = (
    "io.k8s.api.apps.v1",
    "
    DaemonSetStatus.conditions list=map:type patch=merge merge-key=type
    DeploymentSpec.strategy patch=retainKeys
    DeploymentStatus.conditions list=map:type patch=merge merge-key=type
    ReplicaSetStatus.conditions list=map:type patch=merge merge-key=type
    ",
);
