//! The loop: reports in, catalog, mode. Applies nothing before Services and
//! EndpointSlices have both been seen whole, so that a fresh start without an API
//! server leaves the rules of a former run alone.

mod lane;

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

use self::lane::Lane;
use crate::catalog::{Catalog, Change, ServiceName};
use crate::conntrack::{self, Cleaned, Wanted};
use crate::explain::desk::Desk;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::mode::{self, Mode};
use crate::netlink::KernelError;
use crate::routes::{Family, RouteTable, Routes};
use crate::services::Services;
use crate::watch::{KINDS, Report};

/// Between two sweeps; what matters is that packets pass meanwhile
/// (`mode::let_packets_pass`), this keeps sweeps few.
const SWEEP_EVERY: Duration = Duration::from_millis(20);
/// Changes taken in before the kernel is told of them.
const MAX_BURST: usize = 10_000;
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
        Periods { verify: Duration::from_secs(60), between_syncs: Duration::ZERO }
    }
}

/// What happens beside rules.
pub struct Beside {
    /// Follows the Services that changed.
    pub services: Services,
    /// Sees the own Node.
    pub on_node: Box<dyn Fn(&Node) + Send>,
    /// Removes what other modes have left of a family, once this one's rules are there.
    pub clean_up: Box<dyn Fn(Family) -> anyhow::Result<()> + Send>,
}

/// Forgets stale connections.
type Forget = Box<dyn Fn(&Wanted) -> Result<Cleaned, KernelError> + Send>;

/// One agent.
pub struct Agent {
    catalog: Catalog,
    modes: Vec<Box<dyn Mode>>,
    /// One for each of `modes`, in their order.
    lanes: Vec<Lane>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    synced: usize,
    periods: Periods,
    beside: Option<Beside>,
    /// Services whose rules are there, and nothing else yet.
    unfollowed: BTreeSet<ServiceName>,
    forget: Forget,
    desk: Desk,
}

impl Agent {
    /// An agent with an empty catalog; each of `modes` has another family and gets the same
    /// changes. Questions that come to `desk` are answered between two rounds.
    pub fn new(
        catalog: Catalog,
        modes: Vec<Box<dyn Mode>>,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        desk: Desk,
    ) -> Agent {
        let families = modes.iter().map(|mode| mode.settings().family);
        let lanes: Vec<Lane> = families.map(|of| Lane::new(of, Instant::now())).collect();
        lanes.iter().for_each(|lane| health.carries(lane.family));
        Agent {
            catalog,
            modes,
            lanes,
            metrics,
            health,
            synced: 0,
            periods: Periods::default(),
            beside: None,
            unfollowed: BTreeSet::new(),
            forget: Box::new(conntrack::clean),
            desk,
        }
    }

    /// The same agent with other periods, and with something to do beside rules.
    pub fn with(self, periods: Periods, beside: Beside) -> Agent {
        Agent { periods, beside: Some(beside), ..self }
    }

    /// Works until the watches end. The rules stay.
    pub async fn run(&mut self, mut reports: mpsc::Receiver<Report>) {
        let mut sweep_at = None;
        let disturbed = Arc::new(Notify::new());
        let _watchers = self.watch_for_others(&disturbed);
        let mut passing = JoinSet::new();
        loop {
            let wake = self.lanes.iter().filter_map(Lane::wake_at);
            let wake = wake.chain(sweep_at).min();
            let wake = wake.unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400));
            tokio::select! {
                // Reports come last: they may never cease, and the rest is soon done.
                biased;
                Some(_) = passing.join_next(), if !passing.is_empty() => self.sweep(),
                () = disturbed.notified() => self.note_disturbance(),
                question = self.desk.next() => {
                    let catalog = (self.synced == KINDS).then_some(&self.catalog);
                    question.answer(catalog, &self.modes);
                }
                report = reports.recv() => {
                    let Some(report) = report else { return };
                    self.take(report);
                    for _ in 0..MAX_BURST {
                        let Ok(report) = reports.try_recv() else { break };
                        self.take(report);
                    }
                    if self.synced == KINDS {
                        let now = Instant::now();
                        self.lanes.iter_mut().for_each(|lane| lane.changed(now));
                    }
                }
                () = sleep_until(wake) => {}
            }
            self.work().await;
            if sweep_at.take_if(|at| *at <= Instant::now()).is_some() {
                passing.spawn_blocking(mode::let_packets_pass);
            }
            if passing.is_empty() && self.modes.iter().any(|mode| mode.needs_sweep()) {
                sweep_at.get_or_insert(Instant::now() + SWEEP_EVERY);
            }
        }
    }

    /// All that is due.
    async fn work(&mut self) {
        let now = Instant::now();
        for (lane, mode) in self.lanes.iter_mut().zip(&mut self.modes) {
            if lane.verifies(now) {
                mode.distrust();
            }
            if lane.repairs(now) && mode.is_disturbed() {
                tracing::warn!(mode = mode.name(), "somebody else changed the rules: repairing");
                mode.distrust();
                lane.looks_at_all(now);
            }
        }
        let due: Vec<bool> = self.lanes.iter_mut().map(|lane| lane.syncs(now)).collect();
        if due.contains(&true) {
            self.note_dirty();
        }
        let mut lanes = self.lanes.iter().zip(&due);
        let was_full = lanes.any(|(lane, due)| *due && lane.is_full);
        for index in (0..due.len()).filter(|index| due[*index]) {
            self.sync(index);
        }
        for index in 0..self.lanes.len() {
            self.forget_stale_connections(index);
        }
        if due.contains(&true) {
            self.look_beside().await;
        }
        if was_full {
            client::memory::give_back();
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

    fn note_disturbance(&mut self) {
        // Before the first round there is nothing to compare with.
        if self.synced < KINDS {
            return;
        }
        let now = Instant::now();
        for (lane, mode) in self.lanes.iter_mut().zip(&mut self.modes) {
            if mode.is_disturbed() {
                lane.disturbed(now);
            }
        }
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Synced => self.synced += 1,
            Report::Change(change) => {
                self.account(&change);
                self.lanes.iter().for_each(|l| self.health.queued(l.family));
                self.catalog.apply(change);
            }
        }
    }

    fn account(&mut self, change: &Change) {
        match change {
            Change::Slice(slice) => {
                self.metrics.endpoint_changes.inc();
                self.metrics.endpoint_changes_pending.inc();
                // What was there before the start says nothing about this agent.
                if self.synced == KINDS
                    && let Some((family, since)) = trigger(slice)
                {
                    let of_family = |lane: &&mut Lane| lane.family == family;
                    let lanes = self.lanes.iter_mut().filter(of_family);
                    lanes.for_each(|lane| lane.triggered(since));
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
        for lane in &self.lanes {
            self.metrics.queued(lane.family);
        }
    }

    /// Gives each family its part of what has changed in the catalog.
    fn note_dirty(&mut self) {
        let dirty = self.catalog.take_dirty();
        for lane in &mut self.lanes {
            lane.dirty.extend(dirty.of_family(lane.family));
        }
        self.unfollowed.extend(self.catalog.take_recomputed());
    }

    /// One family's round.
    fn sync(&mut self, index: usize) {
        let (lane, mode) = (&mut self.lanes[index], &mut self.modes[index]);
        let begin = Instant::now();
        if let Err(error) = mode.sync(&self.catalog, &lane.dirty) {
            let retry = lane.failed(begin, Instant::now(), self.periods);
            tracing::error!(
                mode = mode.name(),
                family = %lane.family,
                "{error:#}; trying again in {retry:?}, former rules stay"
            );
            self.metrics.failed(lane.family);
            return;
        }
        let seconds = begin.elapsed().as_secs_f64();
        self.metrics.synced(lane.family, seconds, lane.is_full);
        for (what, count) in mode.refusals() {
            self.metrics.refused(lane.family, what, count);
        }
        let changed = lane.dirty.destinations.iter();
        let cleaned = changed.filter(|to| conntrack::is_cleaned(to.transport().0));
        if !lane.stale.add(cleaned.cloned()) {
            tracing::warn!("too many connections to forget later: some stay until they end");
        }
        for trigger in lane.succeeded(begin, self.periods) {
            if let Ok(since) = trigger.elapsed() {
                self.metrics.programmed(lane.family, since.as_secs_f64());
            }
        }
        self.health.updated(lane.family);
        if self.lanes.iter().all(Lane::is_settled) {
            self.metrics.endpoint_changes_pending.set(0);
            self.metrics.service_changes_pending.set(0);
        }
    }

    /// What follows from a round beside rules, of the families where it succeeded. Where it
    /// failed for all, Services are followed after the next one.
    async fn look_beside(&mut self) {
        let Some(beside) = &mut self.beside else {
            return;
        };
        if self.lanes.iter().all(Lane::is_failing) {
            return;
        }
        let now = Instant::now();
        for lane in self.lanes.iter_mut().filter(|lane| !lane.is_failing()) {
            if lane.clean_up_at.take_if(|at| *at <= now).is_some()
                && let Err(error) = (beside.clean_up)(lane.family)
            {
                tracing::error!("{error:#}; trying again later");
                lane.clean_up_at = Some(now + self.periods.verify);
            }
        }
        let changed = std::mem::take(&mut self.unfollowed);
        let changes = beside.services.follow(changed, &self.catalog, &self.modes);
        beside.services.answer(changes).await;
    }

    /// After the rules are there, so that what a client sends next is tracked anew.
    fn forget_stale_connections(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        if lane.is_failing() {
            return;
        }
        let now = Instant::now();
        let wanted: Wanted = lane
            .stale
            .due(now)
            .map(|to| {
                let routes = self.catalog.routes(to).into_iter();
                let tracked = self.modes[index].tracked_as(to);
                let endpoints = || routes.flat_map(Routes::endpoints).collect();
                (to.clone(), tracked.unwrap_or_else(endpoints))
            })
            .collect();
        if wanted.is_empty() {
            return;
        }
        match (self.forget)(&wanted) {
            Ok(cleaned) => {
                lane.stale.done();
                if cleaned.forgotten != 0 {
                    tracing::debug!(?cleaned, "forgot stale connections");
                }
                let seconds = now.elapsed().as_secs_f64();
                let forgotten = cleaned.forgotten;
                self.metrics.forgot_connections(lane.family, forgotten, seconds);
            }
            // Once: a kernel that cannot do it never will.
            Err(error) if lane.stale.failed(Instant::now()) => {
                tracing::warn!(%error, "cannot forget stale connections; trying again");
            }
            Err(error) => tracing::debug!(%error, "still cannot forget stale connections"),
        }
    }

    fn sweep(&mut self) {
        for mode in &mut self.modes {
            let family = mode.settings().family;
            if let Err(error) = mode.sweep() {
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
