//! How far one mode's instance has come, which has one IP family, and when it is its turn
//! again: a family that fails delays no other. Never calls the mode, and reads no clock.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use client::BackOff;
use tokio::time::Instant;

use super::Periods;
use crate::routes::{Destination, Dirty, Family};

/// Between tries after a failure.
const RETRY: BackOff = BackOff::new(Duration::from_millis(100), Duration::from_secs(30));
/// Between two repairs of what others have changed, if they go on.
const REPAIR_EVERY: Duration = Duration::from_secs(1);
/// Trigger times kept while the kernel refuses; later ones are not measured.
const MAX_TRIGGERS: usize = 10_000;
/// Destinations whose stale connections are still to be forgotten, while the kernel refuses
/// that; those of further ones stay.
const MAX_STALE: usize = 10_000;

/// Destinations whose tracked connections may lead to endpoints that are gone.
pub struct Stale {
    waiting: BTreeSet<Destination>,
    back_off: BackOff,
    /// When to try again; `None`: with the next successful round.
    at: Option<Instant>,
}

impl Stale {
    fn new() -> Stale {
        Stale { waiting: BTreeSet::new(), back_off: RETRY, at: None }
    }

    /// Adds these; whether all have room.
    pub fn add(&mut self, destinations: impl Iterator<Item = Destination>) -> bool {
        let mut fit = true;
        for to in destinations {
            if self.waiting.len() < MAX_STALE || self.waiting.contains(&to) {
                self.waiting.insert(to);
            } else {
                fit = false;
            }
        }
        fit
    }

    /// Those to be asked about now.
    pub fn due(&self, now: Instant) -> impl Iterator<Item = &Destination> {
        let is_due = self.at.is_none_or(|at| at <= now);
        self.waiting.iter().filter(move |_| is_due)
    }

    /// Their connections are forgotten.
    pub fn done(&mut self) {
        *self = Stale::new();
    }

    /// They are not; whether that is news.
    pub fn failed(&mut self, now: Instant) -> bool {
        let is_news = !self.back_off.is_failing();
        self.at = Some(now + self.back_off.lengthen());
        is_news
    }
}

/// One family's state.
pub struct Lane {
    /// The family.
    pub family: Family,
    /// What has changed since the last round that succeeded.
    pub dirty: Dirty,
    /// The next round looks at everything.
    pub is_full: bool,
    /// What the kernel's connection tracking is still to be told.
    pub stale: Stale,
    /// When to remove what other modes have left; `None`: it is gone.
    pub clean_up_at: Option<Instant>,
    /// Trigger times of slices whose rules are not programmed yet.
    triggers: Vec<SystemTime>,
    back_off: BackOff,
    sync_at: Option<Instant>,
    verify_at: Option<Instant>,
    repair_at: Option<Instant>,
    not_before: Instant,
    quiet_until: Instant,
}

impl Lane {
    /// Before the first round.
    pub fn new(family: Family, now: Instant) -> Lane {
        Lane {
            family,
            dirty: Dirty::default(),
            is_full: true,
            stale: Stale::new(),
            clean_up_at: Some(now),
            triggers: Vec::new(),
            back_off: RETRY,
            sync_at: None,
            verify_at: None,
            repair_at: None,
            not_before: now,
            quiet_until: now,
        }
    }

    /// When something is to be done next, if nothing happens.
    pub fn wake_at(&self) -> Option<Instant> {
        let stale_at = self.stale.at.filter(|_| !self.is_failing());
        let times = [self.sync_at, self.verify_at, self.repair_at, stale_at];
        times.into_iter().flatten().min()
    }

    /// Something has changed. While the kernel refuses, it waits for the next try.
    pub fn changed(&mut self, now: Instant) {
        if !self.is_failing() {
            sooner(&mut self.sync_at, self.not_before.max(now));
        }
    }

    /// Somebody else may have changed the rules.
    pub fn disturbed(&mut self, now: Instant) {
        sooner(&mut self.repair_at, self.quiet_until.max(now));
    }

    /// A slice was changed by what happened then.
    pub fn triggered(&mut self, since: SystemTime) {
        if self.triggers.len() < MAX_TRIGGERS {
            self.triggers.push(since);
        }
    }

    /// Whether it is time to look at all that is in the kernel; asked once.
    pub fn verifies(&mut self, now: Instant) -> bool {
        let is_due = take_due(&mut self.verify_at, now);
        if is_due {
            self.looks_at_all(now);
        }
        is_due
    }

    /// Whether it is time to repair what others have changed; asked once.
    pub fn repairs(&mut self, now: Instant) -> bool {
        let is_due = take_due(&mut self.repair_at, now);
        if is_due {
            self.quiet_until = now + REPAIR_EVERY;
        }
        is_due
    }

    /// The next round looks at everything, and comes now; but where the last one failed,
    /// at its time, since that looks at everything as well.
    pub fn looks_at_all(&mut self, now: Instant) {
        self.is_full = true;
        if !self.is_failing() {
            self.sync_at = Some(now);
        }
    }

    /// Whether it is time for a round; asked once, and `succeeded` or `failed` follows.
    pub fn syncs(&mut self, now: Instant) -> bool {
        take_due(&mut self.sync_at, now)
    }

    /// The round that began then has brought everything into the kernel; gives the trigger
    /// times of what it has brought there.
    pub fn succeeded(&mut self, begin: Instant, periods: Periods) -> Vec<SystemTime> {
        self.end_round(begin, periods);
        self.back_off.end();
        self.is_full = false;
        self.dirty = Dirty::default();
        std::mem::take(&mut self.triggers)
    }

    /// The round that began then has not, and has just ended: how long to wait for the next.
    pub fn failed(&mut self, begin: Instant, end: Instant, periods: Periods) -> Duration {
        self.end_round(begin, periods);
        let delay = self.back_off.lengthen();
        self.is_full = true;
        // From its end: one that takes long to fail would otherwise never leave the loop.
        self.sync_at = Some(end + delay);
        delay
    }

    fn end_round(&mut self, begin: Instant, periods: Periods) {
        self.not_before = begin + periods.between_syncs;
        self.verify_at.get_or_insert(begin + periods.verify);
    }

    /// Whether the last round failed.
    pub fn is_failing(&self) -> bool {
        self.back_off.is_failing()
    }

    /// Whether the kernel has all that is known.
    pub fn is_settled(&self) -> bool {
        !self.is_failing() && self.sync_at.is_none()
    }
}

fn sooner(at: &mut Option<Instant>, than: Instant) {
    *at = Some(at.map_or(than, |at| at.min(than)));
}

fn take_due(at: &mut Option<Instant>, now: Instant) -> bool {
    at.take_if(|at| *at <= now).is_some()
}
