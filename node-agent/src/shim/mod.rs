//! The shim: one small process a pod that owns the pod's processes, exit statuses, logs and terminals.
//!
//! It is this same program, executed again with a marker as its first argument, and answers on
//! a Unix socket in the pod's directory. The agent may be killed and started again: shims stay,
//! and are found through their sockets. With a shim's end end its containers. A shim never
//! talks to the API server and knows nothing of pods but their processes.

mod capabilities;
mod instance;
mod launch;
mod log;
mod network;
pub mod protocol;
mod root;
mod serve;
pub mod spec;
mod stream;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{ForkResult, fork, setsid};

pub use capabilities::{all as all_capabilities, number as capability_number};
pub use log::LOG_MAX_BYTES;
pub use network::{GATEWAY, node_side_name};

use spec::SandboxSpec;

/// First argument of a process that is a pod's shim.
const SHIM_MARKER: &str = "__coracle-pod-shim";
/// First argument of a process that becomes a container's.
const LAUNCH_MARKER: &str = "__coracle-launch";
/// What a shim says on its standard output once it serves.
const READY: &str = "ready";
/// Name of the socket in a pod's directory.
const SOCKET: &str = "shim.sock";

/// Turns the calling process into a shim or a container, where its arguments say so, and then
/// never returns. To be called first of all in `main`: before any thread or runtime exists.
pub fn main_if_shim() {
    let mut arguments = std::env::args_os().skip(1);
    let Some(marker) = arguments.next() else {
        return;
    };
    let code = if marker == SHIM_MARKER {
        let Err(error) = main_of_shim();
        // The agent reads the first line; without a reader there is no one to tell.
        writeln!(std::io::stdout(), "{error:#}").ok();
        1
    } else if marker == LAUNCH_MARKER {
        let fd = arguments.next().and_then(|fd| fd.to_str()?.parse().ok());
        fd.map_or(2, launch::main)
    } else {
        return;
    };
    std::process::exit(code);
}

/// Starts a pod's shim, which makes the pod's namespaces, and waits until it serves. Blocks.
///
/// `program` is an executable whose `main` begins with [`main_if_shim`].
pub fn start(program: &Path, spec: &SandboxSpec) -> Result<()> {
    std::fs::create_dir_all(&spec.directory)
        .with_context(|| format!("make {}", spec.directory.display()))?;
    std::fs::remove_file(spec.directory.join(SOCKET)).ok();
    let errors = File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(spec.directory.join("shim.log"))
        .context("open shim.log")?;
    let mut child = Command::new(program)
        .arg(SHIM_MARKER)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .with_context(|| format!("start a shim from {}", program.display()))?;
    let mut input = child.stdin.take().context("the shim's standard input")?;
    let mut output = child.stdout.take().context("the shim's standard output")?;
    serde_json::to_writer(&mut input, spec)?;
    drop(input);
    let mut answer = String::new();
    output.read_to_string(&mut answer)?;
    child.wait()?;
    match answer.trim() {
        READY => Ok(()),
        "" => bail!(
            "the pod's shim ended before it served; see {}",
            spec.directory.join("shim.log").display()
        ),
        error => bail!("{error}"),
    }
}

/// A path of any length to the socket in `directory`, valid while `opened` lives: a socket's own
/// path may have 107 bytes only.
pub fn socket_path(opened: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", opened.as_raw_fd()))
}

fn main_of_shim() -> Result<std::convert::Infallible> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let spec: SandboxSpec =
        serde_json::from_str(&text).context("read the sandbox's description")?;
    setsid().context("leave the agent's session")?;
    // SAFETY: this process has one thread, so the child may run any code.
    if let ForkResult::Parent { .. } = unsafe { fork() }.context("fork")? {
        std::process::exit(0);
    }
    nix::sys::prctl::set_child_subreaper(true)
        .context("become the reaper of the pod's processes")?;
    nix::sys::prctl::set_name(c"pod-shim").ok();
    make_namespaces(&spec)?;
    let directory = File::open(&spec.directory)?;
    let listener = std::os::unix::net::UnixListener::bind(socket_path(&directory))
        .context("listen on the pod's socket")?;
    leave_agents_streams()?;
    serve::run(&spec, &listener)
}

fn make_namespaces(spec: &SandboxSpec) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWIPC).context("make an IPC namespace")?;
    if let Some(network) = &spec.network {
        network::enter_new(&spec.uid, network)?;
        unshare(CloneFlags::CLONE_NEWUTS).context("make a UTS namespace")?;
        nix::unistd::sethostname(&spec.hostname).context("set the pod's host name")?;
    }
    Ok(())
}

/// Says that the shim serves, and lets go of the pipes to the agent.
fn leave_agents_streams() -> Result<()> {
    println!("{READY}");
    std::io::stdout().flush()?;
    let null =
        File::options().read(true).write(true).open("/dev/null").context("open /dev/null")?;
    nix::unistd::dup2_stdin(null.as_fd())?;
    nix::unistd::dup2_stdout(null.as_fd())?;
    std::env::set_current_dir("/").context("leave the working directory")
}
