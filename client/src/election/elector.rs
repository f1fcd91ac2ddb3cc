//! Who leads, from what is read and written of one Lease: client-go's rules as a state machine.
//!
//! Never reads a clock and never trusts the clocks of others: a Lease counts from when this
//! instance saw it change. Never does any I/O.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;

use super::options::Timing;

/// The two times of a moment: one that only goes forward, and the calendar's for the Lease.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Time since some fixed point, as [`crate::fence::since_boot`] has it.
    pub at: Duration,
    /// What the Lease shows to people.
    pub wall: Timestamp,
}

/// What to do after the Lease was read.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Write this Lease: to create where it has no resourceVersion, else to replace.
    Write(Box<Lease>),
    /// Somebody else holds it; try again later.
    Held(String),
}

#[derive(Debug)]
struct Observed {
    lease: Lease,
    at: Duration,
}

/// One instance's part in an election.
#[derive(Debug)]
pub struct Elector {
    namespace: String,
    name: String,
    identity: String,
    timing: Timing,
    observed: Option<Observed>,
    /// When the last successful write as the leader was begun.
    renewed: Option<Duration>,
}

impl Elector {
    /// An instance called `identity` that wants the Lease `namespace`/`name`.
    pub fn new(namespace: &str, name: &str, identity: &str, timing: Timing) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            timing,
            observed: None,
            renewed: None,
        }
    }

    /// The Lease's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Until when this instance leads without a further renewal; none if it does not.
    pub fn leads_until(&self) -> Option<Duration> {
        self.renewed.map(|at| at + self.timing.renew_deadline)
    }

    /// Whether this instance leads at that time.
    pub fn leads_at(&self, at: Duration) -> bool {
        self.leads_until().is_some_and(|until| at < until)
    }

    /// The Lease as last seen.
    pub fn lease(&self) -> Option<&Lease> {
        self.observed.as_ref().map(|observed| &observed.lease)
    }

    /// The renewal that a leader writes without reading first. Its resourceVersion is the
    /// one last seen, so it is refused where somebody else has written since.
    pub fn renewal(&self, now: Moment) -> Option<Lease> {
        if !self.leads_at(now.at) {
            return None;
        }
        let old = self.lease()?;
        Some(self.claim(now, old))
    }

    /// Takes in the Lease as read `now`, after the answer came.
    pub fn read(&mut self, now: Moment, lease: Option<Lease>) -> Step {
        let Some(lease) = lease else {
            self.observed = None;
            let blank = Lease {
                metadata: ObjectMeta {
                    namespace: Some(self.namespace.clone()),
                    name: Some(self.name.clone()),
                    ..ObjectMeta::default()
                },
                spec: None,
            };
            return Step::Write(Box::new(self.claim(now, &blank)));
        };
        // Any write counts as a sign of life. client-go looks at the fields alone, where a
        // calendar that was set back could hide one.
        let version = &lease.metadata.resource_version;
        let unchanged = self.observed.as_ref();
        let at = unchanged
            .filter(|observed| observed.lease.metadata.resource_version == *version)
            .map_or(now.at, |observed| observed.at);
        let holder = holder(&lease);
        let own = holder == self.identity;
        if !own {
            self.renewed = None;
        }
        let free = own || holder.is_empty() || at + self.respected(&lease) <= now.at;
        let step = if free {
            Step::Write(Box::new(self.claim(now, &lease)))
        } else {
            Step::Held(holder.to_owned())
        };
        self.observed = Some(Observed { lease, at });
        step
    }

    /// Takes in the answer to a write that was begun at `begun`.
    pub fn wrote(&mut self, begun: Duration, answered: Duration, lease: Lease) {
        self.renewed = Some(begun);
        self.observed = Some(Observed { lease, at: answered });
    }

    /// Ends this instance's leadership. Returns the Lease to write so that the next one need
    /// not wait; none if another holds it.
    pub fn release(&mut self, now: Moment) -> Option<Lease> {
        self.renewed = None;
        let mut lease = self.lease()?.clone();
        if holder(&lease) != self.identity {
            return None;
        }
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(now.wall));
        spec.acquire_time = Some(MicroTime(now.wall));
        Some(lease)
    }

    /// How long the Lease is respected since it was seen to change. A second at least, where
    /// its holder says less.
    fn respected(&self, lease: &Lease) -> Duration {
        let spec = lease.spec.as_ref();
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
        seconds.map_or(self.timing.lease_duration, |seconds| {
            Duration::from_secs(u64::try_from(seconds).unwrap_or(0).max(1))
        })
    }

    /// `old` with this instance as its holder.
    fn claim(&self, now: Moment, old: &Lease) -> Lease {
        let own = holder(old) == self.identity;
        let mut lease = old.clone();
        let existed = lease.spec.is_some();
        let spec: &mut LeaseSpec = lease.spec.get_or_insert_default();
        if !own {
            spec.acquire_time = Some(MicroTime(now.wall));
            let before = spec.lease_transitions;
            spec.lease_transitions =
                Some(if existed { before.unwrap_or(0).saturating_add(1) } else { 0 });
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.renew_time = Some(MicroTime(now.wall));
        // Rounded up: others must not wait for less than this leader believes in.
        let seconds = self.timing.lease_duration.as_secs_f64().ceil();
        spec.lease_duration_seconds = Some(seconds as i32);
        lease
    }
}

/// `holderIdentity`; empty where nobody holds the Lease.
pub fn holder(lease: &Lease) -> &str {
    let spec = lease.spec.as_ref();
    spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}
