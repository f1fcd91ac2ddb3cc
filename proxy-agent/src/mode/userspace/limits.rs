//! What one family's listeners carry at most, and what they have refused. Never
//! decides anything itself.

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
        Limits {
            connections: MAX_CONNECTIONS,
            udp_clients: MAX_UDP_CLIENTS,
            udp_idle: UDP_IDLE,
        }
    }
}

/// What was turned away since the start.
#[derive(Debug, Default)]
pub struct Refused {
    connections: AtomicU64,
    udp_clients: AtomicU64,
}

impl Refused {
    /// TCP connections that were reset at the limit.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Datagrams of new UDP clients that were dropped at the limit.
    pub fn udp_clients(&self) -> u64 {
        self.udp_clients.load(Ordering::Relaxed)
    }
}

/// The limits as permits, shared by all listeners.
pub struct Budget {
    limits: Limits,
    connections: Arc<Semaphore>,
    udp_clients: Arc<Semaphore>,
    refused: Arc<Refused>,
}

impl Budget {
    /// All of it is free.
    pub fn new(limits: Limits) -> Budget {
        Budget {
            limits,
            connections: Arc::new(Semaphore::new(limits.connections)),
            udp_clients: Arc::new(Semaphore::new(limits.udp_clients)),
            refused: Arc::default(),
        }
    }

    /// What was turned away.
    pub fn refused(&self) -> &Arc<Refused> {
        &self.refused
    }

    /// How long an idle UDP client is kept.
    pub fn udp_idle(&self) -> Duration {
        self.limits.udp_idle
    }

    /// Room for a connection; `None` is counted.
    pub fn connection(&self) -> Option<OwnedSemaphorePermit> {
        take(
            &self.connections,
            &self.refused.connections,
            "TCP connections",
        )
    }

    /// Room for a UDP client; `None` is counted.
    pub fn udp_client(&self) -> Option<OwnedSemaphorePermit> {
        take(&self.udp_clients, &self.refused.udp_clients, "UDP clients")
    }
}

fn take(free: &Arc<Semaphore>, refused: &AtomicU64, what: &str) -> Option<OwnedSemaphorePermit> {
    let permit = free.clone().try_acquire_owned().ok();
    if permit.is_none() {
        let count = refused.fetch_add(1, Ordering::Relaxed) + 1;
        // Said at 1, 2, 4, …: a flood of clients must not become one of lines.
        if count.is_power_of_two() {
            tracing::warn!(refused = count, "no room for more {what}");
        }
    }
    permit
}
