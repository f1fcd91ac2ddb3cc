//! The MVCC index: key → versions, revision → changes. A persistent structure.
//!
//! A clone costs a few pointers, so the writer works on one and publishes another, and a
//! reader keeps what it started on for as long as it likes. Does no I/O and takes no lock.

use std::{collections::BTreeSet, ops::Bound, sync::Arc};

use bytes::Bytes;
use imbl::{OrdMap, OrdSet, Vector};

use crate::{
    Compare, Error, Event, Get, KeyValue, LeaseId, List, ListOptions, Revision,
    embedded::lease::Lease,
};

/// One value of one key; no value is a removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub created: Revision,
    pub modified: Revision,
    pub value: Option<Bytes>,
    pub lease: LeaseId,
}

impl Version {
    fn key_value(&self, key: &str) -> Option<KeyValue> {
        Some(KeyValue {
            key: key.to_owned(),
            value: self.value.clone()?,
            create_revision: self.created,
            mod_revision: self.modified,
        })
    }
}

/// A wanted write; no value removes the key.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub key: Arc<str>,
    pub value: Option<Bytes>,
    pub lease: LeaseId,
}

/// What became of one key in one revision.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub key: Arc<str>,
    pub version: Arc<Version>,
    /// The version before, if the key existed. Kept here since compaction may drop it.
    pub previous: Option<Arc<Version>>,
}

impl Change {
    pub fn event(&self) -> Option<Event> {
        let previous = self.previous.as_ref().and_then(|v| v.key_value(&self.key));
        match self.version.key_value(&self.key) {
            Some(kv) => Some(Event::Put { kv, previous }),
            None => {
                previous.map(|previous| Event::Delete { previous, revision: self.version.modified })
            }
        }
    }
}

/// All changes of one revision.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Commit {
    pub changes: Vec<Change>,
    /// Changes in all kept revisions before: what lies between two is a subtraction.
    pub changes_before: u64,
}

/// Versions of one key, oldest first. Pointers, since most keys have one or two: of these a
/// vector holds some without memory of its own.
type Versions = Arc<Vector<Arc<Version>>>;

/// Everything the store holds as of one revision, and the history since the last compaction.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// The newest revision.
    pub revision: Revision,
    /// The oldest revision that can be read.
    pub compacted: Revision,
    /// The revisions after `base`, without a gap.
    pub commits: Vector<Arc<Commit>>,
    pub leases: OrdMap<LeaseId, Lease>,
    keys: OrdMap<Arc<str>, Versions>,
}

impl State {
    /// An empty store, at revision 1 like etcd's.
    pub fn new() -> Self {
        Self {
            revision: 1,
            compacted: 0,
            commits: Vector::new(),
            leases: OrdMap::new(),
            keys: OrdMap::new(),
        }
    }

    /// The revision before the oldest kept commit.
    pub fn base(&self) -> Revision {
        self.revision - self.commits.len() as Revision
    }

    /// The commit of a revision after `base`.
    pub fn commit(&self, revision: Revision) -> Option<&Arc<Commit>> {
        let index = revision.checked_sub(self.base() + 1)?;
        self.commits.get(usize::try_from(index).ok()?)
    }

    /// Changes ever counted up to and including the newest revision.
    pub fn changes_total(&self) -> u64 {
        self.commits.last().map_or(0, |commit| commit.changes_before + commit.changes.len() as u64)
    }

    /// Fails unless `revision` (not 0) can be read.
    pub fn check_readable(&self, revision: Revision) -> Result<(), Error> {
        if revision < self.compacted {
            return Err(Error::Compacted { wanted: revision, oldest: self.compacted });
        }
        if revision > self.revision {
            return Err(Error::Future { wanted: revision, newest: self.revision });
        }
        Ok(())
    }

    pub fn get(&self, key: &str, revision: Revision) -> Result<Get, Error> {
        let at = self.resolve(revision)?;
        let version = self.keys.get(key).and_then(|v| version_at(v, at));
        Ok(Get { revision: self.revision, kv: version.and_then(|v| v.key_value(key)) })
    }

    pub fn list(&self, options: &ListOptions) -> Result<List, Error> {
        let at = self.resolve(options.revision)?;
        let prefix = options.prefix.as_str();
        let start = match options.after.as_deref() {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let limit = match options.limit {
            0 => usize::MAX,
            limit => limit,
        };
        let mut living = self
            .range(start)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter_map(|(key, versions)| {
                let version = version_at(versions, at)?;
                version.value.is_some().then_some((key, version))
            });
        let items = living
            .by_ref()
            .take(limit)
            .filter_map(|(key, version)| version.key_value(key))
            .collect();
        Ok(List { revision: at, items, remaining: living.count() })
    }

    /// The conditions' keys as they are now, if a condition does not hold.
    pub fn conflict(&self, compares: &[Compare]) -> Option<Vec<Option<KeyValue>>> {
        let holds = |compare: &Compare| {
            let version = self.current(&compare.key);
            version.map_or(0, |v| v.modified) == compare.mod_revision
        };
        if compares.iter().all(holds) {
            return None;
        }
        let current = |compare: &Compare| {
            let version = self.current(&compare.key)?;
            version.key_value(&compare.key)
        };
        Some(compares.iter().map(current).collect())
    }

    /// Applies the writes as the next revision; none if they change nothing.
    pub fn apply(&mut self, writes: Vec<Write>) -> Option<Arc<Commit>> {
        let revision = self.revision + 1;
        let mut changes = Vec::with_capacity(writes.len());
        for write in writes {
            let previous = self.current(&write.key).cloned();
            if write.value.is_none() && previous.is_none() {
                continue;
            }
            let version = Arc::new(Version {
                created: match (&write.value, &previous) {
                    (Some(_), None) => revision,
                    (_, Some(previous)) => previous.created,
                    (None, None) => 0,
                },
                modified: revision,
                value: write.value,
                lease: write.lease,
            });
            self.attach(&write.key, previous.as_deref(), &version);
            self.push(write.key.clone(), version.clone());
            changes.push(Change { key: write.key, version, previous });
        }
        if changes.is_empty() {
            return None;
        }
        let commit = Arc::new(Commit { changes, changes_before: self.changes_total() });
        self.revision = revision;
        self.commits.push_back(commit.clone());
        Some(commit)
    }

    /// Drops the history before `revision`. Costs as much as there is to drop.
    pub fn compact(&mut self, revision: Revision) {
        self.compacted = self.compacted.max(revision);
        let drop = usize::try_from(revision - self.base() - 1).unwrap_or(0);
        if drop == 0 {
            return;
        }
        let kept = self.commits.split_off(drop.min(self.commits.len()));
        let dropped = std::mem::replace(&mut self.commits, kept);
        let touched: BTreeSet<&Arc<str>> = dropped
            .iter()
            .flat_map(|commit| commit.changes.iter().map(|change| &change.key))
            .collect();
        for key in touched {
            self.trim(key, revision - 1);
        }
    }

    /// The living keys as of `revision`, in key order.
    pub fn living_at(
        &self,
        revision: Revision,
    ) -> impl Iterator<Item = (&Arc<str>, &Version)> + '_ {
        self.range(Bound::Included("")).filter_map(move |(key, versions)| {
            let version = version_at(versions, revision)?;
            version.value.is_some().then_some((key, version))
        })
    }

    /// Puts back a key of a snapshot.
    pub fn restore(&mut self, key: Arc<str>, version: Version) {
        self.attach(&key, None, &version);
        self.push(key, Arc::new(version));
    }

    fn resolve(&self, revision: Revision) -> Result<Revision, Error> {
        if revision == 0 {
            return Ok(self.revision);
        }
        self.check_readable(revision).map(|()| revision)
    }

    fn range<'a>(
        &'a self,
        start: Bound<&'a str>,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Versions)> {
        self.keys.range::<_, str>((start, Bound::Unbounded))
    }

    /// The newest version of a key that exists.
    fn current(&self, key: &str) -> Option<&Arc<Version>> {
        let version = self.keys.get(key)?.last()?;
        version.value.is_some().then_some(version)
    }

    fn push(&mut self, key: Arc<str>, version: Arc<Version>) {
        let mut versions = match self.keys.get(&*key) {
            Some(versions) => Vector::clone(versions),
            None => Vector::new(),
        };
        versions.push_back(version);
        self.keys.insert(key, Arc::new(versions));
    }

    fn attach(&mut self, key: &Arc<str>, previous: Option<&Version>, version: &Version) {
        let before = previous.map_or(0, |previous| previous.lease);
        if before != 0
            && before != version.lease
            && let Some(lease) = self.leases.get_mut(&before)
        {
            lease.keys.remove(key);
        }
        if version.lease != 0
            && let Some(lease) = self.leases.get_mut(&version.lease)
        {
            lease.keys.insert(key.clone());
        }
    }

    /// Forgets the key's versions that a read at `base` or later cannot see.
    fn trim(&mut self, key: &Arc<str>, base: Revision) {
        let Some(versions) = self.keys.get(&**key) else {
            return;
        };
        let Some(newest) = count_until(versions, base).checked_sub(1) else {
            return;
        };
        let removed = versions.get(newest).is_some_and(|v| v.value.is_none());
        let drop = newest + usize::from(removed);
        if drop == 0 {
            return;
        }
        if drop == versions.len() {
            self.keys.remove(&**key);
            return;
        }
        // Collected anew: what is split off keeps the room of what it was split from.
        let kept = versions.iter().skip(drop).cloned().collect();
        self.keys.insert(key.clone(), Arc::new(kept));
    }

    /// A lease of this many seconds, with no keys yet.
    pub fn grant(&mut self, lease: LeaseId, ttl_s: i64) {
        let keys = OrdSet::new();
        self.leases.insert(lease, Lease { ttl_s, keys });
    }
}

/// How many versions are of `revision` or before.
fn count_until(versions: &Vector<Arc<Version>>, revision: Revision) -> usize {
    match versions.binary_search_by(|version| version.modified.cmp(&revision)) {
        Ok(index) => index + 1,
        Err(index) => index,
    }
}

fn version_at(versions: &Vector<Arc<Version>>, revision: Revision) -> Option<&Version> {
    if let Some(newest) = versions.last()
        && newest.modified <= revision
    {
        return Some(newest);
    }
    versions.get(count_until(versions, revision).checked_sub(1)?).map(|version| &**version)
}
