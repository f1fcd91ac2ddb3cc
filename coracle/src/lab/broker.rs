//! The host's side of the control socket: asks for sockets made inside the lab and hears
//! what the supervisor reports. A socket keeps the namespace it was made in, so the host
//! connects it and copies bytes without any process in between.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot};

use super::control::{self, Report, Request, SocketKind};

/// Most sockets asked for and not yet received; more are refused at once.
const MAX_PENDING: usize = 256;
/// Reports that may wait for the reader; the broker waits when they are many.
const MAX_REPORTS: usize = 64;

type Answer = Result<OwnedFd, String>;

struct Shared {
    socket: AsyncFd<OwnedFd>,
    pending: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    next: AtomicU64,
}

/// Asks the supervisor. Cheap to clone.
#[derive(Clone)]
pub struct Broker(Arc<Shared>);

impl Broker {
    /// Starts reading. The receiver gets every report that is no answer, and closes when
    /// the supervisor is gone.
    pub fn start(control: OwnedFd) -> Result<(Self, mpsc::Receiver<Report>)> {
        fcntl(&control, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let shared = Arc::new(Shared {
            // SAFETY: the descriptor lives in the AsyncFd alone and closes after it is deregistered.
            socket: unsafe { AsyncFd::register(control)? },
            pending: Mutex::default(),
            next: AtomicU64::new(1),
        });
        let (sender, receiver) = mpsc::channel(MAX_REPORTS);
        tokio::spawn(read_reports(shared.clone(), sender));
        Ok((Self(shared), receiver))
    }

    /// Sends a request that has no answer.
    pub async fn tell(&self, request: &Request) -> io::Result<()> {
        self.0
            .socket
            .async_io(Interest::WRITABLE, |fd| control::send(fd.as_fd(), request, None))
            .await
    }

    /// A TCP connection from namespace `netns` to `to`.
    pub async fn connect(&self, netns: &str, to: SocketAddr) -> Result<TcpStream> {
        let fd = self.make(netns, SocketKind::Tcp).await?;
        let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(fd));
        Ok(socket.connect(to).await?)
    }

    /// A UDP socket of namespace `netns`, connected to `to`.
    pub async fn datagrams(&self, netns: &str, to: SocketAddr) -> Result<UdpSocket> {
        let fd = self.make(netns, SocketKind::Udp).await?;
        let socket = UdpSocket::from_std(std::net::UdpSocket::from(fd))?;
        socket.connect(to).await?;
        Ok(socket)
    }

    async fn make(&self, netns: &str, kind: SocketKind) -> Result<OwnedFd> {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        {
            let mut pending = self.pending();
            if pending.len() >= MAX_PENDING {
                bail!("{MAX_PENDING} sockets are being asked for already");
            }
            pending.insert(id, sender);
        }
        let request = Request::Socket { id, netns: netns.to_owned(), kind };
        if let Err(error) = self.tell(&request).await {
            self.pending().remove(&id);
            return Err(error).context("ask the lab's supervisor for a socket");
        }
        match receiver.await {
            Ok(Ok(fd)) => Ok(fd),
            Ok(Err(error)) => bail!("make a socket in {netns}: {error}"),
            Err(_) => bail!("the lab's supervisor is gone"),
        }
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_reports(shared: Arc<Shared>, reports: mpsc::Sender<Report>) {
    loop {
        let received = shared
            .socket
            .async_io(Interest::READABLE, |fd| control::receive::<Report>(fd.as_fd()))
            .await;
        match received {
            Ok(Some((Report::Socket { id, error }, fd))) => {
                let waiting =
                    shared.pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                let answer = match (fd, error) {
                    (Some(fd), None) => Ok(fd),
                    (_, error) => Err(error.unwrap_or_else(|| "no descriptor came".to_owned())),
                };
                if let Some(waiting) = waiting {
                    // Whoever asked may have given up; the descriptor closes then.
                    let _ = waiting.send(answer);
                }
            }
            Ok(Some((report, _))) => {
                if reports.send(report).await.is_err() {
                    return;
                }
            }
            Ok(None) | Err(_) => break,
        }
    }
    shared.pending.lock().unwrap_or_else(PoisonError::into_inner).clear();
}
