//! The loop: reports in, model, mode. Applies nothing before Services and
//! EndpointSlices have both been seen whole, so that a fresh start without an API
//! server leaves the rules of a former run alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::conntrack;
use crate::explain::desk::Desk;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::mode::{self, Mode};
use crate::model::{Change, Destination, Dirty, Family, Model, ServiceName};
use crate::services::Services;
use crate::watch::{KINDS, Report};

/// Between two sweeps; what matters is that packets pass meanwhile
/// (`mode::let_packets_pass`), this keeps sweeps few.
const SWEEP_EVERY: Duration = Duration::from_millis(20);
/// Between tries after a failure: doubled from the first to the last.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// Between two repairs of what others have changed, if they go on.
const REPAIR_EVERY: Duration = Duration::from_secs(1);
/// Changes taken in before the kernel is told of them.
const MAX_BURST: usize = 10_000;
/// Trigger times kept while the kernel refuses; later ones are not measured.
const MAX_TRIGGERS: usize = 10_000;
/// Names the moment that made a slice change.
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// When rounds are, beside those that changes cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Periods {
    /// The kernel's table is compared with the plan this often, and repaired.
    pub verify: Duration,
    /// From one round's begin to the next's at least.
    pub between_syncs: Duration,
}

impl Default for Periods {
    fn default() -> Periods {
        Periods {
            verify: Duration::from_secs(60),
            between_syncs: Duration::ZERO,
        }
    }
}

/// What happens beside rules.
pub struct Beside {
    /// Follows the Services that changed.
    pub services: Services,
    /// Sees the own Node.
    pub on_node: Box<dyn Fn(&Node) + Send>,
    /// Removes what other modes have left, once this one's rules are there.
    pub clean_up: Box<dyn Fn() -> anyhow::Result<()> + Send>,
}

/// One agent.
pub struct Agent {
    model: Model,
    modes: Vec<Box<dyn Mode>>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    synced: usize,
    dirty: Dirty,
    /// Trigger times of slices whose rules are not programmed yet.
    triggers: Vec<(Family, SystemTime)>,
    periods: Periods,
    beside: Option<Beside>,
    /// Services whose rules are there, and nothing else yet.
    unfollowed: BTreeSet<ServiceName>,
    /// When to remove what other modes have left; `None`: it is gone.
    clean_up_at: Option<Instant>,
    /// The next round looks at everything.
    is_full: bool,
    /// The delay of the last retry; `None`: the last round succeeded.
    retry: Option<Duration>,
    desk: Desk,
}

impl Agent {
    /// An agent with an empty model; each of `modes` gets the same changes. Questions
    /// that come to `desk` are answered between two rounds.
    pub fn new(
        model: Model,
        modes: Vec<Box<dyn Mode>>,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        desk: Desk,
    ) -> Agent {
        Agent {
            model,
            modes,
            metrics,
            health,
            synced: 0,
            dirty: Dirty::default(),
            triggers: Vec::new(),
            periods: Periods::default(),
            beside: None,
            unfollowed: BTreeSet::new(),
            clean_up_at: Some(Instant::now()),
            is_full: true,
            retry: None,
            desk,
        }
    }

    /// The same agent with other periods, and with something to do beside rules.
    pub fn with(self, periods: Periods, beside: Beside) -> Agent {
        Agent {
            periods,
            beside: Some(beside),
            ..self
        }
    }

    /// Works until the watches end. The rules stay.
    pub async fn run(&mut self, mut reports: mpsc::Receiver<Report>) {
        let never = || Instant::now() + Duration::from_secs(86_400);
        let [mut sync_at, mut sweep_at, mut verify_at, mut repair_at] = [(); 4].map(|()| never());
        let [mut not_before, mut quiet_until] = [Instant::now(); 2];
        let disturbed = Arc::new(Notify::new());
        let _watchers = self.watch_for_others(&disturbed);
        let mut passing = JoinSet::new();
        loop {
            let wake = sync_at.min(sweep_at).min(verify_at).min(repair_at);
            tokio::select! {
                biased;
                report = reports.recv() => {
                    let Some(report) = report else { return };
                    self.take(report);
                    for _ in 0..MAX_BURST {
                        let Ok(report) = reports.try_recv() else { break };
                        self.take(report);
                    }
                    if self.synced < KINDS {
                        continue;
                    }
                    // While the kernel refuses, new changes wait for the retry.
                    if self.retry.is_none() {
                        sync_at = sync_at.min(not_before.max(Instant::now()));
                    }
                }
                question = self.desk.next() => {
                    let model = (self.synced == KINDS).then_some(&self.model);
                    question.answer(model, &self.modes);
                }
                () = disturbed.notified() => {
                    // Before the first round there is nothing to compare with.
                    if self.synced == KINDS && self.modes.iter_mut().any(|m| m.is_disturbed()) {
                        repair_at = repair_at.min(quiet_until);
                    }
                }
                Some(_) = passing.join_next(), if !passing.is_empty() => self.sweep(),
                () = sleep_until(wake) => {}
            }
            let now = Instant::now();
            if verify_at <= now {
                self.modes.iter_mut().for_each(|mode| mode.distrust());
                self.is_full = true;
                (sync_at, verify_at) = (now, never());
            }
            if repair_at <= now {
                self.distrust_disturbed();
                (sync_at, repair_at, quiet_until) = (now, never(), now + REPAIR_EVERY);
            }
            if sync_at <= now {
                sync_at = match self.sync() {
                    Ok(()) => never(),
                    Err(delay) => now + delay,
                };
                verify_at = verify_at.min(now + self.periods.verify);
                not_before = now + self.periods.between_syncs;
                self.look_beside().await;
            }
            if sweep_at <= now {
                passing.spawn_blocking(mode::let_packets_pass);
                sweep_at = never();
            }
            if passing.is_empty() && self.modes.iter().any(|mode| mode.needs_sweep()) {
                sweep_at = sweep_at.min(Instant::now() + SWEEP_EVERY);
            }
        }
    }

    /// Tasks that tell when a mode's kernel may have been changed by others; they end
    /// when the set is dropped.
    fn watch_for_others(&self, disturbed: &Arc<Notify>) -> JoinSet<()> {
        let mut watchers = JoinSet::new();
        for descriptor in self.modes.iter().filter_map(|mode| mode.watched()) {
            let disturbed = disturbed.clone();
            watchers.spawn(async move {
                // SAFETY: the descriptor lives in the AsyncFd alone and closes after it is
                // deregistered.
                let waiting =
                    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
                let Ok(descriptor) = waiting else { return };
                while let Ok(mut ready) = descriptor.readable().await {
                    ready.clear_ready();
                    disturbed.notify_one();
                }
            });
        }
        watchers
    }

    fn distrust_disturbed(&mut self) {
        for mode in &mut self.modes {
            if mode.is_disturbed() {
                tracing::warn!(
                    mode = mode.name(),
                    "somebody else changed the rules: repairing"
                );
                mode.distrust();
                self.is_full = true;
            }
        }
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Synced => self.synced += 1,
            Report::Change(change) => {
                self.account(&change);
                self.health.queued();
                self.model.apply(change);
            }
        }
    }

    fn account(&mut self, change: &Change) {
        match change {
            Change::Slice(slice) => {
                self.metrics.endpoint_changes.inc();
                self.metrics.endpoint_changes_pending.inc();
                // What was there before the start says nothing about this agent.
                if self.synced == KINDS && self.triggers.len() < MAX_TRIGGERS {
                    self.triggers.extend(trigger(slice));
                }
            }
            Change::SliceGone(_) => {
                self.metrics.endpoint_changes.inc();
                self.metrics.endpoint_changes_pending.inc();
            }
            Change::Service(_) | Change::ServiceGone(_) => {
                self.metrics.service_changes.inc();
                self.metrics.service_changes_pending.inc();
            }
            Change::Node(node) => {
                self.health.observe_node(node);
                if let Some(beside) = &self.beside {
                    (beside.on_node)(node);
                }
            }
        }
        for mode in &self.modes {
            self.metrics.queued(mode.settings().family);
        }
    }

    /// Until all modes have it; else says when to try again.
    fn sync(&mut self) -> Result<(), Duration> {
        self.dirty.extend(self.model.take_dirty());
        self.unfollowed.extend(self.model.take_recomputed());
        let retry = self
            .retry
            .map_or(FIRST_RETRY, |last| (last * 2).min(LAST_RETRY));
        let mut succeeded = true;
        for mode in &mut self.modes {
            let family = mode.settings().family;
            let begin = std::time::Instant::now();
            if let Err(error) = mode.sync(&self.model, &self.dirty) {
                tracing::error!(
                    mode = mode.name(),
                    "{error:#}; trying again in {retry:?}, former rules stay"
                );
                self.metrics.failed(family);
                succeeded = false;
                continue;
            }
            let seconds = begin.elapsed().as_secs_f64();
            self.metrics.synced(family, seconds, self.is_full);
            for (what, count) in mode.refusals() {
                self.metrics.refused(family, what, count);
            }
        }
        self.is_full = !succeeded;
        if !succeeded {
            self.retry = Some(retry);
            return Err(retry);
        }
        self.forget_stale_connections();
        self.dirty = Dirty::default();
        self.retry = None;
        self.metrics.endpoint_changes_pending.set(0);
        self.metrics.service_changes_pending.set(0);
        for (family, trigger) in self.triggers.drain(..) {
            if let Ok(since) = trigger.elapsed() {
                self.metrics.programmed(family, since.as_secs_f64());
            }
        }
        self.health.updated();
        Ok(())
    }

    /// What follows from a round beside rules. Where it failed, Services are followed
    /// after the next one.
    async fn look_beside(&mut self) {
        let Some(beside) = &mut self.beside else {
            return;
        };
        if self.retry.is_some() {
            return;
        }
        let now = Instant::now();
        if self.clean_up_at.is_some_and(|at| at <= now) {
            self.clean_up_at = match (beside.clean_up)() {
                Ok(()) => None,
                Err(error) => {
                    tracing::error!("{error:#}; trying again later");
                    Some(now + self.periods.verify)
                }
            };
        }
        let changed = std::mem::take(&mut self.unfollowed);
        let changes = beside.services.follow(changed, &self.model, &self.modes);
        beside.services.answer(changes).await;
    }

    /// After the rules are there, so that what a client sends next is tracked anew.
    fn forget_stale_connections(&self) {
        let is_cleaned = |to: &&Destination| conntrack::is_cleaned(to.transport().0);
        let changed = self.dirty.destinations.iter().filter(is_cleaned);
        let wanted: conntrack::Wanted = changed
            .map(|to| {
                let routes = self.model.routes(to).into_iter();
                let all = routes
                    .flat_map(|r| [Some(&r.inside), r.outside.as_ref()])
                    .flatten();
                let endpoints = || all.flat_map(|route| route.endpoints.iter().copied());
                let tracked = self.modes.iter().find_map(|mode| mode.tracked_as(to));
                (to.clone(), tracked.unwrap_or_else(|| endpoints().collect()))
            })
            .collect();
        for family in [Family::V4, Family::V6] {
            let of_family = wanted.iter().filter(|(to, _)| to.family() == family);
            let wanted: conntrack::Wanted = of_family
                .map(|(to, targets)| (to.clone(), targets.clone()))
                .collect();
            if wanted.is_empty() {
                continue;
            }
            let begin = std::time::Instant::now();
            match conntrack::clean(&wanted) {
                Ok(cleaned) => {
                    if cleaned.forgotten != 0 {
                        tracing::debug!(?cleaned, "forgot stale connections");
                    }
                    let seconds = begin.elapsed().as_secs_f64();
                    self.metrics
                        .forgot_connections(family, cleaned.forgotten, seconds);
                }
                Err(error) => tracing::warn!(%error, "cannot forget stale connections"),
            }
        }
    }

    fn sweep(&mut self) {
        for mode in &mut self.modes {
            let family = mode.settings().family;
            if let Err(error) = mode.sweep(&self.model) {
                self.metrics.cleanup_failed(family);
                // The next round begins with a look at the kernel, and sweeps again.
                tracing::warn!(mode = mode.name(), "{error:#}");
            }
        }
    }
}

fn trigger(slice: &EndpointSlice) -> Option<(Family, SystemTime)> {
    let family = match slice.address_type.as_str() {
        "IPv4" => Family::V4,
        "IPv6" => Family::V6,
        _ => return None,
    };
    let text = slice.metadata.annotations.as_ref()?.get(TRIGGER_TIME)?;
    Some((family, text.parse::<jiff::Timestamp>().ok()?.into()))
}

#[cfg(test)]
mod tests;
