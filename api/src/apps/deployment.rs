//! Deployment: a number of equal pods, changed step by step.
//!
//! Never makes the ReplicaSets behind it: the deployment controller does.

use jiff::Timestamp;
use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentStatus, DeploymentStrategy},
    apimachinery::pkg::util::intstr::IntOrString,
};
use serde_json::Value;

use crate::{
    apps::validation::{selector_text, validate_amount, validate_pods},
    check::Checks,
    core::{pod_defaults::default_pod_spec, pod_row::containers_and_images},
    field::{FieldError, Path},
    kind::{Column, Names, Rules},
    selector::Selector,
    subresource::{Scale, Subresource},
    table::{self, column, wide},
};

const PROGRESS_DEADLINE_SECONDS: i32 = 600;
const REVISION_HISTORY_LIMIT: i32 = 10;
const MAX_SURGE: &str = "25%";
const MAX_UNAVAILABLE: &str = "25%";

/// Rules of `deployments`.
pub struct DeploymentRules;

impl Rules for DeploymentRules {
    type Object = Deployment;

    fn names() -> Names {
        Names::namespaced("apps", "v1", "Deployment", "deployments")
            .short(&["deploy"])
            .categories(&["all"])
    }

    fn subresources() -> Vec<Subresource> {
        let scale = Subresource::scale(
            |deployment: &Deployment| Scale {
                wanted: deployment.spec.as_ref().and_then(|spec| spec.replicas),
                running: deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0),
                selector: deployment.spec.as_ref().and_then(|spec| selector_text(&spec.selector)),
            },
            |deployment, replicas| {
                deployment.spec.get_or_insert_default().replicas = Some(replicas)
            },
        );
        vec![Subresource::status(), scale]
    }

    fn default(deployment: &mut Deployment) {
        let spec = deployment.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(REVISION_HISTORY_LIMIT);
        spec.progress_deadline_seconds.get_or_insert(PROGRESS_DEADLINE_SECONDS);
        default_strategy(spec.strategy.get_or_insert_default());
        default_pod_spec(spec.template.spec.get_or_insert_default());
    }

    fn prepare_create(deployment: &mut Deployment) {
        deployment.metadata.generation = Some(1);
        deployment.status = Some(DeploymentStatus::default());
    }

    fn prepare_update(new: &mut Deployment, old: &Deployment) {
        new.status.clone_from(&old.status);
        // Annotations count as well: a rollout's change cause is one.
        if new.spec != old.spec || new.metadata.annotations != old.metadata.annotations {
            new.metadata.generation = Some(old.metadata.generation.unwrap_or(0) + 1);
        }
    }

    fn prepare_status_update(new: &mut Deployment, old: &Deployment) {
        new.spec.clone_from(&old.spec);
        new.metadata.labels.clone_from(&old.metadata.labels);
    }

    fn validate(deployment: &Deployment) -> Vec<FieldError> {
        let mut checks = Checks::new();
        let path = Path::new("spec");
        let spec = deployment.spec.clone().unwrap_or_default();
        checks.non_negative(&path.child("replicas"), spec.replicas.map(i64::from));
        validate_pods(&mut checks, &path, &spec.selector, &spec.template, "deployment");
        validate_strategy(&mut checks, &path.child("strategy"), spec.strategy.as_ref());
        let numbers = [
            ("minReadySeconds", spec.min_ready_seconds),
            ("revisionHistoryLimit", spec.revision_history_limit),
            ("progressDeadlineSeconds", spec.progress_deadline_seconds),
        ];
        for (field, number) in numbers {
            checks.non_negative(&path.child(field), number.map(i64::from));
        }
        if let Some(deadline) = spec.progress_deadline_seconds {
            let longer = deadline > spec.min_ready_seconds.unwrap_or(0);
            let path = path.child("progressDeadlineSeconds");
            checks.holds(longer, &path, &deadline, "must be greater than minReadySeconds");
        }
        checks.into_errors()
    }

    fn validate_update(new: &Deployment, old: &Deployment) -> Vec<FieldError> {
        let mut checks = Checks::new();
        if let (Some(new), Some(old)) = (&new.spec, &old.spec) {
            checks.immutable(&Path::new("spec.selector"), &new.selector, &old.selector);
        }
        checks.into_errors()
    }

    const COLUMNS: &'static [Column] = &[
        table::NAME,
        column("Ready", "string", "Ready pods of the wanted pods."),
        column("Up-to-date", "string", "Pods of the newest template."),
        column("Available", "string", "Pods that are ready long enough."),
        table::AGE,
        wide("Containers", "string", "Names of the template's containers."),
        wide("Images", "string", "Images of the template's containers."),
        wide("Selector", "string", "Labels of its pods."),
    ];

    fn row(deployment: &Deployment, now: Timestamp) -> Vec<Value> {
        let spec = deployment.spec.clone().unwrap_or_default();
        let status = deployment.status.clone().unwrap_or_default();
        let ready = status.ready_replicas.unwrap_or(0);
        let (containers, images) = containers_and_images(spec.template.spec.as_ref());
        let selector = Selector::from_label_selector(&spec.selector);
        vec![
            table::name(deployment),
            Value::from(format!("{ready}/{}", spec.replicas.unwrap_or(0))),
            Value::from(status.updated_replicas.unwrap_or(0)),
            Value::from(status.available_replicas.unwrap_or(0)),
            table::age(deployment, now),
            Value::from(containers),
            Value::from(images),
            Value::from(selector.map_or_else(|_| "<invalid>".to_owned(), |s| s.to_string())),
        ]
    }

    const NUMBERS: &'static str = "
        RollingUpdateDeployment maxUnavailable=1 maxSurge=2
        Deployment metadata=1 spec=2 status=3
        DeploymentCondition type=1* status=2* reason=4 message=5 lastUpdateTime=6
          lastTransitionTime=7
        DeploymentSpec replicas=1* selector=2 template=3 strategy=4 minReadySeconds=5
          revisionHistoryLimit=6* paused=7 progressDeadlineSeconds=9*
        DeploymentStatus observedGeneration=1 replicas=2 updatedReplicas=3 availableReplicas=4
          unavailableReplicas=5 conditions=6 readyReplicas=7 collisionCount=8*
          terminatingReplicas=9*
        DeploymentStrategy type=1 rollingUpdate=2
    ";

    const FACTS: &'static str = "
        DeploymentSpec.strategy patch=retainKeys
        DeploymentStatus.conditions list=map:type patch=merge merge-key=type
    ";
}

fn default_strategy(strategy: &mut DeploymentStrategy) {
    let type_ = strategy.type_.get_or_insert_default();
    if type_.is_empty() {
        "RollingUpdate".clone_into(type_);
    }
    if type_ == "RollingUpdate" {
        let rolling = strategy.rolling_update.get_or_insert_default();
        rolling.max_unavailable.get_or_insert_with(|| IntOrString::String(MAX_UNAVAILABLE.into()));
        rolling.max_surge.get_or_insert_with(|| IntOrString::String(MAX_SURGE.into()));
    }
}

fn validate_strategy(checks: &mut Checks, path: &Path, strategy: Option<&DeploymentStrategy>) {
    let Some(strategy) = strategy else {
        checks.push(FieldError::required(path, ""));
        return;
    };
    let type_ = strategy.type_.as_deref().unwrap_or_default();
    checks.one_of(&path.child("type"), type_, &["Recreate", "RollingUpdate"]);
    let path = path.child("rollingUpdate");
    let Some(rolling) = &strategy.rolling_update else {
        return;
    };
    if type_ == "Recreate" {
        let detail = "may not be specified when strategy `type` is 'Recreate'";
        checks.push(FieldError::forbidden(&path, detail));
        return;
    }
    let surge = validate_amount(checks, &path.child("maxSurge"), rolling.max_surge.as_ref());
    let path = path.child("maxUnavailable");
    let unavailable = validate_amount(checks, &path, rolling.max_unavailable.as_ref());
    if surge == Some(0) && unavailable == Some(0) {
        let value = &rolling.max_unavailable;
        checks.push(FieldError::invalid(&path, value, "may not be 0 when `maxSurge` is 0"));
    }
    let percent = matches!(rolling.max_unavailable, Some(IntOrString::String(_)));
    if percent && unavailable.is_some_and(|percent| percent > 100) {
        let value = &rolling.max_unavailable;
        checks.push(FieldError::invalid(&path, value, "must not be greater than 100%"));
    }
}
