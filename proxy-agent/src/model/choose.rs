//! Which of a Service port's endpoints are used. A pure function of the
//! endpoints; never looks at the Service.

use super::frontend::Target;
use super::slice::Endpoint;

/// Endpoints used for one destination at most; the first by address are taken.
/// A mode's counters have 14 bits for them.
pub const MAX_ENDPOINTS: usize = 16_383;

/// The endpoints of a Service port by traffic policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// For policy `Cluster`.
    pub cluster: Vec<Target>,
    /// For policy `Local`.
    pub local: Vec<Target>,
}

impl Chosen {
    /// Whether no endpoint of the cluster is usable by any policy.
    pub fn is_empty(&self) -> bool {
        self.cluster.is_empty() && self.local.is_empty()
    }
}

/// Ready endpoints; where there is none, those that terminate but still serve.
/// Each policy falls back by itself, as upstream's `CategorizeEndpoints`.
pub fn choose(endpoints: &[Endpoint]) -> Chosen {
    Chosen {
        cluster: ready_or_draining(endpoints.iter()),
        local: ready_or_draining(endpoints.iter().filter(|e| e.is_local)),
    }
}

fn ready_or_draining<'a>(endpoints: impl Iterator<Item = &'a Endpoint> + Clone) -> Vec<Target> {
    let ready = sorted(endpoints.clone().filter(|e| e.ready));
    if !ready.is_empty() {
        return ready;
    }
    sorted(endpoints.filter(|e| e.serving && e.terminating))
}

fn sorted<'a>(endpoints: impl Iterator<Item = &'a Endpoint>) -> Vec<Target> {
    let mut targets: Vec<Target> = endpoints.map(|e| e.target).collect();
    targets.sort_unstable();
    targets.dedup();
    targets.truncate(MAX_ENDPOINTS);
    targets
}
