//! What one family's listeners carry at most, and what they have refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// TCP connections at a time; the next ones are reset.
const MAX_CONNECTIONS: usize = 16_384;
/// UDP clients at a time, each with a socket of its own; datagrams of others are dropped.
const MAX_UDP_CLIENTS: usize = 16_384;
/// A UDP client is forgotten after so long without a datagram either way. Less than the
/// kernel tracks a UDP connection for (`nf_conntrack_udp_timeout`, 30 s): an answer that
/// came later would not be translated back.
const UDP_IDLE: Duration = Duration::from_secs(20);

/// The limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// TCP connections at a time.
    pub connections: usize,
    /// UDP clients at a time.
    pub udp_clients: usize,
    /// How long an idle UDP client is kept.
    pub udp_idle: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { connections: MAX_CONNECTIONS, udp_clients: MAX_UDP_CLIENTS, udp_idle: UDP_IDLE }
    }
}

/// The limits as permits, shared by all listeners.
pub struct Budget {
    limits: Limits,
    connections: Kind,
    udp_clients: Kind,
}

impl Budget {
    /// All of it is free.
    pub fn new(limits: Limits) -> Budget {
        Budget {
            limits,
            connections: Kind::new("tcp_connections", limits.connections),
            udp_clients: Kind::new("udp_clients", limits.udp_clients),
        }
    }

    /// What was turned away since the start: TCP connections that were reset, and
    /// datagrams of new UDP clients that were dropped.
    pub fn refusals(&self) -> Vec<(&'static str, u64)> {
        let kinds = [&self.connections, &self.udp_clients];
        let count = |kind: &Kind| (kind.what, kind.refused.load(Ordering::Relaxed));
        kinds.map(count).into()
    }

    /// How long an idle UDP client is kept.
    pub fn udp_idle(&self) -> Duration {
        self.limits.udp_idle
    }

    /// Room for a connection; `None` is counted.
    pub fn connection(&self) -> Option<OwnedSemaphorePermit> {
        self.connections.take()
    }

    /// Room for a UDP client; `None` is counted.
    pub fn udp_client(&self) -> Option<OwnedSemaphorePermit> {
        self.udp_clients.take()
    }
}

/// One kind of thing that there is room for.
struct Kind {
    what: &'static str,
    free: Arc<Semaphore>,
    refused: AtomicU64,
}

impl Kind {
    fn new(what: &'static str, room: usize) -> Kind {
        Kind { what, free: Arc::new(Semaphore::new(room)), refused: AtomicU64::new(0) }
    }

    fn take(&self) -> Option<OwnedSemaphorePermit> {
        let permit = self.free.clone().try_acquire_owned().ok();
        if permit.is_none() {
            let count = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
            // Said at 1, 2, 4, …: a flood of clients must not become one of lines.
            if count.is_power_of_two() {
                tracing::warn!(refused = count, "no room for more {}", self.what);
            }
        }
        permit
    }
}
