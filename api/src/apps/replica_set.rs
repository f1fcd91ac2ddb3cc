//! ReplicaSet: a number of equal pods.
//!
//! Never makes the pods: the replica set controller does.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use serde_json::Value;

use crate::{
    apps::validation::{selector_text, validate_pods},
    check::Checks,
    core::{pod_defaults::default_pod_spec, pod_row::containers_and_images},
    field::{FieldError, Path},
    kind::{Column, Names, Rules},
    selector::Selector,
    subresource::{Scale, Subresource},
    table::{self, column, wide},
};

/// Rules of `replicasets`.
pub struct ReplicaSetRules;

impl Rules for ReplicaSetRules {
    type Object = ReplicaSet;

    fn names() -> Names {
        Names::namespaced("apps", "v1", "ReplicaSet", "replicasets")
            .short(&["rs"])
            .categories(&["all"])
    }

    fn subresources() -> Vec<Subresource> {
        let scale = Subresource::scale(
            |set: &ReplicaSet| Scale {
                wanted: set.spec.as_ref().and_then(|spec| spec.replicas),
                running: set.status.as_ref().map_or(0, |status| status.replicas),
                selector: set.spec.as_ref().and_then(|spec| selector_text(&spec.selector)),
            },
            |set, replicas| set.spec.get_or_insert_default().replicas = Some(replicas),
        );
        vec![Subresource::status(), scale]
    }

    fn default(set: &mut ReplicaSet) {
        let spec = set.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        if let Some(template) = &mut spec.template {
            default_pod_spec(template.spec.get_or_insert_default());
        }
    }

    fn prepare_create(set: &mut ReplicaSet) {
        set.metadata.generation = Some(1);
        set.status = Some(ReplicaSetStatus::default());
    }

    fn prepare_update(new: &mut ReplicaSet, old: &ReplicaSet) {
        new.status.clone_from(&old.status);
        if new.spec != old.spec {
            new.metadata.generation = Some(old.metadata.generation.unwrap_or(0) + 1);
        }
    }

    fn prepare_status_update(new: &mut ReplicaSet, old: &ReplicaSet) {
        new.spec.clone_from(&old.spec);
    }

    fn validate(set: &ReplicaSet) -> Vec<FieldError> {
        let mut checks = Checks::new();
        let path = Path::new("spec");
        let spec = set.spec.clone().unwrap_or_default();
        checks.non_negative(&path.child("replicas"), spec.replicas.map(i64::from));
        let seconds = spec.min_ready_seconds.map(i64::from);
        checks.non_negative(&path.child("minReadySeconds"), seconds);
        match &spec.template {
            None => checks.push(FieldError::required(&path.child("template"), "")),
            Some(template) => {
                validate_pods(&mut checks, &path, &spec.selector, template, "deployment");
            }
        }
        checks.into_errors()
    }

    fn validate_update(new: &ReplicaSet, old: &ReplicaSet) -> Vec<FieldError> {
        let mut checks = Checks::new();
        if let (Some(new), Some(old)) = (&new.spec, &old.spec) {
            checks.immutable(&Path::new("spec.selector"), &new.selector, &old.selector);
        }
        checks.into_errors()
    }

    const FIELDS: &'static [&'static str] = &["status.replicas"];

    fn fields(set: &ReplicaSet) -> Vec<(&'static str, String)> {
        let replicas = set.status.as_ref().map_or(0, |status| status.replicas);
        vec![("status.replicas", replicas.to_string())]
    }

    const COLUMNS: &'static [Column] = &[
        table::NAME,
        column("Desired", "integer", "Wanted pods."),
        column("Current", "integer", "Pods that exist."),
        column("Ready", "integer", "Pods that are ready."),
        table::AGE,
        wide("Containers", "string", "Names of the template's containers."),
        wide("Images", "string", "Images of the template's containers."),
        wide("Selector", "string", "Labels of its pods."),
    ];

    fn row(set: &ReplicaSet, now: Timestamp) -> Vec<Value> {
        let spec = set.spec.clone().unwrap_or_default();
        let status = set.status.clone().unwrap_or_default();
        let template = spec.template.as_ref().and_then(|template| template.spec.as_ref());
        let (containers, images) = containers_and_images(template);
        let selector = Selector::from_label_selector(&spec.selector)
            .map_or_else(|_| "<error>".to_owned(), |selector| selector.to_string());
        vec![
            table::name(set),
            Value::from(spec.replicas.unwrap_or(0)),
            Value::from(status.replicas),
            Value::from(status.ready_replicas.unwrap_or(0)),
            table::age(set, now),
            Value::from(containers),
            Value::from(images),
            Value::from(table::or(Some(&selector), "<none>")),
        ]
    }

    const NUMBERS: &'static str = "
        ReplicaSet metadata=1 spec=2 status=3
        ReplicaSetCondition type=1* status=2* lastTransitionTime=3 reason=4 message=5
        ReplicaSetSpec replicas=1* selector=2 template=3 minReadySeconds=4
        ReplicaSetStatus replicas=1* fullyLabeledReplicas=2 observedGeneration=3 readyReplicas=4
          availableReplicas=5 conditions=6 terminatingReplicas=7*
    ";

    const FACTS: &'static str = "
        ReplicaSetStatus.conditions list=map:type patch=merge merge-key=type
    ";
}
