//! The store's data: keys at revisions, reads, transactions, events.
//!
//! Plain values that both engines share. Nothing here does I/O or looks into a stored value.

use bytes::Bytes;

/// Position in the store's single history. 0 is before everything; the first write gets a
/// revision ≥ 2, as in etcd.
pub type Revision = i64;

/// A lease's identity; 0 is no lease.
pub type LeaseId = i64;

/// One key at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The whole key.
    pub key: String,
    /// The stored bytes.
    pub value: Bytes,
    /// Revision at which the key came into being (again).
    pub create_revision: Revision,
    /// Revision of this value.
    pub mod_revision: Revision,
}

/// The answer to a read of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Get {
    /// The store's revision when it answered.
    pub revision: Revision,
    /// The value, if the key exists.
    pub kv: Option<KeyValue>,
}

/// What to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Only keys that start with this.
    pub prefix: String,
    /// Only keys greater than this one: where the last page ended.
    pub after: Option<String>,
    /// At most so many items; 0 is no limit.
    pub limit: usize,
    /// As of this revision; 0 is now.
    pub revision: Revision,
}

/// A page of keys in key order, all as of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// The revision the items are of: the one asked for, or the store's newest.
    pub revision: Revision,
    /// The items, in key order.
    pub items: Vec<KeyValue>,
    /// How many keys of the prefix follow this page.
    pub remaining: usize,
}

/// A condition of a transaction: the key's `mod_revision` is this one; 0 = it does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    /// The whole key.
    pub key: String,
    /// The wanted revision.
    pub mod_revision: Revision,
}

/// A write of a transaction. A key may be written once in a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Sets a key.
    Put {
        /// The whole key.
        key: String,
        /// The new bytes.
        value: Bytes,
        /// The key goes when this lease ends; 0 is no lease.
        lease: LeaseId,
    },
    /// Removes a key; a missing one is no error and makes no event.
    Delete {
        /// The whole key.
        key: String,
    },
}

/// The outcome of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Txn {
    /// Every condition held; the writes are durable and have this revision.
    Committed {
        /// The revision of the writes (the store's newest one if nothing changed).
        revision: Revision,
    },
    /// A condition did not hold; nothing was written.
    Conflict {
        /// The store's revision when it answered.
        revision: Revision,
        /// The keys of all conditions as they are now, in the order of the conditions.
        current: Vec<Option<KeyValue>>,
    },
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The key was set.
    Put {
        /// The new state.
        kv: KeyValue,
        /// The state before, if there was one.
        previous: Option<KeyValue>,
    },
    /// The key was removed, by a transaction or because its lease ended.
    Delete {
        /// The state before.
        previous: KeyValue,
        /// The revision of the removal.
        revision: Revision,
    },
}

/// What a watch delivers. Revisions never go back; one revision is never split over batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchItem {
    /// All changes of one or more whole revisions, in order.
    Events(Vec<Event>),
    /// Everything up to and including this revision has been delivered.
    Progress(Revision),
}
