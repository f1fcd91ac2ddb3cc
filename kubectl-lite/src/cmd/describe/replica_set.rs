//! A ReplicaSet with its pods.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;

use super::fields::{conditions, controller, maps, name, text};
use super::page::Page;
use super::pod_template;
use crate::labels;

/// Writes the ReplicaSet; `pods` are those its selector finds.
pub fn describe(page: &mut Page, object: &ReplicaSet, pods: &[Pod]) {
    let spec = object.spec.clone().unwrap_or_default();
    let status = object.status.clone().unwrap_or_default();
    name(page, &object.metadata);
    page.field(0, "Selector", labels::selector(&spec.selector));
    maps(page, &object.metadata);
    controller(page, &object.metadata);
    let (current, desired) = (status.replicas, spec.replicas.unwrap_or(0));
    page.field(0, "Replicas", format!("{current} current / {desired} desired"));
    let count = |phase: &str| {
        let phases = pods.iter().filter_map(|it| it.status.as_ref()?.phase.as_deref());
        phases.filter(|it| *it == phase).count()
    };
    let [running, waiting, succeeded, failed] =
        ["Running", "Pending", "Succeeded", "Failed"].map(count);
    page.field(
        0,
        "Pods Status",
        format!("{running} Running / {waiting} Waiting / {succeeded} Succeeded / {failed} Failed"),
    );
    pod_template::describe(page, &spec.template.unwrap_or_default());
    let all = status.conditions.iter().flatten();
    conditions(page, all.map(|it| (&it.type_, &it.status, Some(text(&it.reason)))));
}
