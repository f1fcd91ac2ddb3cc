//! Which of a Service port's endpoints are used. A pure function of the
//! endpoints; never looks at the Service.

use std::net::IpAddr;

use super::slice::Endpoint;
use crate::routes::{MAX_ENDPOINTS, Target};

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

/// Where this node is: for hints, and for what it may use itself.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The node's name.
    pub node_name: &'a str,
    /// Its label `topology.kubernetes.io/zone`; empty where it has none.
    pub zone: &'a str,
    /// `status.addresses`
    pub addresses: &'a [IpAddr],
}

/// Ready endpoints; where there is none, those that terminate but still serve.
/// Each policy falls back by itself, and hints narrow policy `Cluster` alone, as
/// upstream's `CategorizeEndpoints`.
pub fn choose(endpoints: &[Endpoint], place: Place<'_>) -> Chosen {
    let prefer = preference(endpoints, place);
    let preferred = endpoints.iter().filter(|e| match prefer {
        Prefer::All => true,
        Prefer::Node => e.hints.nodes.iter().any(|n| n == place.node_name),
        Prefer::Zone => e.hints.zones.iter().any(|z| z == place.zone),
    });
    let hinted = sorted(preferred.filter(|e| e.ready));
    Chosen {
        cluster: if hinted.is_empty() { ready_or_draining(endpoints.iter()) } else { hinted },
        local: ready_or_draining(endpoints.iter().filter(|e| e.is_local)),
    }
}

/// How far away endpoints of policy `Cluster` may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefer {
    /// No restriction.
    All,
    /// Those hinted for this node.
    Node,
    /// Those hinted for this node's zone.
    Zone,
}

/// A hint counts only where every ready endpoint has one of its kind, and one is for
/// here: else traffic would be lost or crowd together. Node hints go before zone hints.
pub fn preference(endpoints: &[Endpoint], place: Place<'_>) -> Prefer {
    let ready = || endpoints.iter().filter(|e| e.ready);
    let complete = |hints: fn(&Endpoint) -> &Vec<String>, own: &str| {
        ready().all(|e| !hints(e).is_empty())
            && ready().any(|e| hints(e).iter().any(|hint| hint == own))
    };
    if complete(|e| &e.hints.nodes, place.node_name) {
        Prefer::Node
    } else if complete(|e| &e.hints.zones, place.zone) {
        Prefer::Zone
    } else {
        Prefer::All
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
