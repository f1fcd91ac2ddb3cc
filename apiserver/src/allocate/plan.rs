//! What one write takes from the allocators and gives back to them: part of its transaction.

use std::{collections::BTreeSet, net::IpAddr, ops::RangeInclusive};

use api::{
    allocate::{Claim, Pool, Refusal},
    field::FieldError,
    kind::{Kind, Object},
};
use ipnet::IpNet;
use store::{Compare, Op};

use super::{Allocators, key};

/// A key that the object takes.
#[derive(Debug, Clone)]
struct Take {
    key: String,
    /// For a user's own choice: the error when somebody else has it.
    if_taken: Option<FieldError>,
}

/// The allocation part of an object's transaction.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    take: Vec<Take>,
    release: Vec<String>,
}

impl Plan {
    /// Fills what a new or changed object gets, and says what to take and release. `old` is the
    /// stored version of an update.
    pub fn make(
        allocators: &Allocators,
        kind: &dyn Kind,
        new: &mut dyn Object,
        old: Option<&dyn Object>,
    ) -> Result<Self, Refusal> {
        let mut taking = Taking { allocators, take: Vec::new() };
        let allocated = kind.allocate(new, old, &mut taking);
        let mut plan = Self { take: taking.take, release: Vec::new() };
        if let Err(refusal) = allocated {
            plan.undo(allocators, &[]);
            return Err(refusal);
        }
        if let Some(old) = old {
            let now: BTreeSet<Claim> = kind.claims(new).into_iter().collect();
            let gone = kind.claims(old).into_iter().filter(|claim| !now.contains(claim));
            plan.release = gone.map(key).collect();
        }
        Ok(plan)
    }

    /// Gives back all that an object holds.
    pub fn release(kind: &dyn Kind, object: &dyn Object) -> Self {
        let release = kind.claims(object).into_iter().map(key).collect();
        Self { take: Vec::new(), release }
    }

    /// Conditions: what is taken must be free.
    pub fn compares(&self) -> impl Iterator<Item = Compare> + '_ {
        self.take.iter().map(|take| Compare { key: take.key.clone(), mod_revision: 0 })
    }

    /// Writes. `owner` is kept as the value, for people who look into the store.
    pub fn ops(&self, owner: &[u8]) -> Vec<Op> {
        let puts = self.take.iter().map(|take| Op::Put {
            key: take.key.clone(),
            value: bytes::Bytes::copy_from_slice(owner),
            lease: 0,
        });
        let deletes = self.release.iter().map(|key| Op::Delete { key: key.clone() });
        puts.chain(deletes).collect()
    }

    /// The transaction was not committed: what was only reserved is free again. `held[i]`
    /// says whether somebody else has the i-th taken key. Errors are users' own choices that
    /// somebody else has; without one the caller may plan again.
    pub fn undo(&self, allocators: &Allocators, held: &[bool]) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (at, take) in self.take.iter().enumerate() {
            let held = held.get(at).copied().unwrap_or(false);
            match (&take.if_taken, held) {
                (Some(error), true) => errors.push(error.clone()),
                (None, held) => allocators.observe(&take.key, held),
                (Some(_), false) => {}
            }
        }
        errors
    }
}

/// The value of a taken key, for people who look into the store.
pub fn owner(plural: &str, namespace: &str, name: &str) -> String {
    format!("{{\"resource\":\"{plural}\",\"namespace\":\"{namespace}\",\"name\":\"{name}\"}}")
}

/// The allocators, while one object takes from them.
struct Taking<'a> {
    allocators: &'a Allocators,
    take: Vec<Take>,
}

impl Taking<'_> {
    fn reserved(&mut self, claim: Claim) {
        self.take.push(Take { key: key(claim), if_taken: None });
    }
}

impl Pool for Taking<'_> {
    fn families(&self) -> Vec<&'static str> {
        self.allocators.cluster_ips.iter().map(|range| range.family()).collect()
    }

    fn range_of(&self, family: &str) -> Option<IpNet> {
        self.allocators.range_of(family).map(|range| range.net)
    }

    fn contains(&self, family: &str, ip: IpAddr) -> bool {
        self.allocators.range_of(family).is_some_and(|range| range.offset(ip).is_some())
    }

    fn ports(&self) -> RangeInclusive<u16> {
        self.allocators.node_ports.first..=self.allocators.node_ports.last
    }

    fn take_any_ip(&mut self, family: &str) -> Option<IpAddr> {
        let ip = self.allocators.next_ip(family)?;
        self.reserved(Claim::Ip(ip));
        Some(ip)
    }

    fn take_any_port(&mut self) -> Option<i32> {
        let port = self.allocators.next_port()?;
        self.reserved(Claim::Port(port));
        Some(port)
    }

    fn take(&mut self, claim: Claim, if_taken: FieldError) {
        self.take.push(Take { key: key(claim), if_taken: Some(if_taken) });
    }
}
