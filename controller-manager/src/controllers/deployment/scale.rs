//! Resizing a Deployment, also in the middle of a rollout or while paused.
//!
//! Never starts or advances a rollout.

use std::cmp::Reverse;

use k8s_openapi::api::apps::v1::Deployment;

use super::facts::{self, ANNOTATION_DESIRED, ANNOTATION_MAX};
use super::sets::Sets;

/// Plans the sizes for the wanted replicas.
pub fn scale(deployment: &Deployment, sets: &mut Sets) {
    let wanted = facts::wanted(deployment);
    let active: Vec<usize> = (0..sets.all.len()).filter(|at| sets.replicas[*at] > 0).collect();
    if active.len() <= 1 {
        let latest_old = || {
            sets.old().max_by_key(|at| facts::revision(sets.all[*at].metadata.annotations.as_ref()))
        };
        if let Some(only) = active.first().copied().or(sets.new).or_else(latest_old) {
            sets.resize(only, wanted);
        }
        return;
    }
    if is_saturated(deployment, sets) {
        for at in sets.old().collect::<Vec<_>>() {
            sets.resize(at, 0);
        }
        return;
    }
    if facts::is_rolling(deployment) {
        share_out(deployment, sets, active);
    }
}

/// Whether the new ReplicaSet is all that is needed.
fn is_saturated(deployment: &Deployment, sets: &Sets) -> bool {
    let wanted = facts::wanted(deployment);
    sets.new.is_some_and(|at| {
        let set = &sets.all[at];
        let desired = facts::number(set.metadata.annotations.as_ref(), ANNOTATION_DESIRED);
        facts::replicas(set) == wanted
            && desired == Some(i64::from(wanted))
            && facts::available(set) == wanted
    })
}

/// Shares the change out over the active ReplicaSets by their size; the largest takes the rest.
fn share_out(deployment: &Deployment, sets: &mut Sets, mut active: Vec<usize>) {
    let wanted = facts::wanted(deployment);
    let allowed =
        if wanted > 0 { wanted.saturating_add(facts::fenceposts(deployment).0) } else { 0 };
    let to_add = allowed - sets.total();
    // Growing favours the newer of two equals, shrinking the older.
    if to_add > 0 {
        active.sort_by_key(|at| (Reverse(sets.replicas[*at]), Reverse(*at)));
    } else {
        active.sort_by_key(|at| (Reverse(sets.replicas[*at]), *at));
    }
    let mut added = 0;
    for at in &active {
        let share = share(deployment, sets, *at, to_add, added);
        sets.resize(*at, sets.replicas[*at] + share);
        added += share;
    }
    if let Some(largest) = active.first() {
        sets.resize(*largest, (sets.replicas[*largest] + to_add - added).max(0));
    }
}

fn share(deployment: &Deployment, sets: &Sets, at: usize, to_add: i32, added: i32) -> i32 {
    let set = &sets.all[at];
    let held = sets.replicas[at];
    if to_add == 0 || held == 0 {
        return 0;
    }
    let wanted = facts::wanted(deployment);
    let fraction = if wanted == 0 {
        -held
    } else {
        let max = i64::from(wanted.saturating_add(facts::fenceposts(deployment).0));
        let observed =
            || deployment.status.as_ref().and_then(|status| status.replicas).map(i64::from);
        let before =
            facts::number(set.metadata.annotations.as_ref(), ANNOTATION_MAX).or_else(observed);
        let before = before.filter(|before| *before > 0).unwrap_or(max);
        // Rounded half up; all numbers are positive.
        let size = (2 * i64::from(held) * max + before) / (2 * before);
        i32::try_from(size).unwrap_or(i32::MAX) - held
    };
    let allowed = to_add - added;
    if to_add > 0 { fraction.min(allowed) } else { fraction.max(allowed) }
}
