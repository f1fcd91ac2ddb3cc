//! The revisioned key-value store: one trait, an embedded engine and etcd behind it.
//!
//! Keys are paths (`/registry/pods/default/web-0`), values are opaque bytes. Every
//! committed transaction that changes anything has one revision, greater than all before
//! it. The store never looks into a value and knows no Kubernetes kind.

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;

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

/// A watch: endless, until it is dropped or ends with an error.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchItem, Error>> + Send>>;

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The wanted revision is no longer kept.
    #[error("revision {wanted} has been compacted, the oldest kept is {oldest}")]
    Compacted {
        /// The revision asked for.
        wanted: Revision,
        /// The oldest revision that can be read.
        oldest: Revision,
    },
    /// The wanted revision does not exist yet.
    #[error("revision {wanted} is in the future, the newest is {newest}")]
    Future {
        /// The revision asked for.
        wanted: Revision,
        /// The newest revision.
        newest: Revision,
    },
    /// A watcher did not keep up and was cut off; it may start again where it was.
    #[error("the watcher fell behind by more than {limit} events")]
    TooSlow {
        /// The bound that was exceeded.
        limit: usize,
    },
    /// No room on the disk: nothing was written.
    #[error("no space left for the store: {0}")]
    Full(String),
    /// A key, value or transaction is larger than allowed.
    #[error("{what} is larger than the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit, in bytes or operations.
        limit: usize,
    },
    /// The data directory is in use by another process.
    #[error("{0}")]
    Locked(String),
    /// The stored data is damaged.
    #[error("{0}")]
    Corrupt(String),
    /// The store cannot be reached or does not answer; the outcome of a write is unknown.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

/// A revisioned key-value store. All calls may be made at once from many tasks.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads one key; linearizable. `revision` 0 is now.
    async fn get(&self, key: &str, revision: Revision) -> Result<Get, Error>;
    /// Reads a page of keys as of one revision; linearizable for revision 0.
    async fn list(&self, options: ListOptions) -> Result<List, Error>;
    /// Writes all or nothing. Returns when the writes are durable.
    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<Txn, Error>;
    /// Every change of keys with this prefix with a revision ≥ `from` (0: from now on).
    /// `Progress` items come about every second while idle, and after the history was replayed.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, Error>;
    /// The newest revision; linearizable.
    async fn current_revision(&self) -> Result<Revision, Error>;
    /// Forgets history before `revision`; reads and watches of it then fail with `Compacted`.
    async fn compact(&self, revision: Revision) -> Result<(), Error>;
    /// A new lease of this many seconds. Its keys go when it ends.
    async fn grant_lease(&self, ttl_s: i64) -> Result<LeaseId, Error>;
}
