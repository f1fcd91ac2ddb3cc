//! A Deployment with its ReplicaSets.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::fields::{conditions, joined, maps, name, number_or_name, text};
use super::page::Page;
use super::pod_template;
use crate::{labels as selectors, time};

/// Annotation that numbers a Deployment's ReplicaSets.
const REVISION: &str = "deployment.kubernetes.io/revision";

/// Writes the Deployment; `sets` are the ReplicaSets its selector finds.
pub fn describe(page: &mut Page, object: &Deployment, sets: &[ReplicaSet]) {
    let spec = object.spec.clone().unwrap_or_default();
    let status = object.status.clone().unwrap_or_default();
    let created = object.metadata.creation_timestamp.as_ref().map(|it| it.0);
    let number = |value: Option<i32>| value.unwrap_or(0);
    name(page, &object.metadata);
    page.field(0, "CreationTimestamp", time::date(created));
    maps(page, &object.metadata);
    page.field(0, "Selector", selectors::selector(&spec.selector));
    page.field(
        0,
        "Replicas",
        format!(
            "{} desired | {} updated | {} total | {} available | {} unavailable",
            number(spec.replicas),
            number(status.updated_replicas),
            number(status.replicas),
            number(status.available_replicas),
            number(status.unavailable_replicas),
        ),
    );
    let strategy = spec.strategy.unwrap_or_default();
    page.field(0, "StrategyType", text(&strategy.type_));
    page.field(0, "MinReadySeconds", number(spec.min_ready_seconds));
    if let Some(rolling) = &strategy.rolling_update {
        let unavailable = number_or_name(rolling.max_unavailable.as_ref());
        let surge = number_or_name(rolling.max_surge.as_ref());
        let shown = format!("{unavailable} max unavailable, {surge} max surge");
        page.field(0, "RollingUpdateStrategy", shown);
    }
    pod_template::describe(page, &spec.template);
    let all = status.conditions.iter().flatten();
    conditions(page, all.map(|it| (&it.type_, &it.status, Some(text(&it.reason)))));
    owned_sets(page, &object.metadata, sets);
}

fn owned_sets(page: &mut Page, metadata: &ObjectMeta, sets: &[ReplicaSet]) {
    let revision = |it: &ObjectMeta| it.annotations.as_ref()?.get(REVISION).cloned();
    let owned = sets.iter().filter(|set| {
        let mut owners = set.metadata.owner_references.iter().flatten();
        owners.any(|it| Some(&it.uid) == metadata.uid.as_ref())
    });
    let (new, old): (Vec<_>, Vec<_>) =
        owned.partition(|set| revision(&set.metadata) == revision(metadata));
    if new.is_empty() && old.is_empty() {
        return;
    }
    let show = |set: &ReplicaSet| {
        let have = set.status.as_ref().map_or(0, |it| it.replicas);
        let want = set.spec.as_ref().and_then(|it| it.replicas).unwrap_or(0);
        format!("{} ({have}/{want} replicas created)", text(&set.metadata.name))
    };
    page.field(0, "OldReplicaSets", joined(old.into_iter().map(show), ", "));
    page.field(0, "NewReplicaSet", joined(new.into_iter().map(show), ", "));
}
