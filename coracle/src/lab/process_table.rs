//! The components of a lab as processes: what runs, what is due to start again and when.
//! Never waits; the supervisor's loop does.

use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;
use client::BackOff;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::control::Report;
use super::namespaces::{die_with_parent, keep_on_exec};

/// A log larger than this moves to `NAME.log.old`, which it replaces.
const MAX_LOG_BYTES: u64 = 16 * 1024 * 1024;
/// Between two starts of a component that keeps ending.
const RESTART: BackOff = BackOff::new(Duration::from_millis(50), Duration::from_secs(5));
/// A component that has run this long starts again at once.
const STEADY: Duration = Duration::from_secs(10);

/// When a component starts, and in which group it ends (the last group first).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// At once: the API server.
    First,
    /// When the API answers: controllers.
    Controllers,
    /// When the API answers: node agents and all that runs on nodes.
    Nodes,
}

/// One component.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ComponentPlan {
    /// Unique name; also that of its log.
    pub name: String,
    /// When it starts and ends.
    pub phase: Phase,
    /// Command line behind the program's own name.
    pub args: Vec<String>,
    /// Whether the API's listener is passed on, with `--listen-fd N` at the end.
    pub takes_listener: bool,
}

/// The listener's number in the process that gets it.
const LISTENER_FLAG: &str = "--listen-fd";

struct Component {
    plan: ComponentPlan,
    running: Option<(Pid, Instant)>,
    due: Option<Instant>,
    back_off: BackOff,
}

impl Component {
    /// When it is to start, if it is to start without the API (or the API is there).
    fn due_when(&self, api_ready: bool) -> Option<Instant> {
        let allowed = api_ready || self.plan.phase == Phase::First;
        self.due.filter(|_| allowed)
    }

    /// Due again after the present delay, which doubles.
    fn back_off(&mut self, now: Instant, status: String) -> Report {
        let wait = self.back_off.lengthen();
        self.due = Some(now + wait);
        Report::Died {
            name: self.plan.name.clone(),
            status,
            restart_in_ms: wait.as_millis() as u64,
        }
    }
}

/// Where the components' output goes.
pub enum Logs {
    /// A file for each in this directory.
    Files(PathBuf),
    /// To this process's own.
    Inherited,
}

/// The components and their states.
pub struct ProcessTable {
    components: Vec<Component>,
    logs: Logs,
    listener: Option<OwnedFd>,
}

impl ProcessTable {
    /// All components due at once.
    pub fn new(plans: Vec<ComponentPlan>, logs: Logs, listener: Option<OwnedFd>) -> Self {
        let now = Instant::now();
        let components = plans
            .into_iter()
            .map(|plan| Component { plan, running: None, due: Some(now), back_off: RESTART })
            .collect();
        Self { components, logs, listener }
    }

    /// Starts what is due; what needs the API waits for `api_ready`. What cannot be started (no
    /// process to be had, a full disk) is due again later, and reported.
    pub fn start_due(&mut self, now: Instant, api_ready: bool) -> Vec<Report> {
        let mut failed = Vec::new();
        for component in &mut self.components {
            if component.due_when(api_ready).is_none_or(|due| due > now) {
                continue;
            }
            match spawn(&component.plan, &self.logs, self.listener.as_ref()) {
                Ok(pid) => {
                    component.running = Some((pid, now));
                    component.due = None;
                }
                Err(error) => failed.push(component.back_off(now, format!("no start: {error:#}"))),
            }
        }
        failed
    }

    /// When the next start is due; it may be over already.
    pub fn next_start(&self, api_ready: bool) -> Option<Instant> {
        let due = self.components.iter().filter_map(|c| c.due_when(api_ready));
        due.min()
    }

    /// Notes that a process ended. `Some` where it was a component, which is due again.
    fn ended(&mut self, pid: Pid, status: WaitStatus, now: Instant) -> Option<Report> {
        let component = self
            .components
            .iter_mut()
            .find(|c| c.running.is_some_and(|(running, _)| running == pid))?;
        let (_, since) = component.running.take()?;
        if now.duration_since(since) >= STEADY {
            component.back_off.end();
        }
        Some(component.back_off(now, describe(status)))
    }

    /// Collects every dead child of this process, pods' orphans among them, and tells of those that
    /// were components. Returns whether any child is left.
    pub fn reap(&mut self, mut tell: impl FnMut(&Report)) -> Result<bool, Errno> {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => return Ok(true),
                Ok(status) => {
                    let pid = status.pid();
                    let report = pid.and_then(|pid| self.ended(pid, status, Instant::now()));
                    if let Some(report) = report {
                        tell(&report);
                    }
                }
                Err(Errno::ECHILD) => return Ok(false),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// The groups in the order in which they end.
    pub fn phases_last_first(&self) -> [Phase; 3] {
        [Phase::Nodes, Phase::Controllers, Phase::First]
    }

    /// Signals a group; nothing of it starts again.
    pub fn stop_phase(&mut self, phase: Phase, signal: Signal) {
        for component in self.components.iter_mut().filter(|c| c.plan.phase == phase) {
            component.due = None;
            if let Some((pid, _)) = component.running {
                // It may have died in this moment; it is reaped all the same.
                let _ = kill(pid, signal);
            }
        }
    }

    /// Whether any process of a group still runs.
    pub fn alive_in(&self, phase: Phase) -> bool {
        self.components.iter().any(|c| c.plan.phase == phase && c.running.is_some())
    }

    /// Keeps each log within its limit.
    pub fn bound_logs(&self) {
        let Logs::Files(directory) = &self.logs else {
            return;
        };
        for component in &self.components {
            let path = log_path(directory, &component.plan.name);
            let too_long = fs::metadata(&path).is_ok_and(|meta| meta.len() > MAX_LOG_BYTES);
            if too_long && fs::copy(&path, path.with_extension("log.old")).is_ok() {
                // The component appends, so it goes on at the new beginning.
                let _ = OpenOptions::new().write(true).open(&path).and_then(|f| f.set_len(0));
            }
        }
    }
}

/// Where a component's output goes.
pub fn log_path(logs: &Path, name: &str) -> PathBuf {
    logs.join(format!("{name}.log"))
}

fn spawn(plan: &ComponentPlan, logs: &Logs, listener: Option<&OwnedFd>) -> Result<Pid> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("coracle").args(&plan.args).stdin(Stdio::null());
    if let Logs::Files(directory) = logs {
        let path = log_path(directory, &plan.name);
        let log = File::options().create(true).append(true).open(path)?;
        command.stdout(log.try_clone()?).stderr(log);
    }
    let passed = match listener {
        Some(fd) if plan.takes_listener => {
            command.arg(LISTENER_FLAG).arg(fd.as_raw_fd().to_string());
            Some(fd.as_raw_fd())
        }
        _ => None,
    };
    // SAFETY: between fork and exec only async-signal-safe calls are made (prctl,
    // sigprocmask, fcntl).
    unsafe {
        command.pre_exec(move || {
            die_with_parent()?;
            // The supervisor takes its signals from a descriptor; the child as anybody else.
            SigSet::all().thread_unblock()?;
            if let Some(fd) = passed {
                keep_on_exec(&fd)?;
            }
            Ok(())
        });
    }
    let child = command.spawn()?;
    Ok(Pid::from_raw(child.id() as i32))
}

fn describe(status: WaitStatus) -> String {
    match status {
        WaitStatus::Exited(_, code) => format!("exit status {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("killed by {signal}"),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> ProcessTable {
        let plan = ComponentPlan {
            name: "a".to_owned(),
            phase: Phase::First,
            args: Vec::new(),
            takes_listener: false,
        };
        ProcessTable::new(vec![plan], Logs::Files("/nonexistent".into()), None)
    }

    #[test]
    fn what_cannot_be_started_is_tried_again_later() {
        // Its log cannot be opened: the same as a fork that fails.
        let mut table = table();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..3 {
            match table.start_due(now, false).as_slice() {
                [Report::Died { restart_in_ms, .. }] => waits.push(*restart_in_ms),
                other => panic!("{other:?}"),
            }
            assert!(table.start_due(now, false).is_empty(), "not due yet");
            now = table.components[0].due.expect("due again");
        }
        assert_eq!(waits, [50, 100, 200]);
        let logs = tempfile::tempdir().expect("a directory");
        table.logs = Logs::Files(logs.path().to_owned());
        // This test's own program takes no part: it is started, and that is all.
        table.components[0].plan.args = vec!["--list".to_owned()];
        assert!(table.start_due(now, false).is_empty());
        assert!(table.alive_in(Phase::First), "started when it can be");
        let (pid, _) = table.components[0].running.expect("a process");
        nix::sys::wait::waitpid(pid, None).expect("a child");
    }

    #[test]
    fn restarts_back_off_and_a_steady_component_starts_afresh() {
        let mut table = table();
        let pid = Pid::from_raw(42);
        let status = WaitStatus::Exited(pid, 1);
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for ran in [0, 0, 0, 0, 0, 0, 0, 0, 11] {
            table.components[0].running = Some((pid, now));
            now += Duration::from_secs(ran);
            match table.ended(pid, status, now) {
                Some(Report::Died { restart_in_ms, .. }) => waits.push(restart_in_ms),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 3200, 5000, 50]);
        assert_eq!(table.ended(Pid::from_raw(7), status, now), None, "an orphan");
    }
}
