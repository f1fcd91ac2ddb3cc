//! A pod's row in `kubectl get pods`: how many containers are ready, and one word for its state.
//!
//! Never looks beyond the pod's own spec and status.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodSpec, PodStatus,
};
use serde_json::Value;

use crate::{
    duration,
    kind::Column,
    table::{self, column, wide},
};

/// Columns of `pods`.
pub const COLUMNS: &[Column] = &[
    table::NAME,
    column("Ready", "string", "Ready containers of all containers."),
    column("Status", "string", "One word for the state of the pod and its containers."),
    column("Restarts", "string", "Restarts of its containers, and when the last one was."),
    table::AGE,
    wide("IP", "string", "Address of the pod."),
    wide("Node", "string", "Node it is bound to."),
    wide("Nominated Node", "string", "Node it is to get after preemption."),
    wide("Readiness Gates", "string", "Readiness gates that hold, of all."),
];

/// What the container statuses add up to.
#[derive(Default)]
struct Summary {
    reason: String,
    ready: usize,
    restarts: i32,
    last_restart: Option<Timestamp>,
}

impl Summary {
    fn count_restarts(&mut self, container: &ContainerStatus) {
        self.restarts += container.restart_count;
        let terminated = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
        let finished = terminated.and_then(|state| state.finished_at.as_ref()).map(|time| time.0);
        self.last_restart = self.last_restart.max(finished);
    }
}

/// Cells in the order of [`COLUMNS`].
pub fn row(pod: &Pod, now: Timestamp) -> Vec<Value> {
    let (no_spec, no_status) = (PodSpec::default(), PodStatus::default());
    let spec = pod.spec.as_ref().unwrap_or(&no_spec);
    let status = pod.status.as_ref().unwrap_or(&no_status);
    let sidecars = spec.init_containers.iter().flatten().filter(|c| is_sidecar(c)).count();
    let summary = summarize(pod, spec, status);
    let restarts = match summary.last_restart {
        Some(last) if summary.restarts != 0 => {
            let ago = duration::human(now.duration_since(last).as_secs());
            format!("{} ({ago} ago)", summary.restarts)
        }
        _ => summary.restarts.to_string(),
    };
    let ip = status.pod_ips.as_ref().and_then(|ips| ips.first()).map(|ip| ip.ip.as_str());
    vec![
        table::name(pod),
        Value::from(format!("{}/{}", summary.ready, spec.containers.len() + sidecars)),
        Value::from(summary.reason),
        Value::from(restarts),
        table::age(pod, now),
        Value::from(table::or(ip, "<none>")),
        Value::from(table::or(spec.node_name.as_deref(), "<none>")),
        Value::from(table::or(status.nominated_node_name.as_deref(), "<none>")),
        Value::from(readiness_gates(spec, status)),
    ]
}

fn summarize(pod: &Pod, spec: &PodSpec, status: &PodStatus) -> Summary {
    let phase = status.phase.clone().unwrap_or_default();
    let mut summary = Summary { reason: phase.clone(), ..Default::default() };
    if let Some(reason) = status.reason.as_ref().filter(|reason| !reason.is_empty()) {
        summary.reason.clone_from(reason);
    }
    let gated = status.conditions.iter().flatten().any(|condition| {
        condition.type_ == "PodScheduled" && condition.reason.as_deref() == Some("SchedulingGated")
    });
    if gated {
        summary.reason = "SchedulingGated".to_owned();
    }
    let sidecar_summary = summarize_init(spec, status, &mut summary);
    if let Some(sidecar_summary) = sidecar_summary {
        // Restarts of finished init containers are history once the main containers run.
        summary.restarts = sidecar_summary.restarts;
        summary.last_restart = sidecar_summary.last_restart;
        summarize_main(status, &mut summary);
    }
    if pod.metadata.deletion_timestamp.is_some() {
        if status.reason.as_deref() == Some("NodeLost") {
            summary.reason = "Unknown".to_owned();
        } else if !matches!(phase.as_str(), "Succeeded" | "Failed") {
            summary.reason = "Terminating".to_owned();
        }
    }
    summary
}

/// Goes through the init containers up to the first that is not done. Some when the main
/// containers are to be looked at; it then has the restarts of the sidecars alone.
fn summarize_init(spec: &PodSpec, status: &PodStatus, summary: &mut Summary) -> Option<Summary> {
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let mut sidecars = Summary::default();
    let mut initializing = false;
    for (index, container) in status.init_container_statuses.iter().flatten().enumerate() {
        let sidecar = init.iter().any(|c| c.name == container.name && is_sidecar(c));
        summary.count_restarts(container);
        if sidecar {
            sidecars.count_restarts(container);
        }
        let state = container.state.clone().unwrap_or_default();
        let succeeded =
            state.terminated.as_ref().is_some_and(|terminated| terminated.exit_code == 0);
        if succeeded {
            continue;
        }
        if sidecar && container.started == Some(true) {
            summary.ready += usize::from(container.ready);
            continue;
        }
        summary.reason = init_reason(&state, index, init.len());
        initializing = true;
        break;
    }
    (!initializing || condition_is_true(status, "Initialized")).then_some(sidecars)
}

fn init_reason(state: &ContainerState, index: usize, count: usize) -> String {
    let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
    match (&state.terminated, waiting) {
        (Some(terminated), _) => format!("Init:{}", terminated_reason(terminated)),
        (None, Some(reason)) if !reason.is_empty() && reason != "PodInitializing" => {
            format!("Init:{reason}")
        }
        _ => format!("Init:{index}/{count}"),
    }
}

fn summarize_main(status: &PodStatus, summary: &mut Summary) {
    let mut running = false;
    // From the last to the first: the first container has the last word.
    for container in status.container_statuses.iter().flatten().rev() {
        summary.count_restarts(container);
        let state = container.state.clone().unwrap_or_default();
        let waiting = state.waiting.and_then(|waiting| waiting.reason).unwrap_or_default();
        if !waiting.is_empty() {
            summary.reason = waiting;
        } else if let Some(terminated) = &state.terminated {
            summary.reason = terminated_reason(terminated);
        } else if container.ready && state.running.is_some() {
            running = true;
            summary.ready += 1;
        }
    }
    if running && summary.reason == "Completed" {
        let ready = condition_is_true(status, "Ready");
        summary.reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

fn terminated_reason(terminated: &ContainerStateTerminated) -> String {
    match (terminated.reason.as_deref(), terminated.signal) {
        (Some(reason), _) if !reason.is_empty() => reason.to_owned(),
        (_, Some(signal)) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", terminated.exit_code),
    }
}

/// An init container that keeps running beside the main ones.
fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn condition_is_true(status: &PodStatus, type_: &str) -> bool {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

fn readiness_gates(spec: &PodSpec, status: &PodStatus) -> String {
    let gates = spec.readiness_gates.as_deref().unwrap_or_default();
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let held = gates.iter().filter(|gate| condition_is_true(status, &gate.condition_type)).count();
    format!("{held}/{}", gates.len())
}

/// The cells `Containers` and `Images` of a workload.
pub fn containers_and_images(spec: Option<&PodSpec>) -> (String, String) {
    let containers = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let names: Vec<_> = containers.iter().map(|container| container.name.as_str()).collect();
    let images: Vec<_> =
        containers.iter().filter_map(|container| container.image.as_deref()).collect();
    (names.join(","), images.join(","))
}
