//! One container instance or command: started, watched, waited for.
//!
//! Starting executes this program again, so no code runs between fork and exec of a threaded
//! process. Never restarts anything.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use super::LAUNCH_MARKER;
use super::log::{LineCutter, LogWriter};
use super::protocol::{Kind, read_frame, write_frame, write_json};
use super::spec::{ContainerSpec, Launch};
use super::stream::{Sink, keep_on_exec, open_terminal, pipe, pump, send};

/// Clients that may be attached to one instance; a further one is refused.
const MAX_ATTACHED: usize = 16;

/// The shim's ends of a process's standard streams.
pub(super) struct Streams {
    /// Where input goes; `None` once closed.
    pub stdin: Option<File>,
    /// The terminal, where there is one: `stdin` is then a second handle on it.
    pub terminal: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// Starts the process that `launch` describes; returns the pid that stays, and its streams.
pub(super) fn start(
    launch: &Launch,
    tty_path: Option<&str>,
    stdin: bool,
) -> Result<(i32, Streams)> {
    let (report, theirs) = UnixStream::pair().context("make a report socket")?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(LAUNCH_MARKER).arg(theirs.as_raw_fd().to_string()).env_clear();
    let streams = connect_streams(&mut command, tty_path, stdin)?;
    let fd = theirs.as_raw_fd();
    // SAFETY: the closure makes one async-signal-safe system call.
    unsafe { command.pre_exec(move || keep_on_exec(&fd)) };
    let mut child = command.spawn().context("start a process")?;
    drop(command);
    drop(theirs);
    let pid = shake_hands(report, launch, &mut child);
    // Without a pid to stay there is an error, and the child ends by itself.
    let pid = pid.inspect_err(|_| drop(child.wait()))?;
    Ok((pid, streams))
}

fn shake_hands(
    mut report: UnixStream,
    launch: &Launch,
    child: &mut std::process::Child,
) -> Result<i32> {
    write_json(&mut report, Kind::Request, launch)?;
    let ended = "the process ended before it reported";
    let pid = match read_frame(&mut report)?.context(ended)? {
        (Kind::Request, pid) => {
            String::from_utf8_lossy(&pid).parse::<i32>().context("the process's pid")?
        }
        (_, error) => return Err(anyhow!("{}", String::from_utf8_lossy(&error))),
    };
    // The one that stays becomes this process's child when the one between has gone; only then may it go on.
    child.wait()?;
    // Killed meanwhile (its container ends, say) it must be waited for as well: the first process
    // of a pid namespace does not end while one of the others is unreaped.
    let_go(report).inspect_err(|_| reap(pid))?;
    Ok(pid)
}

/// Lets the process that stays become its program, and waits until it has.
fn let_go(mut report: UnixStream) -> Result<()> {
    write_frame(&mut report, Kind::Request, b"go")
        .context("the process ended before its program ran")?;
    match read_frame(&mut report)? {
        Some((_, error)) => Err(anyhow!("{}", String::from_utf8_lossy(&error))),
        None => Ok(()),
    }
}

fn connect_streams(command: &mut Command, tty_path: Option<&str>, stdin: bool) -> Result<Streams> {
    if let Some(path) = tty_path {
        let (master, slave) =
            open_terminal(path).with_context(|| format!("open a terminal from {path}"))?;
        command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
        return Ok(Streams {
            stdin: Some(master.try_clone()?.into()),
            stdout: Some(master.try_clone()?),
            stderr: None,
            terminal: Some(master),
        });
    }
    let mut streams = Streams { stdin: None, terminal: None, stdout: None, stderr: None };
    if stdin {
        let (read, write) = pipe()?;
        command.stdin(read);
        streams.stdin = Some(write.into());
    } else {
        command.stdin(Stdio::null());
    }
    let (read, write) = pipe()?;
    command.stdout(write);
    streams.stdout = Some(read);
    let (read, write) = pipe()?;
    command.stderr(write);
    streams.stderr = Some(read);
    Ok(streams)
}

/// Waits for the end of a child of the shim: exit code (128 + signal) and signal (or 0). Its
/// number stays its own until [`reap`].
pub(super) fn wait(pid: i32) -> (i32, i32) {
    loop {
        match waitid(Id::Pid(Pid::from_raw(pid)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Ok(WaitStatus::Exited(_, code)) => return (code, 0),
            Ok(WaitStatus::Signaled(_, signal, _)) => return (128 + signal as i32, signal as i32),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            // Not a child any more: nothing is known of its end.
            Err(_) => return (255, 0),
        }
    }
}

/// Lets go of an ended child's number: from here on it must not be signalled.
pub(super) fn reap(pid: i32) {
    while waitpid(Pid::from_raw(pid), None) == Err(nix::errno::Errno::EINTR) {}
}

/// A container instance's input and listeners, kept by the shim.
pub(super) struct Console {
    pub stdin: Mutex<Option<File>>,
    pub terminal: Option<OwnedFd>,
    /// The first client to close its input closes the container's.
    pub stdin_once: bool,
    attached: Mutex<Vec<Sink>>,
}

impl Console {
    /// Adds a client that gets all output from now on.
    pub(super) fn attach(&self, sink: Sink) -> io::Result<()> {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        if attached.len() >= MAX_ATTACHED {
            return Err(io::Error::other(format!("{MAX_ATTACHED} clients are attached already")));
        }
        attached.push(sink);
        Ok(())
    }

    /// Takes one client off the list.
    pub(super) fn detach(&self, sink: &Sink) {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        attached.retain(|other| !Arc::ptr_eq(other, sink));
    }

    /// The attached clients, none of whom gets more output.
    pub(super) fn detach_all(&self) -> Vec<Sink> {
        std::mem::take(&mut *self.attached.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn broadcast(&self, kind: Kind, bytes: &[u8]) {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        attached.retain(|sink| send(sink, kind, bytes).is_ok());
    }
}

/// Starts a container: its pid, its console, and the threads that end with its output.
pub(super) fn start_container(
    spec: ContainerSpec,
    mount_point: &Path,
) -> Result<(i32, Arc<Console>, Vec<JoinHandle<()>>)> {
    let log = Arc::new(Mutex::new(
        LogWriter::open(&spec.log).with_context(|| format!("open log {}", spec.log.display()))?,
    ));
    let tty = spec.tty.then_some("/dev/ptmx");
    let (stdin, stdin_once) = (spec.stdin, spec.stdin_once);
    let (pid, streams) =
        start(&Launch::Container { spec, mount_point: mount_point.to_owned() }, tty, stdin)?;
    let console = Arc::new(Console {
        stdin: Mutex::new(streams.stdin),
        terminal: streams.terminal,
        stdin_once,
        attached: Mutex::default(),
    });
    let mut pumps = Vec::new();
    for (fd, name, kind) in
        [(streams.stdout, "stdout", Kind::Stdout), (streams.stderr, "stderr", Kind::Stderr)]
    {
        let Some(fd) = fd else { continue };
        let (log, console) = (log.clone(), console.clone());
        let mut lines = Lines { cutter: LineCutter::new(name), log };
        pumps.push(pump(fd, move |bytes| {
            lines.push(bytes);
            console.broadcast(kind, bytes);
        })?);
    }
    Ok((pid, console, pumps))
}

/// A stream's way into the log; its last words are written when it is dropped.
struct Lines {
    cutter: LineCutter,
    log: Arc<Mutex<LogWriter>>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        self.cutter.push(bytes, &mut self.log.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.cutter.finish(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
