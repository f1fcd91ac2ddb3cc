//! Rules that workloads share: selector and template belong together; numbers of pods that may be
//! percentages.
//!
//! Never looks at pods.

use k8s_openapi::{
    api::core::v1::PodTemplateSpec,
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use crate::{
    check::Checks,
    core::pod_validation::validate_template,
    field::{FieldError, Path},
    selector::Selector,
};

/// Checks selector and template; `workload` is a word for texts, such as `deployment`.
pub fn validate_pods(
    checks: &mut Checks,
    path: &Path,
    selector: &LabelSelector,
    template: &PodTemplateSpec,
    workload: &str,
) {
    let field = path.child("selector");
    checks.label_selector(&field, selector);
    let empty = selector.match_labels.as_ref().is_none_or(|labels| labels.is_empty())
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
    if empty {
        let detail = format!("empty selector is invalid for {workload}");
        checks.push(FieldError::invalid(&field, selector, &detail));
    }
    let path = path.child("template");
    let labels = template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    let parsed = Selector::from_label_selector(selector);
    if !empty && parsed.is_ok_and(|selector| !selector.matches(labels)) {
        let path = path.child("metadata").child("labels");
        let detail = "`selector` does not match template `labels`";
        let none = Default::default();
        checks.push(FieldError::invalid(&path, labels.unwrap_or(&none), detail));
    }
    validate_template(checks, &path, template);
    let path = path.child("spec");
    let spec = template.spec.clone().unwrap_or_default();
    if let Some(policy) = spec.restart_policy.as_deref().filter(|policy| *policy != "Always") {
        let path = path.child("restartPolicy");
        checks.push(FieldError::not_supported(&path, policy, &["Always"]));
    }
    // Upstream speaks of ReplicaSets in Deployments, too.
    let kind = if workload == "daemonset" { "DaemonSet" } else { "ReplicaSet" };
    let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
    let unset = spec.active_deadline_seconds.is_none();
    checks.allowed(unset, &path.child("activeDeadlineSeconds"), &detail);
}

/// A number of pods, or a percentage; `None` says it is neither.
pub fn validate_amount(
    checks: &mut Checks,
    path: &Path,
    amount: Option<&IntOrString>,
) -> Option<i32> {
    match amount? {
        IntOrString::Int(number) => {
            checks.non_negative(path, Some(i64::from(*number)));
            Some(*number)
        }
        IntOrString::String(text) => {
            let digits = text.strip_suffix('%').unwrap_or_default();
            let valid = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
            let detail = "a valid percent string must be a numeric string followed by an ending '%' \
                 (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
            checks.holds(valid, path, text, detail);
            digits.parse().ok()
        }
    }
}

/// A selector as text, such as `scale` tells it.
pub fn selector_text(selector: &LabelSelector) -> Option<String> {
    Selector::from_label_selector(selector).ok().map(|selector| selector.to_string())
}
