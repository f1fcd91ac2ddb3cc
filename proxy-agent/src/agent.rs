//! The loop: reports in, model, mode. Applies nothing before Services and
//! EndpointSlices have both been seen whole, so that a fresh start without an API
//! server leaves the rules of a former run alone.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::conntrack;
use crate::explain::desk::Desk;
use crate::metrics::Metrics;
use crate::mode::Mode;
use crate::model::{Change, Destination, Dirty, Model, Protocol};
use crate::serve::Health;
use crate::watch::{KINDS, Report};

/// Longer than any packet takes from reading a destination's value to reading its
/// endpoint, also on a processor that was taken away meanwhile.
const SWEEP_EVERY: Duration = Duration::from_millis(20);
/// The kernel's table is compared with the plan this often, and repaired.
const VERIFY_EVERY: Duration = Duration::from_secs(60);
/// Between tries after a failure: doubled from the first to the last.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// Changes taken in before the kernel is told of them.
const MAX_BURST: usize = 10_000;
/// Names the moment that made a slice change.
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// One agent.
pub struct Agent {
    model: Model,
    modes: Vec<Box<dyn Mode>>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    synced: usize,
    dirty: Dirty,
    /// Trigger times of slices whose rules are not programmed yet.
    triggers: Vec<SystemTime>,
    retry: Duration,
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
            retry: FIRST_RETRY,
            desk,
        }
    }

    /// Works until the watches end. The rules stay.
    pub async fn run(&mut self, mut reports: mpsc::Receiver<Report>) {
        let never = || Instant::now() + Duration::from_secs(86_400);
        let mut sync_at = never();
        let mut sweep_at = never();
        let mut verify_at = never();
        loop {
            let wake = sync_at.min(sweep_at).min(verify_at);
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
                    if self.retry == FIRST_RETRY {
                        sync_at = Instant::now();
                    }
                }
                question = self.desk.next() => {
                    let model = (self.synced == KINDS).then_some(&self.model);
                    question.answer(model, &self.modes);
                }
                () = sleep_until(wake) => {}
            }
            let now = Instant::now();
            if verify_at <= now {
                self.modes.iter_mut().for_each(|mode| mode.distrust());
                sync_at = now;
            }
            if sync_at <= now {
                sync_at = match self.sync() {
                    true => never(),
                    false => now + self.retry,
                };
                verify_at = now + VERIFY_EVERY;
            }
            if sweep_at <= now {
                self.sweep();
                sweep_at = never();
            }
            if self.modes.iter().any(|mode| mode.needs_sweep()) {
                sweep_at = sweep_at.min(Instant::now() + SWEEP_EVERY);
            }
        }
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Synced => self.synced += 1,
            Report::Change(change) => {
                match &change {
                    Change::Slice(slice) => {
                        self.metrics.endpoint_changes.inc();
                        // What was there before the start says nothing about this agent.
                        if self.synced == KINDS {
                            self.triggers.extend(trigger_time(slice));
                        }
                    }
                    Change::SliceGone(_) => {
                        self.metrics.endpoint_changes.inc();
                    }
                    Change::Service(_) | Change::ServiceGone(_) => {
                        self.metrics.service_changes.inc();
                    }
                    Change::Node(_) => {}
                }
                self.metrics.last_queued.set(seconds_since_1970());
                self.health.queued();
                self.model.apply(change);
            }
        }
    }

    /// Whether all modes have it.
    fn sync(&mut self) -> bool {
        let begin = std::time::Instant::now();
        self.dirty.extend(self.model.take_dirty());
        let mut succeeded = true;
        for mode in &mut self.modes {
            if let Err(error) = mode.sync(&self.model, &self.dirty) {
                tracing::error!(
                    mode = mode.name(),
                    "{error:#}; trying again in {:?}, former rules stay",
                    self.retry
                );
                succeeded = false;
            }
        }
        if succeeded {
            self.forget_stale_connections();
            self.dirty = Dirty::default();
            self.retry = FIRST_RETRY;
            self.metrics
                .sync_seconds
                .observe(begin.elapsed().as_secs_f64());
            self.metrics.last_sync.set(seconds_since_1970());
            for trigger in self.triggers.drain(..) {
                if let Ok(since) = trigger.elapsed() {
                    self.metrics
                        .programming_seconds
                        .observe(since.as_secs_f64());
                }
            }
            self.health.updated();
        } else {
            self.metrics.failures.inc();
            self.retry = (self.retry * 2).min(LAST_RETRY);
        }
        succeeded
    }

    /// After the rules are there, so that what a client sends next is tracked anew.
    fn forget_stale_connections(&self) {
        let is_udp = |to: &&Destination| to.transport().0 == Protocol::Udp;
        let changed = self.dirty.destinations.iter().filter(is_udp);
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
        if wanted.is_empty() {
            return;
        }
        match conntrack::clean(&wanted) {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "forgot stale UDP connections"),
            Err(error) => tracing::warn!(%error, "cannot forget stale UDP connections"),
        }
    }

    fn sweep(&mut self) {
        for mode in &mut self.modes {
            if let Err(error) = mode.sweep(&self.model) {
                // The next round begins with a look at the kernel, and sweeps again.
                tracing::warn!(mode = mode.name(), "{error:#}");
            }
        }
    }
}

fn trigger_time(slice: &EndpointSlice) -> Option<SystemTime> {
    let text = slice.metadata.annotations.as_ref()?.get(TRIGGER_TIME)?;
    Some(text.parse::<jiff::Timestamp>().ok()?.into())
}

fn seconds_since_1970() -> f64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
