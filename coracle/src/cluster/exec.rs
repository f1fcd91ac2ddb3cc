//! This program started again as another: what it keeps, and when it ends.

use std::ffi::CString;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;

/// Has the kernel kill this process when the thread that started it ends.
pub fn die_with_parent() -> Result<(), Errno> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
}

/// Replaces this process by this same program with `args`.
pub fn exec_self(args: &[&str]) -> Errno {
    let argv: Result<Vec<CString>, _> = args.iter().map(|arg| CString::new(*arg)).collect();
    match (argv, CString::new("/proc/self/exe")) {
        (Ok(argv), Ok(path)) => match nix::unistd::execv(&path, &argv) {
            Err(errno) => errno,
        },
        _ => Errno::EINVAL,
    }
}

/// Lets a descriptor survive the next exec of this process.
pub fn keep_on_exec(fd: &impl AsRawFd) -> Result<(), Errno> {
    // SAFETY: F_SETFD on a descriptor that is borrowed for the call.
    Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) }).map(drop)
}
