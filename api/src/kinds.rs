//! The list of kinds: the one line that a new kind adds outside its own file.
//!
//! Never holds a rule of a kind.

use crate::{
    apps::{daemon_set::DaemonSetRules, deployment::DeploymentRules, replica_set::ReplicaSetRules},
    coordination::lease::LeaseRules,
    core::{
        config_map::ConfigMapRules, endpoints::EndpointsRules, event::EventRules,
        namespace::NamespaceRules, node::NodeRules, pod::PodRules, secret::SecretRules,
        service::ServiceRules, service_account::ServiceAccountRules,
    },
    discovery::endpoint_slice::EndpointSliceRules,
    kind::Kind,
    typed::Typed,
};

static ALL: &[&dyn Kind] = &[
    &Typed::<ConfigMapRules>::new(),
    &Typed::<EndpointsRules>::new(),
    &Typed::<EventRules>::new(),
    &Typed::<NamespaceRules>::new(),
    &Typed::<NodeRules>::new(),
    &Typed::<PodRules>::new(),
    &Typed::<SecretRules>::new(),
    &Typed::<ServiceRules>::new(),
    &Typed::<ServiceAccountRules>::new(),
    &Typed::<DaemonSetRules>::new(),
    &Typed::<DeploymentRules>::new(),
    &Typed::<ReplicaSetRules>::new(),
    &Typed::<LeaseRules>::new(),
    &Typed::<EndpointSliceRules>::new(),
];

/// Every kind, core group first.
pub fn all() -> &'static [&'static dyn Kind] {
    ALL
}

/// The kind served at a group, version and plural, such as `("", "v1", "services")`.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static dyn Kind> {
    all().iter().copied().find(|kind| {
        let names = kind.names();
        names.group == group && names.version == version && names.plural == plural
    })
}

/// The kind that an object's `apiVersion` and `kind` name, such as `("apps/v1", "Deployment")`.
pub fn find_kind(api_version: &str, kind_name: &str) -> Option<&'static dyn Kind> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    all().iter().copied().find(|kind| {
        let names = kind.names();
        names.group == group && names.version == version && names.kind == kind_name
    })
}
