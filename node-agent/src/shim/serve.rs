//! The shim at work: requests from the agent, one a connection and a thread each.
//!
//! Ground state is the processes; the list of instances is only what has been seen of them.
//! Never persists anything: a shim that ends takes its containers along.

use std::convert::Infallible;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::instance::{Console, Streams, reap, start, start_container, wait};
use super::protocol::{
    Exit, InstanceExit, InstanceState, Kind, Request, Response, parse_json, read_frame, write_json,
};
use super::spec::{ContainerSpec, ExecSpec, Launch, SandboxSpec};
use super::stream::{Sink, pump, resize, send, send_end_of_file};

/// Connections served at once; further ones are closed at once.
const MAX_CONNECTIONS: usize = 256;
/// Instances remembered after their end, per shim: the oldest are forgotten first.
const MAX_ENDED: usize = 64;
/// How long a client may not read before it is dropped, so that no container waits for it.
const CLIENT_WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long output is waited for after a command's end, where a process it left holds the stream open.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a watcher that sees no change waits before it proves that its client is still there.
const WATCH_IDLE: Duration = Duration::from_secs(30);

struct Entry {
    state: InstanceState,
    spec: ContainerSpec,
    console: Arc<Console>,
}

struct Shim {
    mount_point: PathBuf,
    entries: Mutex<(u64, Vec<Entry>)>,
    changed: Condvar,
    connections: AtomicUsize,
}

/// Serves until asked to shut down, which ends the process.
pub(super) fn run(spec: &SandboxSpec, listener: &UnixListener) -> Result<Infallible> {
    let shim = Arc::new(Shim {
        mount_point: spec.directory.join("root"),
        entries: Mutex::default(),
        changed: Condvar::new(),
        connections: AtomicUsize::new(0),
    });
    loop {
        let (connection, _) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => bail!("accept: {error}"),
        };
        if shim.connections.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
            shim.connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let served = shim.clone();
        let thread = thread::Builder::new().name("connection".into()).stack_size(256 << 10).spawn(
            move || {
                serve(&served, connection).ok();
                served.connections.fetch_sub(1, Ordering::Relaxed);
            },
        );
        if thread.is_err() {
            shim.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn serve(shim: &Arc<Shim>, mut connection: UnixStream) -> Result<()> {
    connection.set_write_timeout(Some(CLIENT_WRITE_TIMEOUT))?;
    let (_, payload) = read_frame(&mut connection)?.context("no request")?;
    let result = match parse_json(&payload)? {
        Request::Start(spec) => shim.start(*spec),
        Request::Signal { id, signal } => shim.signal(&id, signal),
        Request::Watch => return shim.watch(connection),
        Request::Exec(spec) => match shim.exec(&spec) {
            Ok((pid, streams)) => {
                write_json(&mut connection, Kind::Response, &Response::Done)?;
                return serve_command(pid, streams, connection);
            }
            Err(error) => Err(error),
        },
        Request::Attach { id } => match shim.find(&id) {
            Ok(console) => {
                write_json(&mut connection, Kind::Response, &Response::Done)?;
                return serve_attached(&console, connection);
            }
            Err(error) => Err(error),
        },
        Request::Shutdown => shim.shut_down(&mut connection),
    };
    let answer = match result {
        Ok(()) => Response::Done,
        Err(error) => Response::Error(format!("{error:#}")),
    };
    Ok(write_json(&mut connection, Kind::Response, &answer)?)
}

impl Shim {
    fn lock(&self) -> MutexGuard<'_, (u64, Vec<Entry>)> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, edit: impl FnOnce(&mut Vec<Entry>)) {
        let mut entries = self.lock();
        edit(&mut entries.1);
        entries.0 += 1;
        drop(entries);
        self.changed.notify_all();
    }

    fn start(self: &Arc<Self>, spec: ContainerSpec) -> Result<()> {
        let id = spec.id.clone();
        if self.lock().1.iter().any(|entry| entry.state.id == id) {
            return Ok(());
        }
        let (pid, console, pumps) = start_container(spec.clone(), &self.mount_point)?;
        let state = InstanceState {
            id: id.clone(),
            name: spec.name.clone(),
            attempt: spec.attempt,
            pid,
            started_ms: now_ms(),
            exit: None,
        };
        self.change(|entries| {
            entries.push(Entry { state, spec, console: console.clone() });
            let ended = entries.iter().filter(|entry| entry.state.exit.is_some()).count();
            if ended > MAX_ENDED
                && let Some(oldest) = entries.iter().position(|entry| entry.state.exit.is_some())
            {
                entries.remove(oldest);
            }
        });
        let shim = self.clone();
        thread::Builder::new().name("wait".into()).stack_size(128 << 10).spawn(move || {
            let (code, signal) = wait(pid);
            // All its processes have gone with its pid namespace, so its streams end too.
            pumps.into_iter().for_each(|pump| drop(pump.join()));
            let exit = InstanceExit { code, signal, finished_ms: now_ms() };
            for sink in console.detach_all() {
                let exit = Exit { code, error: String::new() };
                send(&sink, Kind::Exit, &serde_json::to_vec(&exit).unwrap_or_default()).ok();
            }
            console.stdin.lock().unwrap_or_else(PoisonError::into_inner).take();
            shim.change(|entries| {
                if let Some(entry) = entries.iter_mut().find(|entry| entry.state.id == id) {
                    entry.state.exit = Some(exit);
                }
            });
            reap(pid);
        })?;
        Ok(())
    }

    fn running(entry: &Entry, id: &str) -> bool {
        entry.state.id == id && entry.state.exit.is_none()
    }

    fn signal(&self, id: &str, signal: i32) -> Result<()> {
        let signal = Signal::try_from(signal).context("no such signal")?;
        // Under the lock: a process is marked as ended, under it too, before its number can be used again.
        let entries = self.lock();
        if let Some(entry) = entries.1.iter().find(|entry| Self::running(entry, id)) {
            kill(Pid::from_raw(entry.state.pid), signal).ok();
        }
        Ok(())
    }

    fn find(&self, id: &str) -> Result<Arc<Console>> {
        let entries = self.lock();
        let entry = entries.1.iter().find(|entry| Self::running(entry, id));
        entry
            .map(|entry| entry.console.clone())
            .ok_or_else(|| anyhow!("the container is not running"))
    }

    fn exec(&self, spec: &ExecSpec) -> Result<(i32, Streams)> {
        let launch = {
            let entries = self.lock();
            let entry = entries
                .1
                .iter()
                .find(|entry| Self::running(entry, &spec.id))
                .context("the container is not running")?;
            let mut env = entry.spec.env.clone();
            if spec.tty && !env.iter().any(|(name, _)| name == "TERM") {
                env.push(("TERM".into(), "xterm".into()));
            }
            Launch::Exec {
                pid: entry.state.pid,
                argv: spec.argv.clone(),
                env,
                cwd: entry.spec.cwd.clone(),
                tty: spec.tty,
                privileged: entry.spec.privileged,
                add_capabilities: entry.spec.add_capabilities.clone(),
            }
        };
        let Launch::Exec { pid, .. } = &launch else { bail!("not a command") };
        // From the container's own devpts, so that `tty` names it there.
        let terminal = format!("/proc/{pid}/root/dev/pts/ptmx");
        start(&launch, spec.tty.then_some(terminal.as_str()), spec.stdin)
    }

    fn watch(&self, mut connection: UnixStream) -> Result<()> {
        let mut seen = None;
        loop {
            let (version, states) = {
                let mut entries = self.lock();
                if seen == Some(entries.0) {
                    (entries, _) = self
                        .changed
                        .wait_timeout(entries, WATCH_IDLE)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                (entries.0, entries.1.iter().map(|entry| entry.state.clone()).collect())
            };
            seen = Some(version);
            write_json(&mut connection, Kind::Response, &Response::State(states))?;
        }
    }

    /// Kills all containers, waits for their ends, answers, and ends the process.
    fn shut_down(&self, connection: &mut UnixStream) -> Result<()> {
        let mut entries = self.lock();
        loop {
            let running: Vec<i32> = entries
                .1
                .iter()
                .filter(|entry| entry.state.exit.is_none())
                .map(|entry| entry.state.pid)
                .collect();
            if running.is_empty() {
                break;
            }
            for pid in running {
                kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
            }
            entries = self.changed.wait(entries).unwrap_or_else(PoisonError::into_inner);
        }
        write_json(connection, Kind::Response, &Response::Done).ok();
        std::process::exit(0);
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Streams of one command, until it has ended or its client has gone (then it is ended).
fn serve_command(pid: i32, streams: Streams, connection: UnixStream) -> Result<()> {
    let sink: Sink = Arc::new(Mutex::new(connection.try_clone()?));
    let Streams { mut stdin, terminal, stdout, stderr } = streams;
    let is_terminal = terminal.is_some();
    let (drained, drain) = std::sync::mpsc::channel::<()>();
    for (fd, kind) in [(stdout, Kind::Stdout), (stderr, Kind::Stderr)] {
        let Some(fd) = fd else { continue };
        let (sink, drained) = (sink.clone(), drained.clone());
        pump(fd, move |bytes| {
            let _until_drained = &drained;
            send(&sink, kind, bytes).ok();
        })?;
    }
    drop(drained);
    let gone = Arc::new(Mutex::new(false));
    let (input_gone, mut input) = (gone.clone(), connection.try_clone()?);
    thread::Builder::new().name("input".into()).stack_size(128 << 10).spawn(move || {
        while let Ok(Some((kind, payload))) = read_frame(&mut input) {
            take_input(kind, &payload, &mut stdin, terminal.as_ref());
        }
        let gone = input_gone.lock().unwrap_or_else(PoisonError::into_inner);
        if !*gone {
            kill(Pid::from_raw(pid), if is_terminal { Signal::SIGHUP } else { Signal::SIGKILL })
                .ok();
        }
    })?;
    let (code, _) = wait(pid);
    *gone.lock().unwrap_or_else(PoisonError::into_inner) = true;
    reap(pid);
    // `Err(Disconnected)` is the good case: all output has been sent.
    drain.recv_timeout(DRAIN_TIMEOUT).ok();
    let exit = Exit { code, error: String::new() };
    send(&sink, Kind::Exit, &serde_json::to_vec(&exit)?)?;
    Ok(connection.shutdown(std::net::Shutdown::Both)?)
}

fn take_input(
    kind: Kind,
    payload: &[u8],
    stdin: &mut Option<std::fs::File>,
    terminal: Option<&std::os::fd::OwnedFd>,
) {
    use std::io::Write;
    match (kind, stdin.as_ref()) {
        (Kind::Stdin, Some(file)) if (&*file).write_all(payload).is_err() => *stdin = None,
        (Kind::CloseStdin, Some(file)) if terminal.is_some() => send_end_of_file(file),
        (Kind::CloseStdin, _) => *stdin = None,
        (Kind::Resize, _) => {
            if let (Some(terminal), Ok(size)) = (terminal, parse_json(payload)) {
                resize(terminal, size).ok();
            }
        }
        _ => {}
    }
}

/// A container's own streams, until it has ended or the client has gone.
fn serve_attached(console: &Console, mut connection: UnixStream) -> Result<()> {
    let sink: Sink = Arc::new(Mutex::new(connection.try_clone()?));
    console.attach(sink.clone())?;
    while let Ok(Some((kind, payload))) = read_frame(&mut connection) {
        if kind == Kind::CloseStdin && !console.stdin_once {
            continue;
        }
        let mut stdin = console.stdin.lock().unwrap_or_else(PoisonError::into_inner);
        take_input(kind, &payload, &mut stdin, console.terminal.as_ref());
    }
    console.detach(&sink);
    Ok(())
}
