//! The life of a process between `exec` of this program and `exec` of the container's: it makes or
//! joins namespaces, forks the one that stays, and tells its shim what became of it.
//!
//! Over the report socket: shim → the [`Launch`]; process → the pid that stays; shim → go;
//! process → an error, or nothing: the socket closes when the program runs. Single-threaded
//! throughout, so that code between fork and exec may do anything.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{ForkResult, chdir, execve, fork, setsid};

use super::capabilities;
use super::protocol::{Kind, parse_json, read_frame, write_frame};
use super::root;
use super::spec::Launch;

/// Looked in where the environment names no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Exit status where the program could not be started, as shells have it.
const CANNOT_START: i32 = 127;

/// Runs in the freshly executed process; `report_fd` is the inherited report socket.
pub fn main(report_fd: RawFd) -> i32 {
    // SAFETY: the shim passed this open socket to this process alone, and nothing else here owns it.
    let mut report = unsafe { UnixStream::from_raw_fd(report_fd) };
    match prepare(&mut report) {
        Ok(Staying::No) => 0,
        Ok(Staying::Yes(launch)) => {
            let Err(error) = become_program(&report, launch);
            write_frame(&mut report, Kind::Response, format!("{error:#}").as_bytes()).ok();
            CANNOT_START
        }
        Err(error) => {
            write_frame(&mut report, Kind::Response, format!("{error:#}").as_bytes()).ok();
            CANNOT_START
        }
    }
}

enum Staying {
    /// This process only made the one that stays.
    No,
    Yes(Box<Launch>),
}

fn prepare(report: &mut UnixStream) -> Result<Staying> {
    let (_, payload) = read_frame(report)?.context("the shim has gone")?;
    let launch: Launch = parse_json(&payload)?;
    match &launch {
        Launch::Container { .. } => unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID)
            .context("make mount and pid namespaces")?,
        Launch::Exec { pid, .. } => join(*pid)?,
    }
    // SAFETY: this process has one thread, so the child may run any code.
    match unsafe { fork() }.context("fork")? {
        ForkResult::Parent { child } => {
            write_frame(report, Kind::Request, child.as_raw().to_string().as_bytes())?;
            Ok(Staying::No)
        }
        ForkResult::Child => {
            read_frame(report)?.context("the shim has gone")?;
            Ok(Staying::Yes(Box::new(launch)))
        }
    }
}

/// Enters the namespaces of the container whose first process is `pid`.
fn join(pid: i32) -> Result<()> {
    let kinds = [
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("net", CloneFlags::CLONE_NEWNET),
        ("pid", CloneFlags::CLONE_NEWPID),
        ("mnt", CloneFlags::CLONE_NEWNS),
    ];
    let mut opened = Vec::new();
    for (name, flag) in kinds {
        let path = format!("/proc/{pid}/ns/{name}");
        // One that is shared needs no joining, and may be another user namespace's.
        let own = std::fs::read_link(format!("/proc/self/ns/{name}"));
        if own.is_ok_and(|own| std::fs::read_link(&path).is_ok_and(|theirs| own == theirs)) {
            continue;
        }
        opened.push((
            name,
            flag,
            File::open(&path).with_context(|| format!("open {path}: the container has ended"))?,
        ));
    }
    for (name, flag, file) in opened {
        setns(file, flag).with_context(|| format!("join the container's {name} namespace"))?;
    }
    Ok(())
}

fn become_program(report: &UnixStream, launch: Box<Launch>) -> Result<Infallible> {
    // By now the shim is this process's parent: with the shim's end, however it comes, ends the container.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .context("tie the process to its shim")?;
    setsid().ok();
    let fd = report.as_raw_fd();
    // SAFETY: setting a flag on a descriptor this process owns; success of exec then closes the report.
    nix::errno::Errno::result(unsafe {
        nix::libc::fcntl(fd, nix::libc::F_SETFD, nix::libc::FD_CLOEXEC)
    })?;
    match *launch {
        Launch::Container { spec, mount_point } => {
            if spec.tty {
                take_terminal()?;
            }
            root::build_and_enter(&spec, &mount_point)?;
            if !spec.privileged {
                capabilities::limit(&spec.add_capabilities)?;
            }
            run(&spec.argv, &spec.env)
        }
        Launch::Exec { argv, env, cwd, tty, privileged, add_capabilities, .. } => {
            if tty {
                take_terminal()?;
            }
            chdir(cwd.as_str()).or_else(|_| chdir("/")).context("enter the working directory")?;
            if !privileged {
                capabilities::limit(&add_capabilities)?;
            }
            run(&argv, &env)
        }
    }
}

/// Makes standard input this session's controlling terminal.
fn take_terminal() -> Result<()> {
    // SAFETY: an ioctl without an argument on an open descriptor.
    nix::errno::Errno::result(unsafe { nix::libc::ioctl(0, nix::libc::TIOCSCTTY, 0) })
        .context("take the terminal")?;
    Ok(())
}

fn run(argv: &[String], env: &[(String, String)]) -> Result<Infallible> {
    restore_signals();
    let program = argv.first().context("no command: the image and the pod name none")?;
    let path = env.iter().find(|(name, _)| name == "PATH").map_or(DEFAULT_PATH, |(_, value)| value);
    let arguments: Vec<CString> =
        argv.iter().map(|word| CString::new(word.as_str())).collect::<Result<_, _>>()?;
    let environment: Vec<CString> = env
        .iter()
        .map(|(name, value)| CString::new(format!("{name}={value}")))
        .collect::<Result<_, _>>()?;
    let file = find(program, path)
        .ok_or_else(|| anyhow!("exec: {program:?}: executable file not found in $PATH"))?;
    let errno = match execve(&CString::new(file.as_str())?, &arguments, &environment) {
        Ok(never) => match never {},
        Err(errno) => errno,
    };
    Err(anyhow!("exec: {program:?}: {}", errno.desc()))
}

fn find(program: &str, path: &str) -> Option<String> {
    if program.contains('/') {
        return Some(program.to_owned());
    }
    path.split(':').map(|folder| format!("{folder}/{program}")).find(|file| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(Path::new(file))
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

/// What this program or its parents ignored or blocked is not the container's business.
fn restore_signals() {
    use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).ok();
    for number in Signal::iterator() {
        // SAFETY: the default disposition runs no code of this program.
        unsafe { signal(number, SigHandler::SigDfl) }.ok();
    }
}
