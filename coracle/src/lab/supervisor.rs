//! Process 1 of the lab: builds the fabric, starts and restarts the components, reaps
//! orphans, makes sockets for the host, and ends everything in order. One thread, one
//! poll loop. It does not speak to the API: what it must know of that, the host tells it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::cluster::process_table::{
    ComponentPlan, Died, Logs, ProcessTable, asks_to_end, block_signals, wait,
};

use super::control::{self, Report, Request, SocketKind};
use super::{fabric, namespaces, topology::Topology};

/// How long pods' processes may take after the components have gone.
const ORPHAN_GRACE: Duration = Duration::from_millis(500);

/// All that the supervisor needs to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LabPlan {
    /// The network; `None`: no namespaces, the components run on the host as they are.
    pub topology: Option<Topology>,
    /// Directory for what lives as long as the lab; a tmpfs is mounted there.
    pub run: PathBuf,
    /// Directory of the components' logs.
    pub logs: PathBuf,
    /// What runs.
    pub components: Vec<ComponentPlan>,
}

/// Runs the lab until it is stopped or the host's end of `control` closes.
/// `listener`: the API's socket, bound on the host.
pub fn supervise(plan: LabPlan, control: OwnedFd, listener: Option<OwnedFd>) -> Result<()> {
    if plan.topology.is_some()
        && let Err((step, error)) = prepare(&plan, &control)
    {
        let errno = error.chain().find_map(errno_of).unwrap_or(0);
        let failed = Report::Failed { step: step.to_owned(), detail: format!("{error:#}"), errno };
        control::send(control.as_fd(), &failed, None)?;
        return Ok(());
    }
    control::send(control.as_fd(), &Report::FabricReady, None)?;
    let signals = block_signals()?;
    let isolated = plan.topology.is_some();
    let table = ProcessTable::new(plan.components, Logs::Files(plan.logs), listener);
    let mut supervisor =
        Supervisor { control, signals, table, run: plan.run, isolated, api_ready: false };
    supervisor.serve()
}

fn prepare(plan: &LabPlan, control: &OwnedFd) -> Result<(), (&'static str, anyhow::Error)> {
    let step = |name| move |error: Errno| (name, anyhow::Error::new(error));
    namespaces::isolate_mounts().map_err(step("make mounts private"))?;
    namespaces::mount_proc().map_err(step("mount proc"))?;
    namespaces::mount_scratch(&plan.run).map_err(step("mount a tmpfs"))?;
    nix::unistd::sethostname("coracle-lab").map_err(step("set the host name"))?;
    let Some(topology) = &plan.topology else {
        return Ok(());
    };
    let degraded = fabric::build(topology, &plan.run).map_err(|e| ("build the network", e))?;
    for detail in degraded {
        let report = Report::Degraded { detail };
        control::send(control.as_fd(), &report, None).map_err(|e| ("report", e.into()))?;
    }
    Ok(())
}

/// The system's error number inside an error, whichever library made it.
fn errno_of(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    if let Some(errno) = error.downcast_ref::<Errno>() {
        return Some(*errno as i32);
    }
    if let Some(error) = error.downcast_ref::<std::io::Error>() {
        return error.raw_os_error();
    }
    match error.downcast_ref::<rtnetlink::Error>() {
        Some(rtnetlink::Error::NetlinkError(message)) => message.to_io().raw_os_error(),
        _ => None,
    }
}

struct Supervisor {
    control: OwnedFd,
    signals: SignalFd,
    table: ProcessTable,
    run: PathBuf,
    isolated: bool,
    api_ready: bool,
}

impl Supervisor {
    fn serve(&mut self) -> Result<()> {
        loop {
            for died in self.table.start_due(Instant::now(), self.api_ready) {
                tell(self.control.as_fd(), died);
            }
            let next = self.table.next_start(self.api_ready);
            let [control, signals] = wait([self.control.as_fd(), self.signals.as_fd()], next)?;
            if signals {
                let stop = asks_to_end(&self.signals)?;
                self.reap()?;
                if stop {
                    return self.stop();
                }
            }
            if control && self.take_request()? {
                return self.stop();
            }
            self.table.bound_logs();
        }
    }

    /// Collects every dead child. Returns whether any child is left.
    fn reap(&mut self) -> Result<bool> {
        let control = self.control.as_fd();
        Ok(self.table.reap(|died| tell(control, died))?)
    }

    /// Does what the host asks. Returns whether it asks to end, or is gone.
    fn take_request(&mut self) -> Result<bool> {
        match control::receive::<Request>(self.control.as_fd()) {
            Ok(None) | Ok(Some((Request::Stop, _))) => Ok(true),
            Ok(Some((Request::ApiReady, _))) => {
                self.api_ready = true;
                Ok(false)
            }
            Ok(Some((Request::Socket { id, netns, kind }, _))) => {
                let made = self.make_socket(&netns, kind);
                let report =
                    Report::Socket { id, error: made.as_ref().err().map(|e| format!("{e:#}")) };
                let fd = made.as_ref().ok().map(AsFd::as_fd);
                control::send(self.control.as_fd(), &report, fd)?;
                Ok(false)
            }
            Err(error) if error.raw_os_error() == Some(Errno::ECONNRESET as i32) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    fn make_socket(&self, netns: &str, kind: SocketKind) -> Result<OwnedFd> {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
        let kind = match kind {
            SocketKind::Tcp => SockType::Stream,
            SocketKind::Udp => SockType::Datagram,
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        if !self.isolated {
            return Ok(socket(AddressFamily::Inet, kind, flags, None)?);
        }
        let home = fabric::netns_path(&self.run, super::topology::FABRIC);
        enter(&self.run, netns)?;
        let made = socket(AddressFamily::Inet, kind, flags, None);
        namespaces::enter_network(&home).context("return to the fabric")?;
        Ok(made?)
    }

    /// Ends the components in order, then pods' processes.
    fn stop(&mut self) -> Result<()> {
        let control = self.control.as_fd();
        self.table.stop(&self.signals, |died| tell(control, died))?;
        if self.isolated {
            self.end_orphans()?;
        }
        let _ = control::send(self.control.as_fd(), &Report::Stopped, None);
        Ok(())
    }

    fn end_orphans(&mut self) -> Result<()> {
        let deadline = Instant::now() + ORPHAN_GRACE;
        // To every process of the lab but this one; nobody outside is in reach.
        let _ = kill(Pid::from_raw(-1), Signal::SIGTERM);
        while self.reap()? && Instant::now() < deadline {
            let left = deadline.min(Instant::now() + Duration::from_millis(20));
            wait([self.signals.as_fd()], Some(left))?;
            while self.signals.read_signal()?.is_some() {}
        }
        Ok(())
    }
}

fn tell(control: BorrowedFd<'_>, died: Died) {
    // The host may be gone already; then the loop ends by itself.
    let _ = control::send(control, &Report::Died(died), None);
}

fn enter(run: &Path, netns: &str) -> Result<()> {
    anyhow::ensure!(
        !netns.is_empty() && !netns.contains(['/', '.']),
        "`{netns}` is no name of a namespace"
    );
    namespaces::enter_network(&fabric::netns_path(run, netns))
        .with_context(|| format!("enter the network namespace {netns}"))
}
