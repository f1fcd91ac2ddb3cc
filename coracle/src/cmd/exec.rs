//! `coracle exec NODE -- CMD`: one of this machine's programs inside a node's namespaces.
//! Never runs anything in a pod: that is `kubectl exec`.

use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{Pid, isatty, tcgetpgrp, tcsetpgrp};

use super::LabArgs;
use crate::cluster::exec::die_with_parent;
use crate::lab::fabric::netns_path;
use crate::lab::namespaces::{LabNamespaces, enter_network, own_hostname};
use crate::lab::state::DataDir;
use crate::lab::topology::OUTSIDE;

/// Exit statuses that shells use where a command could not be run.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Options of `exec`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    lab: LabArgs,
    /// A node's name, or `outside` for the client outside the cluster.
    node: String,
    /// Program and arguments; a shell if there are none.
    #[arg(last = true)]
    command: Vec<String>,
}

/// Runs the program and returns its exit status.
pub fn run(options: Options) -> Result<u8> {
    let data = DataDir::locate(options.lab.data_dir.as_deref())?;
    let Some(state) = data.running()? else {
        bail!("no lab runs on {}: `coracle up` starts one", data.root.display());
    };
    if state.nodes.is_empty() {
        bail!("this lab has no nodes: it was started with --control-plane-only");
    }
    if options.node != OUTSIDE && !state.nodes.contains(&options.node) {
        bail!(
            "`{}` is no node of this lab: choose one of {}, {OUTSIDE}",
            options.node,
            state.nodes.join(", ")
        );
    }
    let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    LabNamespaces::open(state.supervisor.pid)
        .and_then(|lab| Ok(lab.enter()?))
        .context("enter the lab's namespaces (only the user who started it can)")?;
    enter_network(&netns_path(&data.path("run"), &options.node))
        .with_context(|| format!("enter {}", options.node))?;
    own_hostname(&options.node)?;
    // The same path leads to the same directory inside, where it is still there.
    let _ = std::env::set_current_dir(directory);
    start(&options)
}

fn start(options: &Options) -> Result<u8> {
    let words = match options.command.as_slice() {
        [] => vec![std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned())],
        words => words.to_vec(),
    };
    let Some((program, args)) = words.split_first() else {
        bail!("there is nothing to run");
    };
    let mut command = Command::new(program);
    command.args(args).process_group(0);
    command.env("PATH", with_system_programs(std::env::var("PATH").ok()));
    if options.command.is_empty() {
        command.env("PS1", format!("[{}] \\w # ", options.node));
    }
    // SAFETY: prctl alone is called between fork and exec.
    unsafe {
        command.pre_exec(|| Ok(die_with_parent()?));
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("coracle: {program}: {error}");
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            return Ok(if missing { NOT_FOUND } else { CANNOT_RUN });
        }
    };
    let terminal = Terminal::lend(Pid::from_raw(child.id() as i32));
    let status = child.wait()?;
    drop(terminal);
    Ok(match (status.code(), status.signal()) {
        (Some(code), _) => code as u8,
        (None, Some(signal)) => 128 + signal as u8,
        (None, None) => CANNOT_RUN,
    })
}

/// Who enters is root inside, and root's PATH has these.
fn with_system_programs(path: Option<String>) -> String {
    let path = path.unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".to_owned());
    let has = |directory: &&str| path.split(':').any(|part| part == *directory);
    let missing = ["/usr/local/sbin", "/usr/sbin", "/sbin"].into_iter();
    let missing: Vec<&str> = missing.filter(|directory| !has(directory)).collect();
    [&[path.as_str()], missing.as_slice()].concat().join(":")
}

/// The terminal, while the program inside has it: it is in a process group of its own,
/// since a shell in another process namespace does not see ours.
struct Terminal {
    ours: Option<Pid>,
}

impl Terminal {
    fn lend(to: Pid) -> Self {
        let stdin = std::io::stdin();
        let fd = stdin.as_fd();
        let ours = if isatty(fd).unwrap_or(false) { tcgetpgrp(fd).ok() } else { None };
        if ours.is_some() {
            ignore_background_stop();
            let _ = tcsetpgrp(fd, to);
        }
        Self { ours }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(ours) = self.ours {
            let _ = tcsetpgrp(std::io::stdin().as_fd(), ours);
        }
    }
}

/// Taking the terminal back from the background must not stop this process.
fn ignore_background_stop() {
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: ignoring a signal installs no code.
    let _ = unsafe { sigaction(Signal::SIGTTOU, &ignore) };
}

#[cfg(test)]
mod tests {
    use super::with_system_programs;

    #[test]
    fn an_ordinary_users_path_gets_roots_directories() {
        for (path, wanted) in [
            ("/usr/bin:/sbin", "/usr/bin:/sbin:/usr/local/sbin:/usr/sbin"),
            ("/usr/local/sbin:/usr/sbin:/sbin", "/usr/local/sbin:/usr/sbin:/sbin"),
        ] {
            assert_eq!(with_system_programs(Some(path.to_owned())), wanted);
        }
    }
}
