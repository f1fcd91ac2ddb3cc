//! Pod: containers that run together on one node behind one address.
//!
//! Never schedules or runs one.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::Value;

use crate::{
    check::Checks,
    core::{pod_defaults, pod_qos, pod_row, pod_subresources, pod_update, pod_validation},
    field::{FieldError, Path},
    kind::{Column, Names, Rules},
    subresource::Subresource,
};

/// Grace of a pod that does not say how long it needs, in seconds.
const DEFAULT_GRACE_S: i64 = 30;

/// Rules of `pods`.
pub struct PodRules;

impl Rules for PodRules {
    type Object = Pod;

    fn names() -> Names {
        pod_subresources::names()
    }

    fn subresources() -> Vec<Subresource> {
        let mut all = vec![Subresource::status()];
        all.extend(pod_subresources::subresources());
        all
    }

    const RETURNED_WHEN_DELETED: bool = true;

    fn grace_s(pod: &Pod, asked: Option<i64>) -> i64 {
        let spec = pod.spec.as_ref();
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let node = spec.and_then(|spec| spec.node_name.as_deref());
        // Only pods that run somewhere need any.
        if node.is_none_or(str::is_empty) || matches!(phase, Some("Succeeded" | "Failed")) {
            return 0;
        }
        let own = spec.and_then(|spec| spec.termination_grace_period_seconds);
        match asked.or(own).unwrap_or(DEFAULT_GRACE_S) {
            // As upstream: a negative one means as soon as can be with an acknowledgement.
            seconds if seconds < 0 => 1,
            seconds => seconds,
        }
    }

    fn default(pod: &mut Pod) {
        let spec = pod.spec.get_or_insert_default();
        pod_defaults::default_pod_spec(spec);
        pod_defaults::default_pod_only(spec);
    }

    fn prepare_create(pod: &mut Pod) {
        pod.metadata.generation = Some(1);
        pod.status = Some(PodStatus {
            phase: Some("Pending".to_owned()),
            qos_class: pod.spec.as_ref().map(|spec| pod_qos::qos_class(spec).to_owned()),
            ..Default::default()
        });
    }

    fn prepare_update(new: &mut Pod, old: &Pod) {
        new.status.clone_from(&old.status);
        if new.spec != old.spec {
            new.metadata.generation = Some(old.metadata.generation.unwrap_or(0) + 1);
        }
    }

    fn prepare_status_update(new: &mut Pod, old: &Pod) {
        new.spec.clone_from(&old.spec);
        new.metadata.owner_references.clone_from(&old.metadata.owner_references);
        // The class follows from the spec; an agent that leaves it out does not clear it.
        let class = old.status.as_ref().and_then(|status| status.qos_class.clone());
        let status = new.status.get_or_insert_default();
        if status.qos_class.is_none() {
            status.qos_class = class;
        }
    }

    fn validate(pod: &Pod) -> Vec<FieldError> {
        let mut checks = Checks::new();
        let spec = pod.spec.clone().unwrap_or_default();
        pod_validation::validate_spec(&mut checks, &Path::new("spec"), &spec);
        checks.into_errors()
    }

    fn validate_update(new: &Pod, old: &Pod) -> Vec<FieldError> {
        pod_update::validate(new, old)
    }

    const FIELDS: &'static [&'static str] = &[
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ];

    fn fields(pod: &Pod) -> Vec<(&'static str, String)> {
        let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
        let host_network = spec.and_then(|spec| spec.host_network).unwrap_or(false);
        let values = [
            spec.and_then(|spec| spec.node_name.as_deref()),
            spec.and_then(|spec| spec.restart_policy.as_deref()),
            spec.and_then(|spec| spec.scheduler_name.as_deref()),
            spec.and_then(|spec| spec.service_account_name.as_deref()),
            Some(if host_network { "true" } else { "false" }),
            status.and_then(|status| status.phase.as_deref()),
            status.and_then(|status| status.pod_ip.as_deref()),
            status.and_then(|status| status.nominated_node_name.as_deref()),
        ];
        let values = values.map(|value| value.unwrap_or_default().to_owned());
        Self::FIELDS.iter().copied().zip(values).collect()
    }

    const COLUMNS: &'static [Column] = pod_row::COLUMNS;

    fn row(pod: &Pod, now: Timestamp) -> Vec<Value> {
        pod_row::row(pod, now)
    }
}
