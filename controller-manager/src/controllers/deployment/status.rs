//! The status of a Deployment: counts and conditions.
//!
//! Never changes a ReplicaSet.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::facts;
use super::sets::Sets;

const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// Whether all wanted replicas are new and available, and no others are left.
pub fn is_complete(deployment: &Deployment, sets: &Sets) -> bool {
    is_complete_status(deployment, &counts(deployment, sets))
}

fn is_complete_status(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = facts::wanted(deployment);
    let count = |number: Option<i32>| number.unwrap_or(0);
    count(status.updated_replicas) == wanted
        && count(status.replicas) == wanted
        && count(status.available_replicas) == wanted
        && status.observed_generation >= deployment.metadata.generation
}

/// The status to be written, and when to look again. `created` names a ReplicaSet
/// created in this round; `counts_only` leaves the rollout's conditions alone.
pub fn reconcile(
    deployment: &Deployment,
    sets: &Sets,
    created: Option<&str>,
    counts_only: bool,
    now: Timestamp,
) -> (DeploymentStatus, Option<Duration>) {
    let mut status = counts(deployment, sets);
    let minimum = facts::wanted(deployment) - facts::max_unavailable(deployment);
    let available = if status.available_replicas.unwrap_or(0) >= minimum {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set(&mut status, AVAILABLE, available.0, available.1, available.2.to_owned(), now);
    let paused = deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false);
    let again_after = match deadline(deployment) {
        None => {
            remove(&mut status, PROGRESSING);
            None
        }
        Some(_) if counts_only => None,
        Some(_) if note_pause(&mut status, paused, now) || paused => None,
        Some(deadline) => progress(deployment, sets, created, &mut status, deadline, now),
    };
    copy_failures(sets, &mut status);
    (status, again_after)
}

fn counts(deployment: &Deployment, sets: &Sets) -> DeploymentStatus {
    let old = deployment.status.clone().unwrap_or_default();
    let statuses = || sets.all.iter().filter_map(|set| set.status.as_ref());
    let shown = |number: i32| Some(number).filter(|number| *number > 0);
    let available: i32 = statuses().filter_map(|status| status.available_replicas).sum();
    let wanted_now: i32 = sets.all.iter().map(|set| facts::replicas(set)).sum();
    let updated =
        sets.new.and_then(|at| sets.all[at].status.as_ref()).map_or(0, |status| status.replicas);
    DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: shown(statuses().map(|status| status.replicas).sum()),
        updated_replicas: shown(updated),
        ready_replicas: shown(statuses().filter_map(|status| status.ready_replicas).sum()),
        available_replicas: shown(available),
        unavailable_replicas: shown(wanted_now - available),
        terminating_replicas: shown(
            statuses().filter_map(|status| status.terminating_replicas).sum(),
        ),
        collision_count: old.collision_count,
        conditions: old.conditions,
    }
}

/// progressDeadlineSeconds; none where there is no deadline.
fn deadline(deployment: &Deployment) -> Option<SignedDuration> {
    let seconds = deployment.spec.as_ref()?.progress_deadline_seconds?;
    (seconds != i32::MAX).then(|| SignedDuration::from_secs(i64::from(seconds)))
}

/// Says in the condition that the rollout is paused or goes on; whether it just did.
fn note_pause(status: &mut DeploymentStatus, paused: bool, now: Timestamp) -> bool {
    let reason = find(status, PROGRESSING)
        .and_then(|condition| condition.reason.clone())
        .unwrap_or_default();
    match (paused, reason.as_str()) {
        (true, "ProgressDeadlineExceeded" | "DeploymentPaused") => false,
        (true, _) => {
            set(
                status,
                PROGRESSING,
                "Unknown",
                "DeploymentPaused",
                "Deployment is paused".to_owned(),
                now,
            );
            true
        }
        (false, "DeploymentPaused") => {
            set(
                status,
                PROGRESSING,
                "Unknown",
                "DeploymentResumed",
                "Deployment is resumed".to_owned(),
                now,
            );
            true
        }
        _ => false,
    }
}

fn progress(
    deployment: &Deployment,
    sets: &Sets,
    created: Option<&str>,
    status: &mut DeploymentStatus,
    deadline: SignedDuration,
    now: Timestamp,
) -> Option<Duration> {
    if let Some(name) = created {
        set_true(
            status,
            "NewReplicaSetCreated",
            format!("Created new replica set \"{name}\""),
            now,
        );
        return Some(deadline.unsigned_abs());
    }
    let subject = subject(deployment, sets);
    let known = find(status, PROGRESSING).cloned();
    let reason = known.as_ref().and_then(|known| known.reason.as_deref()).unwrap_or_default();
    if reason == "NewReplicaSetAvailable" && status.replicas == status.updated_replicas {
        return None;
    }
    if is_complete_status(deployment, status) {
        set_true(
            status,
            "NewReplicaSetAvailable",
            format!("{subject} has successfully progressed."),
            now,
        );
        return None;
    }
    if known.is_none() && sets.new.is_some() {
        let name = subject.trim_start_matches("ReplicaSet ");
        set_true(status, "FoundNewReplicaSet", format!("Found new replica set {name}"), now);
        return Some(deadline.unsigned_abs());
    }
    if is_progressing(&deployment.status.clone().unwrap_or_default(), status) {
        note_step(status, &subject, known, now);
        return Some(deadline.unsigned_abs());
    }
    check_deadline(status, &subject, known?, deadline, now)
}

/// What a message about progress is about: the new ReplicaSet, if there is one.
fn subject(deployment: &Deployment, sets: &Sets) -> String {
    match sets.new.and_then(|at| sets.all[at].metadata.name.as_deref()) {
        Some(name) => format!("ReplicaSet \"{name}\""),
        None => {
            let name = deployment.metadata.name.as_deref().unwrap_or_default();
            format!("Deployment \"{name}\"")
        }
    }
}

/// The rollout goes on, or is done.
fn set_true(status: &mut DeploymentStatus, reason: &str, message: String, now: Timestamp) {
    set(status, PROGRESSING, "True", reason, message, now);
}

/// Unlike other changes, each step forward renews the time the deadline counts from.
fn note_step(
    status: &mut DeploymentStatus,
    subject: &str,
    known: Option<DeploymentCondition>,
    now: Timestamp,
) {
    let since =
        known.filter(|known| known.status == "True").and_then(|known| known.last_transition_time);
    remove(status, PROGRESSING);
    let message = format!("{subject} is progressing.");
    set(status, PROGRESSING, "True", "ReplicaSetUpdated", message, now);
    if let (Some(since), Some(condition)) = (since, find_mut(status, PROGRESSING)) {
        condition.last_transition_time = Some(since);
    }
}

/// Says that the deadline has passed, or when it will.
fn check_deadline(
    status: &mut DeploymentStatus,
    subject: &str,
    known: DeploymentCondition,
    deadline: SignedDuration,
    now: Timestamp,
) -> Option<Duration> {
    if known.reason.as_deref() == Some("ProgressDeadlineExceeded") {
        return None;
    }
    let left = deadline - now.duration_since(known.last_update_time?.0);
    if left.is_positive() {
        return Some(left.unsigned_abs());
    }
    let message = format!("{subject} has timed out progressing.");
    set(status, PROGRESSING, "False", "ProgressDeadlineExceeded", message, now);
    None
}

/// Whether more is new, ready or available than before, or less is old.
fn is_progressing(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let count = |number: Option<i32>| number.unwrap_or(0);
    let outdated =
        |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    count(new.updated_replicas) > count(old.updated_replicas)
        || outdated(new) < outdated(old)
        || count(new.ready_replicas) > count(old.ready_replicas)
        || count(new.available_replicas) > count(old.available_replicas)
}

/// A ReplicaSet that cannot create its pods is the Deployment's trouble too; the new one's first.
fn copy_failures(sets: &Sets, status: &mut DeploymentStatus) {
    remove(status, REPLICA_FAILURE);
    let newest_first = sets.new.into_iter().chain(sets.old());
    let failures = newest_first
        .flat_map(|at| sets.all[at].status.iter())
        .flat_map(|status| status.conditions.iter().flatten());
    let Some(failure) = failures.into_iter().find(|condition| condition.type_ == REPLICA_FAILURE)
    else {
        return;
    };
    status.conditions.get_or_insert_default().push(DeploymentCondition {
        type_: REPLICA_FAILURE.to_owned(),
        status: failure.status.clone(),
        reason: failure.reason.clone(),
        message: failure.message.clone(),
        last_transition_time: failure.last_transition_time.clone(),
        last_update_time: failure.last_transition_time.clone(),
    });
}

fn find<'a>(status: &'a DeploymentStatus, type_: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == type_)
}

fn find_mut<'a>(
    status: &'a mut DeploymentStatus,
    type_: &str,
) -> Option<&'a mut DeploymentCondition> {
    status.conditions.iter_mut().flatten().find(|condition| condition.type_ == type_)
}

fn remove(status: &mut DeploymentStatus, type_: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| condition.type_ != type_);
    }
}

/// Sets a condition; one with the same status and reason stays as it is.
fn set(
    status: &mut DeploymentStatus,
    type_: &str,
    value: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let known = find(status, type_);
    if known.is_some_and(|known| known.status == value && known.reason.as_deref() == Some(reason)) {
        return;
    }
    let since = known
        .filter(|known| known.status == value)
        .and_then(|known| known.last_transition_time.clone());
    let condition = DeploymentCondition {
        type_: type_.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(since.unwrap_or(Time(now))),
    };
    remove(status, type_);
    status.conditions.get_or_insert_default().push(condition);
}
