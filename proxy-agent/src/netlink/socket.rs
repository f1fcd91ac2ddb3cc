//! A netlink socket. Blocks only while a dump comes in; never retries a transaction.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, getsockname,
    netlink, recv, send, socket_with, sockopt,
};

use super::KernelError;
use super::message::{Messages, Received, flag, kind, split};

/// Wanted of the socket's buffers; where the limit is lower, the limit is used.
const BUFFER_BYTES: usize = 4 << 20;
/// The send buffer may grow to this for a transaction that must not be split.
const MAX_TRANSACTION_BYTES: usize = 256 << 20;
/// More than the kernel puts into one datagram of a dump.
const DATAGRAM_BYTES: usize = 256 << 10;
/// Dumps of a table that someone changes meanwhile are begun anew, so often.
const DUMP_TRIES: usize = 16;

/// The socket.
pub struct Socket {
    fd: OwnedFd,
    port: u32,
    may_grow: bool,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens one to netfilter, in the calling thread's network namespace.
    pub fn open() -> io::Result<Socket> {
        Socket::open_to(Some(netlink::NETFILTER), None)
    }

    /// Opens one to interfaces and addresses.
    pub fn open_route() -> io::Result<Socket> {
        Socket::open_to(None, None)
    }

    /// Opens one to what has no protocol of its own.
    pub fn open_generic() -> io::Result<Socket> {
        Socket::open_to(Some(netlink::GENERIC), None)
    }

    /// Opens one to netfilter with a send buffer of so many bytes, which never grows.
    pub fn with_send_buffer(bytes: usize) -> io::Result<Socket> {
        Socket::open_to(Some(netlink::NETFILTER), Some(bytes))
    }

    /// `NETLINK_ROUTE` is number 0, which is none.
    fn open_to(protocol: Option<Protocol>, bytes: Option<usize>) -> io::Result<Socket> {
        let fd =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        bind(&fd, &netlink::SocketAddrNetlink::new(0, 0))?;
        // Best effort: batches fit the smallest default. The kernel doubles the number.
        let _ =
            sockopt::set_socket_send_buffer_size(&fd, bytes.map_or(BUFFER_BYTES, |all| all / 2));
        let _ = sockopt::set_socket_recv_buffer_size(&fd, BUFFER_BYTES);
        let port = netlink::SocketAddrNetlink::try_from(getsockname(&fd)?)?.pid();
        Ok(Socket { fd, port, may_grow: bytes.is_none(), buffer: vec![0; DATAGRAM_BYTES] })
    }

    /// The number that the kernel knows the socket by.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Sends one datagram; makes the buffer larger where it must and may be.
    fn send_whole(&self, batch: &[u8]) -> Result<(), KernelError> {
        match send(&self.fd, batch, SendFlags::empty()) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::MSGSIZE) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let too_large = || KernelError::TooLarge(batch.len());
        if !self.may_grow || batch.len() > MAX_TRANSACTION_BYTES {
            return Err(too_large());
        }
        // Without a limit for real root; for others as far as the limit goes.
        let _ = sockopt::set_socket_send_buffer_size_force(&self.fd, batch.len())
            .or_else(|_| sockopt::set_socket_send_buffer_size(&self.fd, batch.len()));
        match send(&self.fd, batch, SendFlags::empty()) {
            Ok(_) => Ok(()),
            Err(rustix::io::Errno::MSGSIZE | rustix::io::Errno::NOBUFS) => Err(too_large()),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// Sends one batch and reads the kernel's verdict, which is there when `send`
    /// returns. The last message must ask for an acknowledgement. Only netfilter makes
    /// a transaction of it; elsewhere the messages around a refused one take effect.
    pub fn commit(&mut self, batch: &[u8]) -> Result<(), KernelError> {
        self.send_whole(batch)?;
        let mut acknowledged = false;
        let mut refused = None;
        loop {
            let length = match recv(&self.fd, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(io::Error::from(error).into()),
            };
            for message in split(&self.buffer[..length]).filter(|m| m.kind == kind::ERROR) {
                match message.errno() {
                    0 => acknowledged = true,
                    errno if refused.is_none() => {
                        let error = io::Error::from_raw_os_error(-errno);
                        refused = Some(KernelError::Refused { message: message.sequence, error });
                    }
                    _ => {}
                }
            }
        }
        match refused {
            Some(error) => Err(error),
            None if acknowledged => Ok(()),
            None => Err(KernelError::Malformed("a transaction was not acknowledged")),
        }
    }

    /// Sends one request and hands each message of the answer to `take`. If the
    /// kernel says that the answer is inconsistent, asks again after `restart`.
    pub fn dump<S: Default>(
        &mut self,
        request: impl Fn(&mut Messages),
        mut take: impl FnMut(&mut S, &Received<'_>) -> Result<(), KernelError>,
    ) -> Result<S, KernelError> {
        for _ in 0..DUMP_TRIES {
            let mut messages = Messages::new();
            request(&mut messages);
            send(&self.fd, &messages.into_bytes(), SendFlags::empty()).map_err(io::Error::from)?;
            let mut state = S::default();
            if self.read_answer(&mut state, &mut take)? {
                return Ok(state);
            }
        }
        Err(KernelError::Malformed("the ruleset changed during each of many dumps"))
    }

    /// Whether the answer was consistent.
    fn read_answer<S>(
        &mut self,
        state: &mut S,
        take: &mut impl FnMut(&mut S, &Received<'_>) -> Result<(), KernelError>,
    ) -> Result<bool, KernelError> {
        let mut consistent = true;
        loop {
            let length = match recv(&self.fd, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((length, _)) => length,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(io::Error::from(error).into()),
            };
            for message in split(&self.buffer[..length]) {
                consistent &= message.flags & flag::DUMP_INTERRUPTED == 0;
                match message.kind {
                    kind::DONE => return Ok(consistent),
                    kind::ERROR => match message.errno() {
                        0 => return Ok(consistent),
                        errno if errno == -rustix::io::Errno::INTR.raw_os_error() => {
                            return Ok(false);
                        }
                        errno => return Err(io::Error::from_raw_os_error(-errno).into()),
                    },
                    _ => take(state, &message)?,
                }
            }
        }
    }
}
