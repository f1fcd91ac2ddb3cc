//! One pod's worker: an explicit state machine that takes a pod from its first sight to its end.
//!
//! What to do is decided in `lifecycle`, what to show in `status`; this file does it and notes
//! it down. Never waits for the API server: statuses are posted by a task of their own.

mod containers;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus};
use kube::ResourceExt;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::context::Context;
use crate::events::Severity::{Normal, Warning};
use crate::lifecycle;
use crate::memory::Memory;
use crate::poster::{self, Subject};
use crate::prober::Verdict;
use crate::resolv;
use crate::shim::protocol::InstanceState;
use crate::shim::spec::{NetworkSpec, SandboxSpec};
use crate::status::{Facts, status};

/// Verdicts that wait for their worker; probes wait when they are full.
const VERDICT_QUEUE: usize = 16;
/// Between attempts at what failed for a reason outside the pod.
const RETRY: Duration = Duration::from_secs(2);
/// Grace of a pod whose object has gone already.
const GRACE_OF_THE_GONE: Duration = Duration::from_secs(1);
const DEFAULT_GRACE_SECONDS: i64 = 30;

/// What is wanted of a pod.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// It exists, perhaps with a deletion timestamp.
    Pod(Arc<Pod>),
    /// Its object (or manifest) has gone.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No namespaces yet, or no more.
    NeedsSandbox,
    /// The sandbox is there, containers come and go.
    Running,
    /// No container is to run again; waiting for the last to end.
    Terminating,
    /// It ended by itself: nothing runs, its logs are kept.
    Ended,
    /// Nothing is left.
    Removed,
}

/// One pod's worker.
pub struct Worker {
    ctx: Arc<Context>,
    uid: String,
    pod: Arc<Pod>,
    spec: PodSpec,
    mirrored: bool,
    gone: bool,
    directory: PathBuf,
    memory: Memory,
    saved: Option<Memory>,
    stage: Stage,
    states: Option<mpsc::Receiver<Vec<InstanceState>>>,
    verdicts: (mpsc::Sender<Verdict>, mpsc::Receiver<Verdict>),
    probes: HashMap<String, JoinSet<()>>,
    stops: HashMap<String, AbortHandle>,
    grace: Duration,
    posted: watch::Sender<Option<PodStatus>>,
    wake: Option<Timestamp>,
}

impl Worker {
    /// A worker for `pod`, whose UID on this node is `uid`; `mirrored`: its object in the API is only its mirror.
    pub fn new(ctx: Arc<Context>, uid: String, pod: Arc<Pod>, mirrored: bool) -> Worker {
        let directory = ctx.pods.join(&uid);
        let spec = pod.spec.clone().unwrap_or_default();
        let memory = Memory::load(&directory, &spec, Timestamp::now());
        let (posted, statuses) = watch::channel(None);
        let worker = Worker {
            uid,
            spec,
            mirrored,
            gone: false,
            directory,
            memory,
            saved: None,
            stage: Stage::NeedsSandbox,
            states: None,
            verdicts: mpsc::channel(VERDICT_QUEUE),
            probes: HashMap::new(),
            stops: HashMap::new(),
            grace: Duration::ZERO,
            posted,
            wake: None,
            pod,
            ctx,
        };
        tokio::spawn(poster::run(worker.ctx.client.clone(), worker.subject(), statuses));
        worker
    }

    fn subject(&self) -> Subject {
        Subject {
            namespace: self.pod.namespace().unwrap_or_default(),
            name: self.pod.name_any(),
            uid: if self.mirrored { None } else { Some(self.uid.clone()) },
        }
    }

    /// Works until nothing is left of the pod.
    pub async fn run(mut self, mut wanted: watch::Receiver<Wanted>) {
        self.adopt().await;
        loop {
            let latest = wanted.borrow_and_update().clone();
            self.take(latest);
            self.step().await;
            self.note();
            if self.stage == Stage::Removed {
                break;
            }
            let until = self.wake.map(|at| at.duration_since(Timestamp::now()));
            let pause = until.map(|left| Duration::try_from(left).unwrap_or(Duration::ZERO));
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() {
                    // The agent is ending; the pod goes on without it.
                    return;
                },
                states = receive(&mut self.states) => match states {
                    Some(list) => self.observe(&list),
                    None => self.lose_sandbox(),
                },
                Some(verdict) = self.verdicts.1.recv() => self.judge(verdict),
                () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            }
        }
        self.finish().await;
    }

    /// Finds what a former agent left.
    async fn adopt(&mut self) {
        match self.ctx.runtime.watch_sandbox(&self.uid).await {
            Ok(mut states) => {
                let list = states.recv().await.unwrap_or_default();
                self.states = Some(states);
                self.stage = Stage::Running;
                self.observe(&list);
                let running: Vec<String> = self
                    .memory
                    .records
                    .iter()
                    .filter(|record| record.is_running())
                    .map(|record| record.name.clone())
                    .collect();
                for name in running {
                    self.start_probes(&name);
                }
            }
            Err(_) => self.memory.lose_all(Timestamp::now()),
        }
        if matches!(lifecycle::phase(&self.spec, &self.memory.records), "Succeeded" | "Failed") {
            self.stage = Stage::Ended;
        }
    }

    fn take(&mut self, wanted: Wanted) {
        match wanted {
            Wanted::Gone => self.gone = true,
            Wanted::Pod(pod) if !Arc::ptr_eq(&pod, &self.pod) => {
                self.pod = pod;
                // Someone else (the node lifecycle controller, say) wrote over what this node knows.
                let last = self.posted.borrow().clone();
                if let Some(last) = last
                    && ready_of(Some(&last)) != ready_of(self.pod.status.as_ref())
                {
                    self.posted.send_replace(Some(last));
                }
            }
            Wanted::Pod(_) => {}
        }
    }

    fn to_end(&self) -> bool {
        self.gone || self.pod.metadata.deletion_timestamp.is_some()
    }

    async fn step(&mut self) {
        self.wake = None;
        if self.to_end() {
            self.terminate();
        }
        if self.stage == Stage::NeedsSandbox {
            self.start_sandbox().await;
        }
        match self.stage {
            Stage::Running => self.run_containers().await,
            Stage::Terminating if !self.memory.records.iter().any(|record| record.is_running()) => {
                self.remove_sandbox().await;
                self.stage = Stage::Removed;
            }
            _ => {}
        }
    }

    fn wake_by(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |earlier| earlier.min(at)));
    }

    fn wake_in(&mut self, delay: Duration) -> Timestamp {
        let at = Timestamp::now().checked_add(delay).unwrap_or(Timestamp::MAX);
        self.wake_by(at);
        at
    }

    async fn start_sandbox(&mut self) {
        if let Err(error) = self.try_start_sandbox().await {
            let message = format!("Failed to create pod sandbox: {error:#}");
            tracing::warn!(pod = self.pod.name_any(), "{message}");
            self.ctx.events.pod(&self.pod, None, Warning, "FailedCreatePodSandBox", message);
            self.ctx.runtime.remove_sandbox(&self.uid).await.ok();
            self.wake_in(RETRY);
        }
    }

    async fn try_start_sandbox(&mut self) -> anyhow::Result<()> {
        let network = match self.spec.host_network {
            Some(true) => {
                self.memory.pod_ip = Some(self.ctx.node_ip.to_string());
                None
            }
            _ => {
                let pod_ip = self.ctx.addresses.assign(&self.uid)?;
                self.memory.pod_ip = Some(pod_ip.to_string());
                Some(NetworkSpec { pod_ip, node_ip: self.ctx.node_ip })
            }
        };
        let spec = SandboxSpec {
            uid: self.uid.clone(),
            hostname: resolv::host_name(&self.pod),
            network,
            directory: self.directory.clone(),
        };
        self.ctx.runtime.start_sandbox(&spec).await?;
        self.states = Some(self.ctx.runtime.watch_sandbox(&self.uid).await?);
        self.stage = Stage::Running;
        Ok(())
    }

    async fn remove_sandbox(&mut self) {
        self.states = None;
        self.probes.clear();
        if let Err(error) = self.ctx.runtime.remove_sandbox(&self.uid).await {
            tracing::warn!(pod = self.pod.name_any(), "remove the sandbox: {error:#}");
        }
        if let Err(error) = self.ctx.addresses.release(&self.uid) {
            tracing::warn!("{error:#}");
        }
    }

    fn terminate(&mut self) {
        let seconds = self
            .pod
            .metadata
            .deletion_grace_period_seconds
            .or(self.spec.termination_grace_period_seconds);
        let mut grace = Duration::from_secs(seconds.unwrap_or(DEFAULT_GRACE_SECONDS).max(0) as u64);
        if self.gone && !self.mirrored {
            grace = grace.min(GRACE_OF_THE_GONE);
        }
        let again = self.stage == Stage::Terminating;
        if again && grace >= self.grace {
            return;
        }
        self.grace = grace;
        self.stage = Stage::Terminating;
        let running: Vec<String> = self
            .memory
            .records
            .iter()
            .filter(|record| record.is_running())
            .map(|record| record.name.clone())
            .collect();
        for name in running {
            if !again {
                self.ctx.events.pod(
                    &self.pod,
                    Some(&name),
                    Normal,
                    "Killing",
                    format!("Stopping container {name}"),
                );
            }
            self.stop(&name, grace);
        }
    }

    fn observe(&mut self, list: &[InstanceState]) {
        for name in self.memory.observe(list) {
            self.probes.remove(&name);
            if let Some(task) = self.stops.remove(&name) {
                task.abort();
            }
        }
    }

    /// The shim has gone, however that came: its containers went with it.
    fn lose_sandbox(&mut self) {
        self.states = None;
        self.probes.clear();
        self.stops.drain().for_each(|(_, task)| task.abort());
        self.memory.lose_all(Timestamp::now());
        if self.stage == Stage::Running {
            let message = "Pod sandbox changed, it will be killed and re-created.";
            self.ctx.events.pod(&self.pod, None, Normal, "SandboxChanged", message);
            self.stage = Stage::NeedsSandbox;
        }
    }

    fn save(&mut self) {
        if self.saved.as_ref() == Some(&self.memory) {
            return;
        }
        match self.memory.save(&self.directory) {
            Ok(()) => self.saved = Some(self.memory.clone()),
            Err(error) => tracing::warn!(pod = self.pod.name_any(), "{error:#}"),
        }
    }

    /// Writes down, and hands on, what has changed.
    fn note(&mut self) {
        self.save();
        self.ctx.registry.publish(
            &self.uid,
            &self.pod,
            self.mirrored,
            self.directory.clone(),
            &self.memory.records,
        );
        let sandbox = self.states.is_some();
        let facts = Facts {
            records: &self.memory.records,
            sandbox,
            pod_ip: self.memory.pod_ip.clone(),
            host_ip: &self.ctx.node_ip.to_string(),
            started: self.memory.since,
            now: Timestamp::now(),
        };
        let last = self.posted.borrow().clone();
        let mut pod = Pod::clone(&self.pod);
        if let Some(last) = &last {
            adopt_times(&mut pod, last);
        }
        let new = status(&pod, &facts);
        if last.as_ref() != Some(&new) {
            self.posted.send_replace(Some(new));
        }
    }

    /// The pod has ended for good: its object goes too, where it still exists.
    async fn finish(self) {
        if !self.gone && !self.mirrored {
            poster::delete(self.ctx.client.clone(), &self.subject()).await;
        }
        self.ctx.registry.remove(&self.uid);
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            tracing::warn!("remove {}: {error}", self.directory.display());
        }
    }
}

/// This node's own conditions have the times it knows, not those of an object that lags behind.
fn adopt_times(pod: &mut Pod, last: &PodStatus) {
    let mine = last.conditions.clone().unwrap_or_default();
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    let own =
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    conditions.retain(|condition| !own.contains(&condition.type_.as_str()));
    conditions.extend(mine.into_iter().filter(|condition| own.contains(&condition.type_.as_str())));
}

fn ready_of(status: Option<&PodStatus>) -> Option<&str> {
    let conditions = status?.conditions.as_ref()?;
    Some(&conditions.iter().find(|condition| condition.type_ == "Ready")?.status)
}

/// The newest states; for a pod without a sandbox, never.
async fn receive(
    states: &mut Option<mpsc::Receiver<Vec<InstanceState>>>,
) -> Option<Vec<InstanceState>> {
    match states {
        Some(states) => states.recv().await,
        None => std::future::pending().await,
    }
}
