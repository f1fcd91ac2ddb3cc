//! Replacing old ReplicaSets by the new one, step by step.
//!
//! Never takes a pod away that maxUnavailable protects, nor adds one beyond maxSurge.

use k8s_openapi::api::apps::v1::Deployment;

use super::facts;
use super::sets::Sets;

/// One step of a rolling update: first the new ReplicaSet, and if that is at its size
/// for now, the old ones.
pub fn roll(deployment: &Deployment, sets: &mut Sets) {
    let Some(new) = sets.new else { return };
    let wanted = facts::wanted(deployment);
    let held = sets.replicas[new];
    let to = if held > wanted { wanted } else { room_for_new(deployment, sets, held) };
    if !sets.resize(new, to) {
        shrink_old(deployment, sets, new);
    }
}

/// The size the new ReplicaSet may have now, given that it holds `held`.
pub fn room_for_new(deployment: &Deployment, sets: &Sets, held: i32) -> i32 {
    let wanted = facts::wanted(deployment);
    if !facts::is_rolling(deployment) {
        return wanted;
    }
    let (surge, _) = facts::fenceposts(deployment);
    let room = (wanted.saturating_add(surge) - sets.total()).max(0);
    held + room.min(wanted - held).max(0)
}

fn shrink_old(deployment: &Deployment, sets: &mut Sets, new: usize) {
    let wanted = facts::wanted(deployment);
    let min_available = wanted - facts::max_unavailable(deployment);
    let new_unavailable = sets.replicas[new] - facts::available(&sets.all[new]);
    let mut removable = sets.total() - min_available - new_unavailable;
    // Pods that serve nobody go first, whatever else is available.
    for at in sets.old() {
        let unhealthy = (sets.replicas[at] - facts::available(&sets.all[at])).max(0);
        let gone = unhealthy.min(removable.max(0));
        sets.resize(at, sets.replicas[at] - gone);
        removable -= gone;
    }
    let available: i32 = sets.all.iter().map(|set| facts::available(set)).sum();
    let mut spare = (available - min_available).min(removable);
    for at in sets.old() {
        let gone = sets.replicas[at].min(spare.max(0));
        sets.resize(at, sets.replicas[at] - gone);
        spare -= gone;
    }
}

/// One step of Recreate: the old ReplicaSets to nothing, then, when no old pod runs,
/// the new one to its size.
pub fn recreate(deployment: &Deployment, sets: &mut Sets, old_pods_run: bool) {
    let old: Vec<usize> = sets.old().collect();
    let mut shrunk = false;
    for at in old {
        shrunk |= sets.resize(at, 0);
    }
    if let Some(new) = sets.new
        && !shrunk
        && !old_pods_run
    {
        sets.resize(new, facts::wanted(deployment));
    }
}
