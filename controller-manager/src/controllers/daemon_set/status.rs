//! The numbers of a DaemonSet's status.
//!
//! Never counts pods: each node counts once, by its oldest pod.

use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSetStatus;

use crate::pod;

use super::fit::Fit;
use super::view::View;

/// The status as observed, before anything is done.
pub fn status(view: &View<'_>) -> DaemonSetStatus {
    let old = view.set.status.clone().unwrap_or_default();
    let mut status = DaemonSetStatus {
        observed_generation: view.set.metadata.generation,
        collision_count: old.collision_count,
        conditions: old.conditions,
        ..DaemonSetStatus::default()
    };
    let (mut updated, mut available) = (0, 0);
    for node in &view.nodes {
        let first = node.pods.first().map(|mine| &mine.pod);
        if node.fit != Fit::Run {
            status.number_misscheduled += i32::from(first.is_some());
            continue;
        }
        status.desired_number_scheduled += 1;
        let Some(pod) = first else { continue };
        status.current_number_scheduled += 1;
        status.number_ready += i32::from(pod::is_ready(pod));
        available += i32::from(view.is_available(pod));
        updated += i32::from(view.is_updated(pod));
    }
    let unavailable = status.desired_number_scheduled - available;
    let unless_zero = |number: i32| Some(number).filter(|number| *number != 0);
    status.updated_number_scheduled = unless_zero(updated);
    status.number_available = unless_zero(available);
    status.number_unavailable = unless_zero(unavailable);
    status
}

/// When a ready pod becomes available by waiting, the soonest.
pub fn next_available(view: &View<'_>) -> Option<Duration> {
    let pods = view.nodes.iter().flat_map(|node| node.staying());
    pods.filter_map(|pod| pod::available_in(pod, view.min_ready_seconds(), view.now))
        .filter(|left| !left.is_zero())
        .min()
        .map(|left| left.unsigned_abs())
}
