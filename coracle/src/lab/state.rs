//! What a data directory remembers: the lab's choices, kept for its next start, and the
//! running lab, for `status`, `down` and `exec`.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::cluster::pki::write_private;

use super::topology::Topology;

/// What stays the same from one start to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabConfig {
    /// The network.
    pub topology: Topology,
    /// The API's loopback address on the host.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// Longest pause before a container that keeps ending is started again, in seconds.
    #[serde(default = "default_restart_period_s")]
    pub max_restart_period_s: u32,
}

/// Upstream waits up to 300 s; somebody who watches a lab does not.
pub fn default_restart_period_s() -> u32 {
    10
}

/// A process, told from a later one with the same number by its start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Number on the host.
    pub pid: i32,
    /// Clock ticks from boot to its start.
    pub start_ticks: u64,
}

/// A running lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    /// The process on the host; the lab ends with it.
    pub host: ProcessId,
    /// Process 1 of the lab, by its number on the host.
    pub supervisor: ProcessId,
    /// The API on the host.
    pub server: String,
    /// The admin's kubeconfig.
    pub kubeconfig: PathBuf,
    /// Names of the nodes; empty without namespaces.
    pub nodes: Vec<String>,
    /// Seconds since 1970.
    pub started_at_s: i64,
    /// Whether all was ready once.
    pub ready: bool,
}

/// Paths below a data directory.
#[derive(Clone, Debug)]
pub struct DataDir {
    /// The directory itself, absolute.
    pub root: PathBuf,
}

impl DataDir {
    /// The given directory, or the user's default one. Does not create it.
    pub fn locate(given: Option<&Path>) -> Result<Self> {
        let root = match given {
            Some(path) => path.to_owned(),
            None => default_directory()?,
        };
        let root = std::path::absolute(&root)?;
        // `..` and links out of the way where possible: the address derives from the path.
        Ok(Self { root: root.canonicalize().unwrap_or(root) })
    }

    /// Creates the directory, open to its owner alone.
    pub fn create(&mut self) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .with_context(|| format!("create the data directory {}", self.root.display()))?;
        self.root = self.root.canonicalize()?;
        for sub in ["run", "logs", "host", "nodes", "kubeconfigs"] {
            fs::create_dir_all(self.root.join(sub))?;
        }
        Ok(())
    }

    /// A path below it.
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// Takes the directory for one lab; held until the file is dropped.
    pub fn lock(&self) -> Result<File> {
        let file = self.lock_file()?;
        if flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive).is_err() {
            let who = match self.run_state() {
                Some(state) => format!(" (process {}, {})", state.host.pid, state.server),
                None => String::new(),
            };
            bail!(
                "a lab is running on {}{who}: `coracle down` ends it, another --data-dir starts a second one",
                self.root.display()
            );
        }
        Ok(file)
    }

    /// The running lab. `None`: none runs here, whatever a file of a dead one says.
    pub fn running(&self) -> Result<Option<RunState>> {
        if !self.root.join("lock").exists() {
            return Ok(None);
        }
        let file = self.lock_file()?;
        if flock(file.as_fd(), FlockOperation::NonBlockingLockShared).is_ok() {
            return Ok(None);
        }
        Ok(self.run_state().filter(|state| state.host.is_alive()))
    }

    fn lock_file(&self) -> Result<File> {
        let path = self.root.join("lock");
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))
    }

    fn run_state(&self) -> Option<RunState> {
        serde_json::from_str(&fs::read_to_string(self.path("state.json")).ok()?).ok()
    }

    /// Writes down the running lab.
    pub fn save_run_state(&self, state: &RunState) -> Result<()> {
        write_private(&self.path("state.json"), &serde_json::to_string_pretty(state)?)
    }

    /// Forgets the running lab.
    pub fn clear_run_state(&self) {
        // A file left behind is recognised as stale by its start time.
        let _ = fs::remove_file(self.path("state.json"));
    }

    /// The choices of an earlier start.
    pub fn config(&self) -> Result<Option<LabConfig>> {
        let path = self.path("lab.json");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(serde_json::from_str(&text).with_context(|| {
                format!("{} is damaged; remove it to start with the defaults", path.display())
            })?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Keeps the choices for the next start.
    pub fn save_config(&self, config: &LabConfig) -> Result<()> {
        write_private(&self.path("lab.json"), &serde_json::to_string_pretty(config)?)
    }
}

fn default_directory() -> Result<PathBuf> {
    let base = match (std::env::var_os("XDG_DATA_HOME"), std::env::var_os("HOME")) {
        (Some(base), _) if !base.is_empty() => PathBuf::from(base),
        (_, Some(home)) if !home.is_empty() => PathBuf::from(home).join(".local/share"),
        _ => bail!("neither HOME nor XDG_DATA_HOME is set: say where with --data-dir"),
    };
    Ok(base.join("coracle/default"))
}

impl ProcessId {
    /// The process with this number now.
    pub fn of(pid: i32) -> Result<Self> {
        let start_ticks = start_ticks(pid).with_context(|| format!("no process {pid}"))?;
        Ok(Self { pid, start_ticks })
    }

    /// Whether it is still that process.
    pub fn is_alive(&self) -> bool {
        start_ticks(self.pid) == Some(self.start_ticks)
    }

    /// Signals it and nobody else. Does nothing if it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(());
        };
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
            return Ok(());
        };
        // The handle is of one process for good: check after taking it.
        if self.is_alive() {
            pidfd_send_signal(handle, signal)
                .with_context(|| format!("signal process {}", self.pid))?;
        }
        Ok(())
    }
}

/// Field 22 of /proc/PID/stat; the name in field 2 may hold anything, so count from its end.
fn start_ticks(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_labs_state_counts_for_nothing() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut data = DataDir::locate(Some(dir.path())).expect("locate");
        data.create().expect("create");
        let host = ProcessId::of(std::process::id() as i32).expect("self");
        assert!(host.is_alive());
        let other = ProcessId { start_ticks: host.start_ticks + 1, ..host };
        assert!(!other.is_alive());
        let state = RunState {
            host,
            supervisor: host,
            server: "https://127.1.2.3:6443".to_owned(),
            kubeconfig: data.path("kubeconfig"),
            nodes: Vec::new(),
            started_at_s: 0,
            ready: true,
        };
        data.save_run_state(&state).expect("save");
        assert_eq!(data.running().expect("running"), None, "nobody holds the lock");
        let lock = data.lock().expect("lock");
        assert_eq!(data.running().expect("running"), Some(state));
        let refused = data.lock().expect_err("a second lab").to_string();
        assert!(refused.contains("https://127.1.2.3:6443"), "{refused}");
        drop(lock);
    }
}
