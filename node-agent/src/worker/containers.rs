//! A worker's dealings with containers: starting them, judging their probes, telling them to stop.
//!
//! Never makes or removes a sandbox.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use kube::ResourceExt;
use tokio::task::JoinSet;

use super::{DEFAULT_GRACE_SECONDS, RETRY, Stage, Worker};
use crate::events::Severity::{Normal, Warning};
use crate::lifecycle::{self, Ended, State, Step, plan};
use crate::probe::ProbeKind;
use crate::prober::{self, Target, Verdict};
use crate::{prepare, stop};

/// Between looks for the first list of Services.
const SERVICES_RETRY: Duration = Duration::from_millis(50);

impl Worker {
    pub(super) async fn run_containers(&mut self) {
        for step in plan(&self.spec, &self.memory.records, Timestamp::now(), self.ctx.restart_cap) {
            match step {
                Step::Start(name) => self.start_container(&name).await,
                Step::Wait { name, until, back_off } => {
                    if !back_off.is_zero() {
                        self.back_off(&name, until, back_off);
                    }
                    self.wake_by(until);
                }
            }
        }
        let phase = lifecycle::phase(&self.spec, &self.memory.records);
        if matches!(phase, "Succeeded" | "Failed") {
            self.remove_sandbox().await;
            self.stage = Stage::Ended;
        }
    }

    fn back_off(&mut self, name: &str, until: Timestamp, delay: Duration) {
        let message = format!(
            "back-off {}s restarting failed container={name} pod={}_{}({})",
            delay.as_secs(),
            self.pod.name_any(),
            self.pod.namespace().unwrap_or_default(),
            self.uid
        );
        let cap = self.ctx.restart_cap;
        let Some(record) = self.memory.record(name) else {
            return;
        };
        let State::Ended(ended) = &record.state else {
            return;
        };
        let ended = ended.clone();
        record.restarts_in_row = lifecycle::restarts_that_count(record, &ended, cap);
        record.last = Some(ended);
        record.state = State::Waiting {
            reason: "CrashLoopBackOff".into(),
            message: message.clone(),
            until: Some(until),
        };
        self.ctx.events.pod(&self.pod, Some(name), Warning, "BackOff", message);
    }

    fn container(&self, name: &str) -> Option<Container> {
        let mut all = self.spec.init_containers.iter().flatten().chain(&self.spec.containers);
        all.find(|container| container.name == name).cloned()
    }

    async fn start_container(&mut self, name: &str) {
        let Some(container) = self.container(name) else {
            return;
        };
        if !self.mirrored && !self.ctx.services.cache.is_synced() {
            self.wake_in(SERVICES_RETRY);
            return;
        }
        let wanted = container.image.clone().unwrap_or_default();
        let image = self.ctx.runtime.resolve_image(&wanted);
        let id = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        let pod_ip = self.memory.pod_ip.clone().unwrap_or_default();
        let attempt = self
            .memory
            .record(name)
            .map_or(0, |record| if record.id.is_empty() { 0 } else { record.attempt + 1 });
        let numbers = (id.clone(), attempt, pod_ip.as_str());
        let spec = match prepare::container_spec(
            &self.ctx,
            &self.pod,
            &container,
            &image,
            numbers,
            &self.directory,
        )
        .await
        {
            Ok(spec) => spec,
            Err(error) => return self.cannot_prepare(name, &format!("{error:#}")),
        };
        let events = &self.ctx.events;
        if image.stand_in {
            let message = format!("Image \"{wanted}\" cannot be had here: running {}", image.id);
            events.pod(&self.pod, Some(name), Normal, "ImageStandIn", message);
        }
        events.pod(
            &self.pod,
            Some(name),
            Normal,
            "Pulled",
            format!("Container image \"{wanted}\" already present on machine"),
        );
        self.begin_instance(name, &id, attempt, image.id.clone());
        self.save();
        remove_old_logs(&self.directory, name, attempt);
        let started = self.ctx.runtime.start_container(&self.uid, &spec).await;
        self.instance_began(&container, started);
    }

    fn cannot_prepare(&mut self, name: &str, message: &str) {
        let at = self.wake_in(RETRY);
        let reason = "CreateContainerConfigError";
        if let Some(record) = self.memory.record(name) {
            if let State::Ended(ended) = &record.state {
                record.last = Some(ended.clone());
            }
            record.state =
                State::Waiting { reason: reason.into(), message: message.into(), until: Some(at) };
        }
        self.ctx.events.pod(&self.pod, Some(name), Warning, "Failed", format!("Error: {message}"));
    }

    fn begin_instance(&mut self, name: &str, id: &str, attempt: u32, image_id: String) {
        let cap = self.ctx.restart_cap;
        let Some(record) = self.memory.record(name) else {
            return;
        };
        if let State::Ended(ended) = &record.state {
            let ended = ended.clone();
            record.restarts_in_row = lifecycle::restarts_that_count(record, &ended, cap);
            record.last = Some(ended);
        }
        if attempt > 0 && !record.lost {
            record.restarts_in_row += 1;
        }
        (record.id, record.attempt, record.image_id, record.lost) =
            (id.into(), attempt, image_id, false);
    }

    fn instance_began(&mut self, container: &Container, started: anyhow::Result<()>) {
        let name = &container.name;
        let now = Timestamp::now();
        let Some(record) = self.memory.record(name) else {
            return;
        };
        match started {
            Ok(()) => {
                record.state = State::Running { since: now };
                record.started = container.startup_probe.is_none();
                record.ready = record.started && container.readiness_probe.is_none();
                self.ctx.events.pod(
                    &self.pod,
                    Some(name),
                    Normal,
                    "Created",
                    format!("Created container: {name}"),
                );
                self.ctx.events.pod(
                    &self.pod,
                    Some(name),
                    Normal,
                    "Started",
                    format!("Started container {name}"),
                );
                self.start_probes(name);
            }
            Err(error) => {
                let message = format!("failed to start container: {error:#}");
                let id = record.id.clone();
                record.state = State::Ended(Ended {
                    exit_code: 128,
                    signal: 0,
                    reason: "StartError".into(),
                    message: message.clone(),
                    started: now,
                    finished: now,
                    id,
                });
                self.ctx.events.pod(
                    &self.pod,
                    Some(name),
                    Warning,
                    "Failed",
                    format!("Error: {message}"),
                );
                // The plan is made anew with this end in view.
                self.wake_by(now);
            }
        }
    }

    /// The probes that an instance is due now: the startup probe alone until it has succeeded.
    pub(super) fn start_probes(&mut self, name: &str) {
        let Some(container) = self.container(name) else {
            return;
        };
        let ip = self.memory.pod_ip.clone().unwrap_or_default();
        let Some(record) = self.memory.record(name) else {
            return;
        };
        let target = Target {
            uid: self.uid.clone(),
            pod: self.pod.clone(),
            container: container.clone(),
            id: record.id.clone(),
            ip,
        };
        let due = match (record.started, container.startup_probe) {
            (false, Some(probe)) => vec![(ProbeKind::Startup, Some(probe))],
            _ => vec![
                (ProbeKind::Readiness, container.readiness_probe),
                (ProbeKind::Liveness, container.liveness_probe),
            ],
        };
        let mut tasks = JoinSet::new();
        for (kind, probe) in due {
            if let Some(probe) = probe {
                tasks.spawn(prober::run(
                    self.ctx.clone(),
                    target.clone(),
                    kind,
                    probe,
                    self.verdicts.0.clone(),
                ));
            }
        }
        self.probes.insert(name.to_owned(), tasks);
    }

    pub(super) fn judge(&mut self, verdict: Verdict) {
        let Some(record) = self.memory.record(&verdict.container) else {
            return;
        };
        if record.id != verdict.id || !record.is_running() {
            return;
        }
        match (verdict.kind, verdict.success) {
            (ProbeKind::Readiness, ready) => record.ready = ready,
            (ProbeKind::Startup, true) => {
                record.started = true;
                let ready = self
                    .container(&verdict.container)
                    .is_some_and(|container| container.readiness_probe.is_none());
                if let Some(record) = self.memory.record(&verdict.container) {
                    record.ready = ready;
                }
                self.start_probes(&verdict.container);
            }
            (ProbeKind::Startup | ProbeKind::Liveness, false) => {
                let kind = verdict.kind.name().to_lowercase();
                let message = format!(
                    "Container {} failed {kind} probe, will be restarted",
                    verdict.container
                );
                self.ctx.events.pod(
                    &self.pod,
                    Some(&verdict.container),
                    Normal,
                    "Killing",
                    message,
                );
                let own =
                    self.container(&verdict.container).and_then(|container| match verdict.kind {
                        ProbeKind::Startup => {
                            container.startup_probe?.termination_grace_period_seconds
                        }
                        _ => container.liveness_probe?.termination_grace_period_seconds,
                    });
                let grace = own
                    .or(self.spec.termination_grace_period_seconds)
                    .unwrap_or(DEFAULT_GRACE_SECONDS);
                self.stop(&verdict.container, Duration::from_secs(grace.max(0) as u64));
            }
            (ProbeKind::Liveness, true) => {}
        }
    }

    /// Tells a container to end; asked again with another grace, the newer one counts.
    pub(super) fn stop(&mut self, name: &str, grace: Duration) {
        let Some(container) = self.container(name) else {
            return;
        };
        let Some(record) = self.memory.record(name) else {
            return;
        };
        let id = record.id.clone();
        let task =
            tokio::spawn(stop::run(self.ctx.clone(), self.uid.clone(), id, container, grace));
        if let Some(former) = self.stops.insert(name.to_owned(), task.abort_handle()) {
            former.abort();
        }
    }
}

/// Keeps the logs of this instance and the one before.
fn remove_old_logs(directory: &std::path::Path, name: &str, attempt: u32) {
    let Some(old) = attempt.checked_sub(2) else {
        return;
    };
    let folder = directory.join("logs").join(name);
    for suffix in ["log", "log.1"] {
        std::fs::remove_file(folder.join(format!("{old}.{suffix}"))).ok();
    }
}
