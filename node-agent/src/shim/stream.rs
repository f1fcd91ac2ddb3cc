//! Terminals, and the copying of bytes between processes and connections.
//!
//! Every thread here ends when its process's stream or its connection does. A client that does
//! not read is dropped, never waited for by a container.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::pty::OpenptFlags;

use super::protocol::{Kind, WindowSize, write_frame};

const CHUNK_BYTES: usize = 16 << 10;
/// Size of a terminal before its client says its own.
const FIRST_SIZE: WindowSize = WindowSize { columns: 80, rows: 24 };

/// The sending half of a connection, shared by the threads that write frames to it.
pub(super) type Sink = Arc<Mutex<UnixStream>>;

/// Writes one frame to a shared connection.
pub(super) fn send(sink: &Sink, kind: Kind, payload: &[u8]) -> io::Result<()> {
    write_frame(&mut *sink.lock().unwrap_or_else(PoisonError::into_inner), kind, payload)
}

/// A new terminal from the `ptmx` at `path`: the shim's end and the process's.
pub(super) fn open_terminal(path: &str) -> io::Result<(OwnedFd, OwnedFd)> {
    let master: OwnedFd = File::options().read(true).write(true).open(path)?.into();
    rustix::pty::unlockpt(&master)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    resize(&master, FIRST_SIZE)?;
    Ok((master, slave))
}

/// Tells a terminal its size; its foreground processes get `SIGWINCH`.
pub(super) fn resize(master: &impl AsFd, size: WindowSize) -> io::Result<()> {
    let size = rustix::termios::Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(rustix::termios::tcsetwinsize(master, size)?)
}

/// Makes a process's standard input read its end: for a terminal the character that says so.
pub(super) fn send_end_of_file(master: &File) {
    (&*master).write_all(&[4]).ok();
}

/// Reads `from` to its end, handing on each chunk. A terminal whose processes have gone ends with `EIO`.
pub(super) fn pump(
    from: OwnedFd,
    mut each: impl FnMut(&[u8]) + Send + 'static,
) -> io::Result<thread::JoinHandle<()>> {
    let mut from = File::from(from);
    thread::Builder::new().name("stream".into()).stack_size(128 << 10).spawn(move || {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => each(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    })
}

/// A pipe: the reading end, then the writing end; both close on exec.
pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// Lets `fd` through the next exec of the calling (just forked) process.
pub(super) fn keep_on_exec(fd: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: setting a flag on an open descriptor; async-signal-safe.
    nix::errno::Errno::result(unsafe { nix::libc::fcntl(fd.as_raw_fd(), nix::libc::F_SETFD, 0) })?;
    Ok(())
}
