//! A component of the test's own, as a process that can be stopped, continued and killed.

use std::{
    fs::{self, File},
    io::Write,
    net::IpAddr,
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Stdio},
};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::{NamedTempFile, TempDir};

use crate::{Lab, wait_for};

/// An `/etc/hosts` of the test's own.
#[derive(Debug)]
pub struct Hosts(NamedTempFile);

impl Hosts {
    /// One in which `name` stands for these addresses.
    pub fn new(name: &str, addresses: &[IpAddr]) -> anyhow::Result<Self> {
        let mut file = NamedTempFile::new()?;
        for address in addresses {
            writeln!(file, "{address} {name}")?;
        }
        Ok(Self(file))
    }
}

/// Puts the first argument in the place of `/etc/hosts`, and becomes the rest.
const WITH_HOSTS: &str = r#"mount --bind "$1" /etc/hosts && shift && exec "$@""#;

/// A running (or ended) component.
#[derive(Debug)]
pub struct Component {
    process: Child,
    directory: TempDir,
}

impl Component {
    /// Starts `coracle ARGS`.
    pub fn start<'a>(args: impl IntoIterator<Item = &'a str>) -> anyhow::Result<Self> {
        Self::launch(Command::new(Lab::binary()).args(args))
    }

    /// Starts `coracle ARGS` in a mount namespace with that `/etc/hosts`.
    pub fn start_with_hosts<'a>(
        hosts: &Hosts,
        args: impl IntoIterator<Item = &'a str>,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "sh", "-c", WITH_HOSTS, "sh"]);
        command.arg(hosts.0.path()).arg(Lab::binary()).args(args);
        Self::launch(&mut command)
    }

    fn launch(command: &mut Command) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(directory.path().join("log"))?)
            .spawn()
            .context("the component does not start")?;
        Ok(Self { process, directory })
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, signal).expect("the component is a process of this test's own");
    }

    /// Waits for its end. None where a signal ended it, else its exit status.
    pub fn end(&mut self) -> Option<i32> {
        let ended = wait_for("the component's end", || {
            match self.process.try_wait().map_err(|error| error.to_string())? {
                Some(status) => Ok::<ExitStatus, String>(status),
                None => {
                    Err(fs::read_to_string(self.directory.path().join("log")).unwrap_or_default())
                }
            }
        });
        if ended.signal().is_some() {
            return None;
        }
        ended.code()
    }

    /// What it wrote to its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Waits until its log has these words.
    pub fn wait_for_log(&mut self, words: &str) {
        wait_for(words, || {
            let log = self.log();
            if log.contains(words) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.process.try_wait() {
                panic!("the component ended with {status}:\n{log}");
            }
            Err(log)
        });
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "--- a component's log ---\n{}", self.log());
        }
    }
}
