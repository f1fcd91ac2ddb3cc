//! Whether the agent is healthy, and whether its node may have traffic.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::Node;

use crate::routes::Family;

/// A change that waits longer for the kernel makes the agent unhealthy.
const MAX_LAG_MS: u64 = 60_000;
/// The taint of a node that the cluster autoscaler is about to take away.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// What the probes are answered from.
#[derive(Default)]
pub struct Health {
    v4: OfFamily,
    v6: OfFamily,
    node_leaves: AtomicBool,
}

/// One IP family's rules. Times are milliseconds since 1970, 0: never.
#[derive(Default)]
struct OfFamily {
    is_carried: AtomicBool,
    updated_ms: AtomicU64,
    waiting_since_ms: AtomicU64,
}

impl Health {
    fn of(&self, family: Family) -> &OfFamily {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    fn carried(&self) -> impl Iterator<Item = &OfFamily> {
        let is_carried = |of: &&OfFamily| of.is_carried.load(Ordering::Relaxed);
        [&self.v4, &self.v6].into_iter().filter(is_carried)
    }

    /// This family's rules count.
    pub fn carries(&self, family: Family) {
        self.of(family).is_carried.store(true, Ordering::Relaxed);
    }

    /// A change waits for the kernel.
    pub fn queued(&self, family: Family) {
        let _ = self.of(family).waiting_since_ms.compare_exchange(
            0,
            now_ms(),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    /// The kernel has all that was known of the family.
    pub fn updated(&self, family: Family) {
        let of = self.of(family);
        of.waiting_since_ms.store(0, Ordering::Relaxed);
        of.updated_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// The own Node as it is now. Until the first one is seen it may have traffic.
    pub fn observe_node(&self, node: &Node) {
        let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        let leaves = node.metadata.deletion_timestamp.is_some()
            || taints.into_iter().any(|taint| taint.key == TO_BE_DELETED);
        if self.node_leaves.swap(leaves, Ordering::Relaxed) != leaves {
            tracing::info!(leaves, "whether the own Node is about to go has changed");
        }
    }

    /// Whether new traffic should come to this node, as far as its Node says.
    pub fn is_node_eligible(&self) -> bool {
        !self.node_leaves.load(Ordering::Relaxed)
    }

    /// No change waits for long, of any family: what `/livez` tells.
    pub fn is_live(&self) -> bool {
        let now = now_ms();
        let mut since = self.carried().map(|of| of.waiting_since_ms.load(Ordering::Relaxed));
        since.all(|since| since == 0 || now.saturating_sub(since) < MAX_LAG_MS)
    }

    /// Rules are programmed, of all families, and no change waits for long.
    pub fn is_programmed(&self) -> bool {
        self.updated_ms() != 0 && self.is_live()
    }

    /// What `/healthz` tells: `is_programmed`, on a node that stays.
    pub fn is_ready(&self) -> bool {
        self.is_programmed() && self.is_node_eligible()
    }

    /// When the kernel last had all that was known, 0: never. The older time of two families.
    pub fn updated_ms(&self) -> u64 {
        let updated = self.carried().map(|of| of.updated_ms.load(Ordering::Relaxed));
        updated.min().unwrap_or(0)
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
