//! UDP: a socket of its own to an endpoint for each client, until both are silent.
//! Never reads what it copies.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::UdpSocket;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::balancer::Balancer;
use super::limits::Budget;
use crate::model::Target;

/// The longest datagram there is.
const DATAGRAM_BYTES: usize = 65_535;

/// One client's way to its endpoint.
struct Client {
    socket: Arc<UdpSocket>,
    target: Target,
    /// The last datagram, either way.
    used: Instant,
    answers: AbortHandle,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

/// One listener.
pub struct Listener {
    socket: UdpSocket,
    balancer: Arc<Mutex<Balancer>>,
    budget: Arc<Budget>,
    clients: Mutex<HashMap<SocketAddr, Client>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Listener {
    /// A listener on a bound socket.
    pub fn new(
        socket: UdpSocket,
        balancer: Arc<Mutex<Balancer>>,
        budget: Arc<Budget>,
    ) -> Arc<Listener> {
        Arc::new(Listener {
            socket,
            balancer,
            budget,
            clients: Mutex::default(),
        })
    }

    /// Clients of endpoints that have gone are given another one with their next datagram.
    pub fn forget_gone(&self) {
        let balancer = lock(&self.balancer);
        lock(&self.clients).retain(|_, client| balancer.has(&client.target));
    }

    /// No client has an endpoint any more.
    pub fn forget_all(&self) {
        lock(&self.clients).clear();
    }

    /// Receives until the task is aborted.
    pub async fn serve(self: Arc<Self>) {
        loop {
            if self.socket.readable().await.is_err() {
                return;
            }
            // Not kept while nothing comes: there may be many listeners.
            let mut buffer = vec![0; DATAGRAM_BYTES];
            loop {
                match self.socket.try_recv_from(&mut buffer) {
                    Ok((length, from)) => self.pass_on(from, &buffer[..length]).await,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // What a former answer has met.
                    Err(_) => break,
                }
            }
        }
    }

    async fn pass_on(self: &Arc<Self>, from: SocketAddr, datagram: &[u8]) {
        let known = lock(&self.clients).get_mut(&from).map(|client| {
            client.used = Instant::now();
            client.socket.clone()
        });
        let socket = match known {
            Some(socket) => socket,
            None => match self.add(from).await {
                Some(socket) => socket,
                None => return,
            },
        };
        match socket.try_send(datagram) {
            Ok(_) => {}
            // A full queue drops datagrams, as everywhere.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // The endpoint has refused an earlier one.
            Err(_) => self.give_up(&from),
        }
    }

    /// A way for a new client; `None`: no endpoint, or no room.
    async fn add(self: &Arc<Self>, from: SocketAddr) -> Option<Arc<UdpSocket>> {
        let permit = self.budget.udp_client()?;
        let target = lock(&self.balancer).choose(from.ip(), std::time::Instant::now())?;
        let socket = match connect(target).await {
            Ok(socket) => Arc::new(socket),
            Err(error) => {
                tracing::debug!(%error, "no UDP socket to {}:{}", target.address, target.port);
                lock(&self.balancer).forget(&from.ip());
                return None;
            }
        };
        let answers = tokio::spawn(self.clone().answer(from, socket.clone()));
        let client = Client {
            socket: socket.clone(),
            target,
            used: Instant::now(),
            answers: answers.abort_handle(),
            _permit: permit,
        };
        lock(&self.clients).insert(from, client);
        Some(socket)
    }

    /// Brings the endpoint's answers to the client until both are silent.
    async fn answer(self: Arc<Self>, to: SocketAddr, socket: Arc<UdpSocket>) {
        let mut idle_at = Instant::now() + self.budget.udp_idle();
        loop {
            tokio::select! {
                ready = socket.readable() => {
                    if ready.is_err() || self.bring(to, &socket).await.is_err() {
                        return self.give_up(&to);
                    }
                }
                () = sleep_until(idle_at) => {
                    let mut clients = lock(&self.clients);
                    let Some(client) = clients.get(&to) else { return };
                    idle_at = client.used + self.budget.udp_idle();
                    if idle_at <= Instant::now() {
                        clients.remove(&to);
                        return;
                    }
                }
            }
        }
    }

    async fn bring(&self, to: SocketAddr, socket: &UdpSocket) -> io::Result<()> {
        let mut buffer = vec![0; DATAGRAM_BYTES];
        loop {
            match socket.try_recv(&mut buffer) {
                Ok(length) => {
                    if let Some(client) = lock(&self.clients).get_mut(&to) {
                        client.used = Instant::now();
                    }
                    // A client that is not there any more is no error of the endpoint's.
                    let _ = self.socket.send_to(&buffer[..length], to).await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// The client's endpoint does not answer: it gets another one with its next datagram.
    fn give_up(&self, client: &SocketAddr) {
        lock(&self.balancer).forget(&client.ip());
        lock(&self.clients).remove(client);
    }
}

async fn connect(target: Target) -> io::Result<UdpSocket> {
    let any: SocketAddr = if target.address.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect((target.address, target.port)).await?;
    // So that it is known to be, for the first `try_send`.
    socket.writable().await?;
    Ok(socket)
}
