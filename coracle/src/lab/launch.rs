//! Starts the supervisor: from the host's side up to its exec, and from its own first
//! line up to `supervise`.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::libc;
use nix::sched::CloneFlags;
use nix::unistd::Pid;

use crate::cluster::exec::{die_with_parent, exec_self, keep_on_exec};
use crate::cluster::process_table::log_path;

use super::control;
use super::namespaces::{LAB_FLAGS, become_root, clone_child, map_ids};
use super::refusal::explain;
use super::supervisor::{LabPlan, supervise};

/// First argument of the supervisor's command line.
pub const SUPERVISOR_VERB: &str = "lab-supervisor";

/// A started supervisor.
pub struct Launched {
    /// Its number on the host.
    pub pid: Pid,
    /// The host's end of the control socket.
    pub control: OwnedFd,
}

/// Starts the supervisor for `plan`, in namespaces of its own where the plan has a
/// network. It ends when the calling thread ends. Call it while there is one thread.
pub fn launch(plan: &LabPlan, listener: OwnedFd) -> Result<Launched> {
    let isolated = plan.topology.is_some();
    let (host_end, lab_end) = control::pair()?;
    let (plan_reader, plan_writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let flags = if isolated { LAB_FLAGS } else { CloneFlags::empty() };
    let fds = [lab_end.as_raw_fd(), plan_reader.as_raw_fd(), listener.as_raw_fd()];
    let host_fds = [host_end.as_raw_fd(), plan_writer.as_raw_fd()];
    // SAFETY: no thread has been started yet; `up` makes its runtime after this.
    let child = unsafe {
        clone_child(flags, || {
            for fd in host_fds {
                // The copies of the host's ends: the reader must see the end of file.
                libc::close(fd);
            }
            let failed = become_supervisor(isolated, fds);
            eprintln!("coracle: cannot start the lab's supervisor: {failed}");
            1
        })
    };
    let pid = match child {
        Ok(pid) => pid,
        Err(errno) => bail!(explain("make namespaces", errno.desc(), errno as i32)),
    };
    drop((lab_end, plan_reader));
    let mut writer = File::from(plan_writer);
    if isolated && let Err(error) = map_ids(pid) {
        let errno = error.raw_os_error().unwrap_or(0);
        bail!(explain("map user ids into the user namespace", &error.to_string(), errno));
    }
    // The first byte says that the ids are mapped.
    writer.write_all(b"\n").context("the lab's supervisor ended at once")?;
    serde_json::to_writer(&writer, plan).context("the lab's supervisor ended at once")?;
    Ok(Launched { pid, control: host_end })
}

/// In the new process: waits for its ids, then becomes the supervisor's program.
fn become_supervisor(isolated: bool, fds: [RawFd; 3]) -> Errno {
    let prepare = || -> Result<(), Errno> {
        let mut byte = [0u8; 1];
        // SAFETY: a read into a buffer of one byte from a descriptor that is open.
        let read = unsafe { libc::read(fds[1], byte.as_mut_ptr().cast(), 1) };
        if Errno::result(read)? != 1 {
            return Err(Errno::EPIPE);
        }
        if isolated {
            become_root()?;
        }
        die_with_parent()?;
        // Away from the terminal: Ctrl-C is for the process on the host to pass on.
        nix::unistd::setsid()?;
        for fd in fds {
            keep_on_exec(&fd)?;
        }
        Ok(())
    };
    if let Err(errno) = prepare() {
        return errno;
    }
    let numbers = fds.map(|fd| fd.to_string());
    exec_self(&["coracle", SUPERVISOR_VERB, &numbers[0], &numbers[1], &numbers[2]])
}

/// The supervisor's program. `numbers`: control socket, plan, listener.
pub fn supervisor_main(numbers: &[String]) -> Result<()> {
    let [control, plan, listener] = numbers else {
        bail!("this command is started by `coracle up` and takes descriptors from it");
    };
    let (control, plan, listener) = (inherit(control)?, inherit(plan)?, inherit(listener)?);
    let mut text = String::new();
    File::from(plan).read_to_string(&mut text)?;
    let plan: LabPlan = serde_json::from_str(&text)?;
    let log = File::options().create(true).append(true).open(log_path(&plan.logs, "supervisor"))?;
    for output in [1, 2] {
        // SAFETY: both descriptors are open; standard output and error get a new meaning
        // before anything else holds them.
        Errno::result(unsafe { libc::dup2(log.as_raw_fd(), output) })?;
    }
    let outcome = supervise(plan, control, Some(listener));
    if let Err(error) = &outcome {
        eprintln!("supervisor: {error:#}");
    }
    outcome
}

fn inherit(number: &str) -> Result<OwnedFd> {
    let number: RawFd = number.parse().context("a descriptor's number")?;
    // SAFETY: asks for the flags of a number; whether it is open is what is asked.
    Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })
        .with_context(|| format!("descriptor {number} was not passed on"))?;
    // SAFETY: it is open, was passed to this process for this purpose, and is taken once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Where a component's log is, and its last lines, for an error message.
pub fn log_tail(logs: &std::path::Path, name: &str, lines_max: usize) -> String {
    let path = log_path(logs, name);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = &lines[lines.len().saturating_sub(lines_max)..];
    format!("{}\n  {}", path.display(), tail.join("\n  "))
}
