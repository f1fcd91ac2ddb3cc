//! The list of kinds: the one line that a new kind adds outside its own file.

use std::sync::{Arc, LazyLock};

use crate::{
    apps, coordination, core, discovery,
    kind::{Kind, Rules},
    typed::Typed,
};

static ALL: LazyLock<Vec<Arc<dyn Kind>>> = LazyLock::new(|| {
    vec![
        of::<core::config_map::ConfigMapRules>(),
        of::<core::endpoints::EndpointsRules>(),
        of::<core::event::EventRules>(),
        of::<core::limit_range::LimitRangeRules>(),
        of::<core::namespace::NamespaceRules>(),
        of::<core::node::NodeRules>(),
        of::<core::pod::PodRules>(),
        of::<core::pod_template::PodTemplateRules>(),
        of::<core::secret::SecretRules>(),
        of::<core::service::ServiceRules>(),
        of::<core::service_account::ServiceAccountRules>(),
        of::<apps::controller_revision::ControllerRevisionRules>(),
        of::<apps::daemon_set::DaemonSetRules>(),
        of::<apps::deployment::DeploymentRules>(),
        of::<apps::replica_set::ReplicaSetRules>(),
        of::<coordination::lease::LeaseRules>(),
        of::<discovery::endpoint_slice::EndpointSliceRules>(),
        of::<crate::scheduling::priority_class::PriorityClassRules>(),
    ]
});

/// A kind by its rules.
pub fn of<R: Rules>() -> Arc<dyn Kind> {
    Arc::new(Typed::<R>::new())
}

/// Every kind that is compiled in, core group first.
pub fn all() -> &'static [Arc<dyn Kind>] {
    &ALL
}

/// The kind served at a group, version and plural, such as `("", "v1", "services")`.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static dyn Kind> {
    all().iter().map(|kind| &**kind).find(|kind| {
        let names = kind.names();
        names.group == group && names.version == version && names.plural == plural
    })
}

/// The kind that an object's `apiVersion` and `kind` name, such as `("apps/v1", "Deployment")`.
pub fn find_kind(api_version: &str, kind_name: &str) -> Option<&'static dyn Kind> {
    all().iter().map(|kind| &**kind).find(|kind| {
        let names = kind.names();
        names.api_version() == api_version && names.kind == kind_name
    })
}

/// What the names of a kind's definitions begin with, such as `io.k8s.api.core.v1`.
pub fn package(kind: &dyn Kind) -> &str {
    kind.definition().rsplit_once('.').map_or("", |(package, _)| package)
}
