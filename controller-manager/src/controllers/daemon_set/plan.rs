//! One pod on each node that ought to have one, and none elsewhere; then, once all are in
//! place, the step of a rolling update.
//!
//! Never talks to the API server and reads no clock.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::amount::resolve;
use crate::pod;

use super::fit::Fit;
use super::view::{OnNode, View};

/// Most pods created or deleted in one go; the rest follows in the next.
pub const BURST_REPLICAS: usize = 250;

/// What to do.
#[derive(Debug, Default)]
pub struct Actions {
    /// Nodes that get a pod.
    pub create: Vec<String>,
    /// Pods to delete.
    pub delete: Vec<Arc<Pod>>,
    /// Pods that have ended, by node: to be deleted, and the failed ones not too often.
    pub ended: Vec<(String, Arc<Pod>)>,
}

/// Plans one round. Templates are rolled out only where every pod is in its place.
pub fn plan(view: &View<'_>) -> Actions {
    let mut actions = manage(view);
    if actions.create.is_empty() && actions.delete.is_empty() {
        let (create, delete) = roll(view);
        actions.create = create;
        actions.delete = delete;
    }
    actions.create.truncate(BURST_REPLICAS);
    actions.delete.truncate(BURST_REPLICAS);
    actions
}

fn manage(view: &View<'_>) -> Actions {
    let mut actions = Actions { delete: view.lost.clone(), ..Actions::default() };
    for node in &view.nodes {
        match node.fit {
            // A pod that is being deleted holds the node's place, and its ports.
            Fit::Run if node.pods.is_empty() => actions.create.push(node.name.clone()),
            Fit::Leave => actions.delete.extend(node.staying().cloned()),
            Fit::Run | Fit::Stay => {
                let (ended, running): (Vec<_>, Vec<_>) =
                    node.staying().partition(|pod| pod::is_finished(pod));
                let ended = ended.into_iter();
                actions.ended.extend(ended.map(|pod| (node.name.clone(), pod.clone())));
                actions.delete.extend(surplus(view, running));
            }
        }
    }
    actions
}

/// Which pods of a node are too many.
fn surplus(view: &View<'_>, running: Vec<&Arc<Pod>>) -> Vec<Arc<Pod>> {
    if running.len() < 2 {
        return Vec::new();
    }
    if limits(view, running.len()).surge == 0 {
        return running.into_iter().skip(1).cloned().collect();
    }
    let (new, old): (Vec<_>, Vec<_>) = running.into_iter().partition(|pod| view.is_updated(pod));
    // An old pod that works stays until its successor does.
    let keep_old = old.first().filter(|old| {
        let successor_works = new.first().is_some_and(|new| view.is_available(new));
        new.is_empty() || (pod::is_ready(old) && !successor_works)
    });
    let keep = [keep_old.copied(), new.first().copied()];
    let kept = |pod: &Arc<Pod>| keep.iter().flatten().any(|kept| Arc::ptr_eq(kept, pod));
    old.into_iter().chain(new).filter(|pod| !kept(pod)).cloned().collect()
}

struct Limits {
    unavailable: usize,
    surge: usize,
}

/// `maxUnavailable` and `maxSurge` in pods, percentages rounded up; both zero without a
/// rolling update.
fn limits(view: &View<'_>, wanted: usize) -> Limits {
    let strategy =
        view.set.spec.as_ref().and_then(|spec| spec.update_strategy.clone()).unwrap_or_default();
    if strategy.type_.as_deref() != Some("RollingUpdate") {
        return Limits { unavailable: 0, surge: 0 };
    }
    let rolling = strategy.rolling_update.unwrap_or_default();
    let total = i32::try_from(wanted).unwrap_or(i32::MAX);
    let pods = |amount: Option<_>| {
        let amount = amount.map_or(0, |amount| resolve(&amount, total, true));
        usize::try_from(amount).unwrap_or(0)
    };
    let surge = pods(rolling.max_surge);
    let unavailable = pods(rolling.max_unavailable).max(usize::from(surge == 0));
    Limits { unavailable, surge }
}

/// The next step towards the present template: nodes that get a second pod, pods to delete.
fn roll(view: &View<'_>) -> (Vec<String>, Vec<Arc<Pod>>) {
    let limits = limits(view, view.wanted().count());
    if limits.surge > 0 {
        roll_by_surge(view, limits.surge)
    } else if limits.unavailable > 0 {
        (Vec::new(), roll_in_place(view, limits.unavailable))
    } else {
        (Vec::new(), Vec::new())
    }
}

/// (new, old) pod of a node; none where there are several of a kind.
type NewAndOld<'a> = (Option<&'a Arc<Pod>>, Option<&'a Arc<Pod>>);

fn new_and_old<'a>(view: &View<'_>, node: &'a OnNode) -> Option<NewAndOld<'a>> {
    let (new, old): (Vec<_>, Vec<_>) = node.staying().partition(|pod| view.is_updated(pod));
    (new.len() < 2 && old.len() < 2).then(|| (new.first().copied(), old.first().copied()))
}

fn roll_in_place(view: &View<'_>, max_unavailable: usize) -> Vec<Arc<Pod>> {
    let (mut unavailable, mut delete, mut candidates) = (0, Vec::new(), Vec::new());
    for node in view.wanted() {
        match new_and_old(view, node) {
            Some((Some(new), None)) => unavailable += usize::from(!view.is_available(new)),
            // One that does not work is no loss.
            Some((None, Some(old))) if !view.is_available(old) => {
                unavailable += 1;
                delete.push(old.clone());
            }
            Some((None, Some(old))) => candidates.push(old.clone()),
            _ => unavailable += 1,
        }
    }
    candidates.truncate(max_unavailable.saturating_sub(unavailable));
    delete.extend(candidates);
    delete
}

fn roll_by_surge(view: &View<'_>, max_surge: usize) -> (Vec<String>, Vec<Arc<Pod>>) {
    let (mut surging, mut create, mut candidates) = (0, Vec::new(), Vec::new());
    let mut delete = Vec::new();
    for node in view.wanted() {
        match new_and_old(view, node) {
            None => surging += 1,
            Some((_, None)) => {}
            Some((None, Some(old))) if !view.is_available(old) => create.push(node.name.clone()),
            Some((None, Some(_))) => candidates.push(node.name.clone()),
            Some((Some(new), Some(old))) if view.is_available(new) => delete.push(old.clone()),
            Some((Some(_), Some(_))) => surging += 1,
        }
    }
    candidates.truncate(max_surge.saturating_sub(surging));
    create.extend(candidates);
    (create, delete)
}
