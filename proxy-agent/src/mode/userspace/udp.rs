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
use crate::routes::Target;

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

/// The clients of a listener.
#[derive(Default)]
struct Clients {
    by_address: HashMap<SocketAddr, Client>,
    /// No more are taken.
    is_closed: bool,
}

impl Clients {
    /// The client that has this way to its endpoint; `None`: it has another one by now.
    fn of(&mut self, from: &SocketAddr, socket: &Arc<UdpSocket>) -> Option<&mut Client> {
        let client = self.by_address.get_mut(from)?;
        Arc::ptr_eq(&client.socket, socket).then_some(client)
    }
}

/// One listener. Who locks both locks the balancer first.
pub struct Listener {
    socket: UdpSocket,
    balancer: Arc<Mutex<Balancer>>,
    budget: Arc<Budget>,
    clients: Mutex<Clients>,
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
        Arc::new(Listener { socket, balancer, budget, clients: Mutex::default() })
    }

    /// Clients of endpoints that have gone are given another one with their next datagram.
    pub fn forget_gone(&self) {
        let balancer = lock(&self.balancer);
        let mut clients = lock(&self.clients);
        let by_address = &mut clients.by_address;
        by_address.retain(|_, client| balancer.has(&client.target));
    }

    /// No client has an endpoint any more, nor gets one.
    pub fn close(&self) {
        let mut clients = lock(&self.clients);
        clients.is_closed = true;
        clients.by_address.clear();
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
        let known = lock(&self.clients).by_address.get_mut(&from).map(|client| {
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
            Err(_) => self.give_up(&from, &socket),
        }
    }

    /// A way for a new client; `None`: no endpoint, or no room.
    async fn add(self: &Arc<Self>, from: SocketAddr) -> Option<Arc<UdpSocket>> {
        let mut permit = self.budget.udp_client()?;
        loop {
            let target = lock(&self.balancer).choose(from.ip(), std::time::Instant::now())?;
            let socket = match connect(target).await {
                Ok(socket) => Arc::new(socket),
                Err(error) => {
                    tracing::debug!(%error, "no UDP socket to {target}");
                    lock(&self.balancer).forget(&from.ip());
                    return None;
                }
            };
            match self.keep(from, target, &socket, permit) {
                Kept::Yes => return Some(socket),
                Kept::Closed => return None,
                Kept::Gone(unused) => permit = unused,
            }
        }
    }

    /// Has the client keep this way, if the endpoint is still one.
    fn keep(
        self: &Arc<Self>,
        from: SocketAddr,
        target: Target,
        socket: &Arc<UdpSocket>,
        permit: OwnedSemaphorePermit,
    ) -> Kept {
        let balancer = lock(&self.balancer);
        let mut clients = lock(&self.clients);
        if clients.is_closed {
            return Kept::Closed;
        }
        if !balancer.has(&target) {
            return Kept::Gone(permit);
        }
        // It finds the client there, since that is still locked.
        let answers = tokio::spawn(self.clone().answer(from, socket.clone()));
        let client = Client {
            socket: socket.clone(),
            target,
            used: Instant::now(),
            answers: answers.abort_handle(),
            _permit: permit,
        };
        clients.by_address.insert(from, client);
        Kept::Yes
    }

    /// Brings the endpoint's answers to the client until both are silent.
    async fn answer(self: Arc<Self>, to: SocketAddr, socket: Arc<UdpSocket>) {
        let mut idle_at = Instant::now() + self.budget.udp_idle();
        loop {
            tokio::select! {
                ready = socket.readable() => {
                    if ready.is_err() || self.bring(to, &socket).await.is_err() {
                        return self.give_up(&to, &socket);
                    }
                }
                () = sleep_until(idle_at) => {
                    let mut clients = lock(&self.clients);
                    let Some(client) = clients.of(&to, &socket) else { return };
                    idle_at = client.used + self.budget.udp_idle();
                    if idle_at <= Instant::now() {
                        clients.by_address.remove(&to);
                        return;
                    }
                }
            }
        }
    }

    async fn bring(&self, to: SocketAddr, socket: &Arc<UdpSocket>) -> io::Result<()> {
        let mut buffer = vec![0; DATAGRAM_BYTES];
        loop {
            match socket.try_recv(&mut buffer) {
                Ok(length) => {
                    if let Some(client) = lock(&self.clients).of(&to, socket) {
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

    /// The endpoint of this way does not answer: the client gets another one with its next
    /// datagram, if it has not got one already.
    fn give_up(&self, client: &SocketAddr, socket: &Arc<UdpSocket>) {
        let mut balancer = lock(&self.balancer);
        let mut clients = lock(&self.clients);
        if clients.of(client, socket).is_some() {
            balancer.forget(&client.ip());
            clients.by_address.remove(client);
        }
    }
}

/// What became of a new client's way.
enum Kept {
    Yes,
    /// The endpoint has gone meanwhile; the room is still to be had.
    Gone(OwnedSemaphorePermit),
    /// The listener has.
    Closed,
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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::balancer::Backends;
    use super::super::limits::Limits;
    use super::*;

    const CLIENT: &str = "127.0.0.1:9";

    fn target(port: u16) -> Target {
        let address = IpAddr::from(Ipv4Addr::LOCALHOST);
        Target { address, port }
    }

    fn backends(ports: &[u16]) -> Backends {
        Backends { targets: ports.iter().map(|port| target(*port)).collect(), affinity: None }
    }

    /// A listener with these endpoints.
    async fn listener(ports: &[u16]) -> Arc<Listener> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let balancer = Arc::new(Mutex::new(Balancer::new(backends(ports))));
        Listener::new(socket, balancer, Arc::new(Budget::new(Limits::default())))
    }

    impl Listener {
        /// A client's way to this endpoint, as it is begun and as it is kept.
        async fn keep_way(self: &Arc<Self>, port: u16) -> (Arc<UdpSocket>, Kept) {
            let socket = connect(target(port)).await.expect("a socket");
            let (socket, permit) = (Arc::new(socket), self.budget.udp_client());
            let from = CLIENT.parse().expect("an address");
            let kept = self.keep(from, target(port), &socket, permit.expect("room"));
            (socket, kept)
        }

        fn clients(&self) -> usize {
            lock(&self.clients).by_address.len()
        }
    }

    #[tokio::test]
    async fn nobody_stays_with_an_endpoint_that_goes_while_its_socket_is_made() {
        let listener = listener(&[7, 8]).await;
        // After the choice, and before it is kept.
        lock(&listener.balancer).set(backends(&[8]));
        listener.forget_gone();
        let (_, kept) = listener.keep_way(7).await;
        assert!(matches!(kept, Kept::Gone(_)));
        assert_eq!(listener.clients(), 0);
        let (_, kept) = listener.keep_way(8).await;
        assert!(matches!(kept, Kept::Yes));
        assert_eq!(listener.clients(), 1);

        listener.close();
        let (_, kept) = listener.keep_way(8).await;
        assert!(matches!(kept, Kept::Closed));
        assert_eq!(listener.clients(), 0);
    }

    #[tokio::test]
    async fn who_gives_up_an_old_way_leaves_the_new_one() {
        let listener = listener(&[7, 8]).await;
        let from = CLIENT.parse().expect("an address");
        let (old, _) = listener.keep_way(7).await;
        let (new, _) = listener.keep_way(8).await;
        listener.give_up(&from, &old);
        assert_eq!(listener.clients(), 1);
        listener.give_up(&from, &new);
        assert_eq!(listener.clients(), 0);
    }
}
