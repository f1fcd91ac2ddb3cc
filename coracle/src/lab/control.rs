//! The messages between the process on the host and the lab's supervisor, over a
//! socket pair that keeps message boundaries and can carry one descriptor each.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::cmsg_space;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cluster::process_table::Died;

/// Largest message in bytes; a longer one is an error at the sender.
pub const MAX_MESSAGE: usize = 16 * 1024;

/// Kind of socket that the host asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketKind {
    /// A stream socket, not yet connected.
    Tcp,
    /// A datagram socket, not yet connected.
    Udp,
}

/// From the host to the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The API answers: start what needs it.
    ApiReady,
    /// Make a socket inside namespace `netns` and send it back.
    Socket {
        /// Number that the answer repeats.
        id: u64,
        /// Name of the namespace.
        netns: String,
        /// What to make.
        kind: SocketKind,
    },
    /// End all components in order, then the lab.
    Stop,
}

/// From the supervisor to the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// Building failed at `step`; the lab ends.
    Failed {
        /// What was being done.
        step: String,
        /// The error's text.
        detail: String,
        /// The system's error number, 0 where there is none.
        errno: i32,
    },
    /// Something is not as good as it could be, but the lab goes on.
    Degraded {
        /// What, and what follows from it.
        detail: String,
    },
    /// Namespaces, links, addresses and routes are there.
    FabricReady,
    /// A component ended without being asked and starts again.
    Died(Died),
    /// Answer to [`Request::Socket`]; the descriptor is beside it unless there is an error.
    Socket {
        /// The request's number.
        id: u64,
        /// Why there is no descriptor.
        error: Option<String>,
    },
    /// All components have ended.
    Stopped,
}

/// A connected pair: the host's end (closed on exec) and the supervisor's (kept).
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (host, lab) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((host, lab))
}

/// Sends one message, with a descriptor if there is one.
pub fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MAX_MESSAGE {
        return Err(io::Error::other(format!(
            "a control message of {} bytes is over {MAX_MESSAGE}",
            bytes.len()
        )));
    }
    let raw: Vec<i32> = descriptor.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(&bytes)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

/// Receives one message. `None`: the other side is gone.
pub fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> io::Result<Option<(T, Option<OwnedFd>)>> {
    let mut bytes = vec![0u8; MAX_MESSAGE];
    let mut space = cmsg_space!([i32; 1]);
    let (length, descriptor) = {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let message = recvmsg::<()>(
            socket.as_raw_fd(),
            &mut slices,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )?;
        let mut descriptor = None;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = control {
                for fd in fds {
                    // SAFETY: the kernel just made this descriptor for us and nobody else knows it.
                    descriptor = Some(unsafe { OwnedFd::from_raw_fd(fd) });
                }
            }
        }
        (message.bytes, descriptor)
    };
    if length == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&bytes[..length])?, descriptor)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_message_arrives_whole_with_its_descriptor() {
        let (host, lab) = pair().expect("pair");
        let (mut ours, theirs) = UnixStream::pair().expect("stream pair");
        let sent = Report::Socket { id: 7, error: None };
        send(lab.as_fd(), &sent, Some(theirs.as_fd())).expect("send");
        drop(theirs);
        let (got, fd) = receive::<Report>(host.as_fd()).expect("receive").expect("message");
        assert_eq!(got, sent);
        let mut passed = UnixStream::from(fd.expect("descriptor"));
        passed.write_all(b"x").expect("write");
        let mut byte = [0];
        ours.read_exact(&mut byte).expect("read");
        assert_eq!(&byte, b"x");
        drop(lab);
        assert!(receive::<Report>(host.as_fd()).expect("end").is_none());
    }
}
