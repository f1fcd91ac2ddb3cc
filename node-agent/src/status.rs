//! A pod's status from what is known of its containers: pure.
//!
//! Never forgets a condition that someone else set, and moves a transition time only where the
//! status of its condition changes.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::lifecycle::{Ended, Record, State, is_sidecar, phase};

/// What a status is made from besides the pod itself.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// One entry a container.
    pub records: &'a [Record],
    /// The sandbox exists.
    pub sandbox: bool,
    /// The pod's address, once known.
    pub pod_ip: Option<String>,
    /// The node's address.
    pub host_ip: &'a str,
    /// When the node first saw the pod.
    pub started: Timestamp,
    /// The current time.
    pub now: Timestamp,
}

/// A time as the API shows it: whole seconds.
pub fn api_time(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// The status to post for `pod`.
pub fn status(pod: &Pod, facts: &Facts<'_>) -> PodStatus {
    let spec = pod.spec.clone().unwrap_or_default();
    let phase = phase(&spec, facts.records);
    let all = |list: &[Container], init| -> Vec<ContainerStatus> {
        list.iter().filter_map(|container| container_status(container, init, facts)).collect()
    };
    let init = all(spec.init_containers.as_deref().unwrap_or_default(), true);
    PodStatus {
        phase: Some(phase.into()),
        conditions: Some(conditions(pod, phase, facts)),
        host_ip: Some(facts.host_ip.into()),
        host_ips: Some(vec![HostIP { ip: facts.host_ip.into() }]),
        pod_ip: facts.pod_ip.clone(),
        pod_ips: facts.pod_ip.clone().map(|ip| vec![PodIP { ip }]),
        start_time: Some(api_time(facts.started)),
        init_container_statuses: (!init.is_empty()).then_some(init),
        container_statuses: Some(all(&spec.containers, false)),
        ..Default::default()
    }
}

fn terminated(ended: &Ended) -> ContainerState {
    let terminated = ContainerStateTerminated {
        container_id: (!ended.id.is_empty()).then(|| container_id(&ended.id)),
        exit_code: ended.exit_code,
        signal: (ended.signal != 0).then_some(ended.signal),
        reason: Some(ended.reason.clone()),
        message: (!ended.message.is_empty()).then(|| ended.message.clone()),
        started_at: Some(api_time(ended.started)),
        finished_at: Some(api_time(ended.finished)),
    };
    ContainerState { terminated: Some(terminated), ..Default::default() }
}

fn container_id(id: &str) -> String {
    format!("coracle://{id}")
}

fn container_status(
    container: &Container,
    init: bool,
    facts: &Facts<'_>,
) -> Option<ContainerStatus> {
    let record = facts.records.iter().find(|record| record.name == container.name)?;
    let running = record.is_running();
    // An init container is ready when it has done its work.
    let completed = matches!(&record.state, State::Ended(ended) if ended.exit_code == 0);
    let state = match &record.state {
        State::Waiting { reason, message, .. } => waiting(reason, message),
        State::Running { since } => {
            let running = ContainerStateRunning { started_at: Some(api_time(*since)) };
            ContainerState { running: Some(running), ..Default::default() }
        }
        State::Ended(ended) => terminated(ended),
    };
    Some(ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        image_id: record.image_id.clone(),
        container_id: (!record.id.is_empty()).then(|| container_id(&record.id)),
        restart_count: record.attempt as i32,
        ready: is_ready(record) || (init && completed),
        started: Some(running && record.started),
        state: Some(state),
        last_state: Some(record.last.as_ref().map(terminated).unwrap_or_default()),
        ..Default::default()
    })
}

fn is_ready(record: &Record) -> bool {
    record.is_running() && record.started && record.ready
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    let waiting = ContainerStateWaiting {
        reason: Some(reason.into()),
        message: (!message.is_empty()).then(|| message.to_owned()),
    };
    ContainerState { waiting: Some(waiting), ..Default::default() }
}

struct Verdict {
    kind: &'static str,
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

fn conditions(pod: &Pod, phase: &str, facts: &Facts<'_>) -> Vec<PodCondition> {
    let old = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let verdicts = verdicts(pod, phase, facts, &old);
    let mut conditions: Vec<PodCondition> = verdicts
        .into_iter()
        .map(|verdict| {
            let status = if verdict.holds { "True" } else { "False" };
            let before = old
                .iter()
                .find(|condition| condition.type_ == verdict.kind && condition.status == status);
            PodCondition {
                type_: verdict.kind.into(),
                status: status.into(),
                reason: verdict.reason.map(Into::into),
                message: verdict.message,
                last_transition_time: before
                    .and_then(|condition| condition.last_transition_time.clone())
                    .or_else(|| Some(api_time(facts.now))),
                observed_generation: pod.metadata.generation,
                ..Default::default()
            }
        })
        .collect();
    let others = old
        .into_iter()
        .filter(|old| !conditions.iter().any(|mine| mine.type_ == old.type_))
        .collect::<Vec<_>>();
    conditions.extend(others);
    conditions
}

impl Verdict {
    fn new(kind: &'static str, holds: bool) -> Verdict {
        Verdict { kind, holds, reason: None, message: None }
    }

    fn because(self, reason: Option<&'static str>, message: Option<String>) -> Verdict {
        Verdict { reason, message, ..self }
    }
}

fn verdicts(pod: &Pod, phase: &str, facts: &Facts<'_>, old: &[PodCondition]) -> Vec<Verdict> {
    let spec = pod.spec.clone().unwrap_or_default();
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let incomplete = unfit(init, facts, |container, record| match &record.state {
        State::Ended(ended) => ended.exit_code == 0 || is_sidecar(container),
        _ => is_sidecar(container) && record.is_running() && record.started,
    });
    let unready = unfit(&spec.containers, facts, |_, record| is_ready(record));
    let unbegun = unfit(&spec.containers, facts, |_, record| !record.id.is_empty());
    let initialized = incomplete.is_empty() || unbegun.len() < spec.containers.len();
    let ready = unready.is_empty() && initialized && phase != "Succeeded" && phase != "Failed";
    let (reason, message) = match phase {
        "Succeeded" => (Some("PodCompleted"), None),
        "Failed" => (Some("PodFailed"), None),
        _ if ready => (None, None),
        _ => (Some("ContainersNotReady"), Some(named(&unready, "unready"))),
    };
    let pod_ready = match closed_gates(&spec, old) {
        Some(message) if ready => {
            Verdict::new("Ready", false).because(Some("ReadinessGatesNotReady"), Some(message))
        }
        _ => Verdict::new("Ready", ready).because(reason, message.clone()),
    };
    let mut begun = Verdict::new("Initialized", initialized);
    if !initialized {
        begun =
            begun.because(Some("ContainersNotInitialized"), Some(named(&incomplete, "incomplete")));
    }
    vec![
        Verdict::new("PodReadyToStartContainers", facts.sandbox),
        begun,
        pod_ready,
        Verdict::new("ContainersReady", ready).because(reason, message),
        Verdict::new("PodScheduled", true),
    ]
}

/// The names of containers that are not `fit`, or of which nothing is known.
fn unfit(
    list: &[Container],
    facts: &Facts<'_>,
    fit: impl Fn(&Container, &Record) -> bool,
) -> Vec<String> {
    let is_fit = |container: &&Container| {
        let record = facts.records.iter().find(|record| record.name == container.name);
        record.is_some_and(|record| fit(container, record))
    };
    list.iter()
        .filter(|container| !is_fit(container))
        .map(|container| container.name.clone())
        .collect()
}

fn named(names: &[String], what: &str) -> String {
    format!("containers with {what} status: [{}]", names.join(" "))
}

/// Which of the pod's readiness gates keep it from being ready, for people.
fn closed_gates(spec: &PodSpec, old: &[PodCondition]) -> Option<String> {
    let gates = spec.readiness_gates.iter().flatten().map(|gate| gate.condition_type.as_str());
    let is_open = |gate: &str| {
        old.iter().any(|condition| condition.type_ == gate && condition.status == "True")
    };
    let closed: Vec<&str> = gates.filter(|gate| !is_open(gate)).collect();
    let message =
        format!("the status of pod readiness gate {:?} is not \"True\"", closed.join(", "));
    (!closed.is_empty()).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PodReadinessGate;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pod(gate: Option<&str>) -> Pod {
        let container =
            Container { name: "web".into(), image: Some("demo".into()), ..Default::default() };
        let gates = gate.map(|gate| vec![PodReadinessGate { condition_type: gate.into() }]);
        let spec =
            PodSpec { containers: vec![container], readiness_gates: gates, ..Default::default() };
        Pod { spec: Some(spec), ..Default::default() }
    }

    fn running(ready: bool) -> Record {
        Record {
            id: "1".into(),
            state: State::Running { since: at(5) },
            started: true,
            ready,
            ..Record::new("web")
        }
    }

    fn summary(pod: &Pod, record: Record, now: i64) -> (PodStatus, String) {
        let records = [record];
        let facts = Facts {
            records: &records,
            sandbox: true,
            pod_ip: Some("10.244.1.2".into()),
            host_ip: "192.168.77.11",
            started: at(1),
            now: at(now),
        };
        let status = status(pod, &facts);
        let text = status.conditions.iter().flatten().map(|condition| {
            let time =
                condition.last_transition_time.as_ref().map_or(-1, |time| time.0.as_second());
            format!("{}={}@{time}", condition.type_, condition.status)
        });
        let text = format!(
            "{}: {}",
            status.phase.as_deref().unwrap_or_default(),
            text.collect::<Vec<_>>().join(" ")
        );
        (status, text)
    }

    #[test]
    fn a_flip_moves_only_its_own_conditions_time() {
        let mut pod = pod(None);
        let (status, text) = summary(&pod, running(false), 10);
        assert_eq!(
            text,
            "Running: PodReadyToStartContainers=True@10 Initialized=True@10 Ready=False@10 ContainersReady=False@10 PodScheduled=True@10"
        );
        let ready = status
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == "Ready")
            .unwrap();
        assert_eq!(ready.message.as_deref(), Some("containers with unready status: [web]"));
        pod.status = Some(status);
        let (_, text) = summary(&pod, running(true), 20);
        assert_eq!(
            text,
            "Running: PodReadyToStartContainers=True@10 Initialized=True@10 Ready=True@20 ContainersReady=True@20 PodScheduled=True@10"
        );
    }

    #[test]
    fn a_gate_of_someone_else_is_kept_and_waited_for() {
        let mut pod = pod(Some("example.com/go"));
        assert!(
            summary(&pod, running(true), 10).1.contains("Ready=False@10 ContainersReady=True@10")
        );
        let gate = PodCondition {
            type_: "example.com/go".into(),
            status: "True".into(),
            ..Default::default()
        };
        pod.status = Some(PodStatus { conditions: Some(vec![gate]), ..Default::default() });
        let text = summary(&pod, running(true), 10).1;
        assert!(text.contains(" Ready=True@10") && text.contains("example.com/go=True"), "{text}");
    }

    #[test]
    fn a_container_between_restarts_shows_both_states() {
        let mut record = running(false);
        record.attempt = 2;
        record.last = Some(Ended {
            exit_code: 1,
            signal: 0,
            reason: "Error".into(),
            message: String::new(),
            started: at(1),
            finished: at(2),
            id: "0".into(),
        });
        record.state = State::Waiting {
            reason: "CrashLoopBackOff".into(),
            message: "back-off".into(),
            until: None,
        };
        let (status, _) = summary(&pod(None), record, 10);
        let container = &status.container_statuses.unwrap()[0];
        assert_eq!(
            (container.restart_count, container.ready, container.started),
            (2, false, Some(false))
        );
        let waiting = container.state.as_ref().unwrap().waiting.as_ref().unwrap();
        assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
        let last = container.last_state.as_ref().unwrap().terminated.as_ref().unwrap();
        assert_eq!((last.exit_code, last.container_id.as_deref()), (1, Some("coracle://0")));
    }
}
