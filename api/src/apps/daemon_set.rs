//! DaemonSet: one pod on every node that fits.
//!
//! Never makes the pods: the daemon set controller does.

use jiff::Timestamp;
use k8s_openapi::{
    api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus, DaemonSetUpdateStrategy},
    apimachinery::pkg::util::intstr::IntOrString,
};
use serde_json::Value;

use crate::{
    apps::validation::{validate_amount, validate_pods},
    check::Checks,
    core::{pod_defaults::default_pod_spec, pod_row::containers_and_images},
    field::{FieldError, Path},
    kind::{Column, Names, Rules},
    selector::Selector,
    subresource::Subresource,
    table::{self, column, wide},
};

/// Where `apps/v1` shows a number that was a field once: it rises with each change of the template.
pub const ANNOTATION_TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
const REVISION_HISTORY_LIMIT: i32 = 10;

/// Rules of `daemonsets`.
pub struct DaemonSetRules;

impl Rules for DaemonSetRules {
    type Object = DaemonSet;

    fn names() -> Names {
        Names::namespaced("apps", "v1", "DaemonSet", "daemonsets")
            .short(&["ds"])
            .categories(&["all"])
    }

    fn subresources() -> Vec<Subresource> {
        vec![Subresource::status()]
    }

    fn default(set: &mut DaemonSet) {
        let spec = set.spec.get_or_insert_default();
        spec.revision_history_limit.get_or_insert(REVISION_HISTORY_LIMIT);
        default_strategy(spec.update_strategy.get_or_insert_default());
        default_pod_spec(spec.template.spec.get_or_insert_default());
    }

    fn prepare_create(set: &mut DaemonSet) {
        set.metadata.generation = Some(1);
        set.status = Some(DaemonSetStatus::default());
        set_template_generation(set, 1);
    }

    fn prepare_update(new: &mut DaemonSet, old: &DaemonSet) {
        new.status.clone_from(&old.status);
        let template = |set: &DaemonSet| set.spec.as_ref().map(|spec| spec.template.clone());
        let changed = i64::from(template(new) != template(old));
        set_template_generation(new, template_generation(old) + changed);
        if new.spec != old.spec {
            new.metadata.generation = Some(old.metadata.generation.unwrap_or(0) + 1);
        }
    }

    fn prepare_status_update(new: &mut DaemonSet, old: &DaemonSet) {
        new.spec.clone_from(&old.spec);
    }

    fn validate(set: &DaemonSet) -> Vec<FieldError> {
        let mut checks = Checks::new();
        let path = Path::new("spec");
        let spec = set.spec.clone().unwrap_or_default();
        validate_pods(&mut checks, &path, &spec.selector, &spec.template, "daemonset");
        validate_strategy(&mut checks, &path.child("updateStrategy"), &spec);
        let numbers = [
            ("minReadySeconds", spec.min_ready_seconds),
            ("revisionHistoryLimit", spec.revision_history_limit),
        ];
        for (field, number) in numbers {
            checks.non_negative(&path.child(field), number.map(i64::from));
        }
        checks.into_errors()
    }

    fn validate_update(new: &DaemonSet, old: &DaemonSet) -> Vec<FieldError> {
        let mut checks = Checks::new();
        if let (Some(new), Some(old)) = (&new.spec, &old.spec) {
            checks.immutable(&Path::new("spec.selector"), &new.selector, &old.selector);
        }
        checks.into_errors()
    }

    const COLUMNS: &'static [Column] = &[
        table::NAME,
        column("Desired", "integer", "Nodes that ought to run a pod of it."),
        column("Current", "integer", "Those of them that have a pod of it."),
        column("Ready", "integer", "Those of them whose pod is ready."),
        column("Up-to-date", "integer", "Those of them whose pod is of the newest template."),
        column("Available", "integer", "Those of them whose pod is ready long enough."),
        column("Node Selector", "string", "Labels of the nodes it is for."),
        table::AGE,
        wide("Containers", "string", "Names of the template's containers."),
        wide("Images", "string", "Images of the template's containers."),
        wide("Selector", "string", "Labels of its pods."),
    ];

    fn row(set: &DaemonSet, now: Timestamp) -> Vec<Value> {
        let spec = set.spec.clone().unwrap_or_default();
        let status = set.status.clone().unwrap_or_default();
        let pods = spec.template.spec.as_ref();
        let (containers, images) = containers_and_images(pods);
        let selector = Selector::from_label_selector(&spec.selector)
            .map_or_else(|_| "<error>".to_owned(), |selector| selector.to_string());
        vec![
            table::name(set),
            Value::from(status.desired_number_scheduled),
            Value::from(status.current_number_scheduled),
            Value::from(status.number_ready),
            Value::from(status.updated_number_scheduled.unwrap_or(0)),
            Value::from(status.number_available.unwrap_or(0)),
            Value::from(table::labels(pods.and_then(|spec| spec.node_selector.as_ref()))),
            table::age(set, now),
            Value::from(containers),
            Value::from(images),
            Value::from(selector),
        ]
    }

    const NUMBERS: &'static str = "
        RollingUpdateDaemonSet maxUnavailable=1 maxSurge=2
        DaemonSet metadata=1 spec=2 status=3
        DaemonSetCondition type=1* status=2* lastTransitionTime=3 reason=4 message=5
        DaemonSetSpec selector=1 template=2 updateStrategy=3 minReadySeconds=4
          revisionHistoryLimit=6*
        DaemonSetStatus currentNumberScheduled=1* numberMisscheduled=2* desiredNumberScheduled=3*
          numberReady=4* observedGeneration=5 updatedNumberScheduled=6 numberAvailable=7
          numberUnavailable=8 collisionCount=9* conditions=10
        DaemonSetUpdateStrategy type=1 rollingUpdate=2
    ";

    const FACTS: &'static str = "
        DaemonSetStatus.conditions list=map:type patch=merge merge-key=type
    ";
}

/// The number in [`ANNOTATION_TEMPLATE_GENERATION`], 0 where there is none.
fn template_generation(set: &DaemonSet) -> i64 {
    set.metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(ANNOTATION_TEMPLATE_GENERATION))
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

fn set_template_generation(set: &mut DaemonSet, number: i64) {
    set.metadata
        .annotations
        .get_or_insert_default()
        .insert(ANNOTATION_TEMPLATE_GENERATION.to_owned(), number.to_string());
}

fn default_strategy(strategy: &mut DaemonSetUpdateStrategy) {
    let type_ = strategy.type_.get_or_insert_default();
    if type_.is_empty() {
        "RollingUpdate".clone_into(type_);
    }
    if type_ == "RollingUpdate" {
        let rolling = strategy.rolling_update.get_or_insert_default();
        rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
        rolling.max_surge.get_or_insert(IntOrString::Int(0));
    }
}

fn validate_strategy(checks: &mut Checks, path: &Path, spec: &DaemonSetSpec) {
    let strategy = spec.update_strategy.clone().unwrap_or_default();
    let type_ = strategy.type_.as_deref().unwrap_or_default();
    checks.one_of(&path.child("type"), type_, &["RollingUpdate", "OnDelete"]);
    if type_ != "RollingUpdate" {
        return;
    }
    let path = path.child("rollingUpdate");
    let Some(rolling) = &strategy.rolling_update else {
        checks.push(FieldError::required(&path, ""));
        return;
    };
    let mut amount = |field: &str, amount: Option<&IntOrString>| {
        let path = path.child(field);
        let number = validate_amount(checks, &path, amount);
        if let Some(IntOrString::String(text)) = amount {
            let detail = "must not be greater than 100%";
            checks.holds(number.is_none_or(|percent| percent <= 100), &path, text, detail);
        }
        number.unwrap_or(0) != 0
    };
    let unavailable = amount("maxUnavailable", rolling.max_unavailable.as_ref());
    let surge = amount("maxSurge", rolling.max_surge.as_ref());
    if unavailable && surge {
        let detail = "may not be set when maxUnavailable is non-zero";
        let path = path.child("maxSurge");
        checks.push(FieldError::invalid(&path, &rolling.max_surge, detail));
    }
    if !unavailable && !surge {
        let detail = "cannot be 0 when maxSurge is 0";
        checks.push(FieldError::required(&path.child("maxUnavailable"), detail));
    }
}
