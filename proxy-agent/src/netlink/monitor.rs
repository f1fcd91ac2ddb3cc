//! Hears of every change of nf_tables in this network namespace, whoever makes it. Never
//! asks what is there now, and never waits.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind, getsockname, netlink, recv,
    socket_with, sockopt,
};

use super::message::{Received, split};

/// `NFNLGRP_NFTABLES`, as a bit.
const GROUP: u32 = 1 << (7 - 1);
/// Wanted of the receive buffer; what comes beyond it is lost, and known to be.
const BUFFER_BYTES: usize = 1 << 20;
/// More than the kernel puts into one notification.
const DATAGRAM_BYTES: usize = 64 << 10;

/// A socket that notifications come in at.
pub struct Monitor {
    fd: OwnedFd,
    port: u32,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Begins to listen in the calling thread's network namespace.
    ///
    /// # Errors
    /// No right to: it needs `CAP_NET_ADMIN` over the namespace.
    pub fn open() -> io::Result<Monitor> {
        let fd = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(netlink::NETFILTER),
        )?;
        let _ = sockopt::set_socket_recv_buffer_size(&fd, BUFFER_BYTES);
        bind(&fd, &netlink::SocketAddrNetlink::new(0, GROUP))?;
        let port = netlink::SocketAddrNetlink::try_from(getsockname(&fd)?)?.pid();
        Ok(Monitor { fd, port, buffer: vec![0; DATAGRAM_BYTES] })
    }

    /// Another descriptor of the socket, to wait on.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// Stops listening, or begins again. The kernel writes a notification for each
    /// element as long as somebody listens, which a large load should not pay for.
    pub fn listen(&mut self, listens: bool) -> io::Result<()> {
        let groups = if listens { GROUP } else { 0 };
        Ok(bind(&self.fd, &netlink::SocketAddrNetlink::new(self.port, groups))?)
    }

    /// Takes all that has come in. Whether `matters` says so of any message, or some were
    /// lost.
    pub fn drain(&mut self, matters: impl Fn(&Received<'_>) -> bool) -> bool {
        let mut found = false;
        loop {
            match recv(&self.fd, &mut self.buffer[..], RecvFlags::TRUNC) {
                Ok((length, whole)) => {
                    found |= whole > length || split(&self.buffer[..length]).any(|m| matters(&m));
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return found,
                // Above all NOBUFS: the buffer ran over.
                Err(_) => found = true,
            }
        }
    }
}
