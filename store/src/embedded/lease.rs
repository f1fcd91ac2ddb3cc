//! When leases end.
//!
//! The grant is in the log, the deadline only in memory: after a restart every lease has its
//! whole time again, as in etcd. The writer removes the keys.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

use crate::{LeaseId, embedded::state::State};

/// When each lease ends.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    by_time: BTreeSet<(Instant, LeaseId)>,
}

impl Deadlines {
    /// Every lease of the state, with its whole time from now on.
    pub fn of(state: &State) -> Self {
        let mut deadlines = Self::default();
        for (id, lease) in &state.leases {
            deadlines.start(*id, lease.ttl_s);
        }
        deadlines
    }

    /// Starts the time of a lease.
    pub fn start(&mut self, id: LeaseId, ttl_s: i64) {
        let ttl = Duration::from_secs(ttl_s.unsigned_abs());
        // A time the clock cannot hold never comes.
        if let Some(at) = Instant::now().checked_add(ttl) {
            self.by_time.insert((at, id));
        }
    }

    /// Lets leases end once more after a while.
    pub fn again(&mut self, after: Duration, leases: impl Iterator<Item = LeaseId>) {
        let at = Instant::now() + after;
        self.by_time.extend(leases.map(|id| (at, id)));
    }

    /// How long until the next lease ends, if there is one.
    pub fn wait(&self) -> Option<Duration> {
        let (at, _) = self.by_time.first()?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// Takes the leases that have ended.
    pub fn take_ended(&mut self) -> Vec<LeaseId> {
        let now = Instant::now();
        let later = self.by_time.split_off(&(now, LeaseId::MAX));
        let ended = std::mem::replace(&mut self.by_time, later);
        ended.into_iter().map(|(_, id)| id).collect()
    }
}

/// A lease id that is not in use: positive and random, so that an old one is not met again.
pub(super) fn fresh_id(state: &State) -> LeaseId {
    loop {
        let random = RandomState::new().hash_one(state.revision);
        let id = (random >> 1) as LeaseId;
        if id != 0 && !state.leases.contains_key(&id) {
            return id;
        }
    }
}
