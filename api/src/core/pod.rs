//! Pod: containers that run together on one node behind one address.
//!
//! Never schedules or runs one.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::Value;

use crate::{
    check::Checks,
    core::{pod_defaults, pod_qos, pod_row, pod_update, pod_validation},
    field::{FieldError, Path},
    kind::{Column, Names, Rules},
};

/// Rules of `pods`.
pub struct PodRules;

impl Rules for PodRules {
    type Object = Pod;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "Pod",
        plural: "pods",
        singular: "pod",
        short_names: &["po"],
        categories: &["all"],
        namespaced: true,
        storage_prefix: "pods",
        status: true,
    };

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
        let spec = pod.spec.clone().unwrap_or_default();
        let status = pod.status.clone().unwrap_or_default();
        let values = [
            spec.node_name,
            spec.restart_policy,
            spec.scheduler_name,
            spec.service_account_name,
            Some(spec.host_network.unwrap_or(false).to_string()),
            status.phase,
            status.pod_ip,
            status.nominated_node_name,
        ];
        Self::FIELDS.iter().copied().zip(values.map(Option::unwrap_or_default)).collect()
    }

    const COLUMNS: &'static [Column] = pod_row::COLUMNS;

    fn row(pod: &Pod, now: Timestamp) -> Vec<Value> {
        pod_row::row(pod, now)
    }
}
