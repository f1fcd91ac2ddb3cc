//! The revisioned key-value store: one trait, an embedded engine and etcd behind it.
//!
//! Keys are paths (`/registry/pods/default/web-0`), values are opaque bytes. Every
//! committed transaction that changes anything has one revision, greater than all before
//! it. The store never looks into a value and knows no Kubernetes kind.

use std::pin::Pin;

use async_trait::async_trait;
use futures::Stream;

pub mod embedded;
pub mod etcd;
pub mod limits;

mod check;
mod error;
mod model;

pub use embedded::{Embedded, EmbeddedOptions};
pub use error::Error;
pub use etcd::{Etcd, EtcdOptions};
pub use model::*;

/// A watch: endless, until it is dropped or ends with an error.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchItem, Error>> + Send>>;

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
    /// Asks every running watch for a `Progress` item as soon as it has delivered what there
    /// is. For a reader that waits until its watch has seen [`Store::current_revision`].
    /// Does nothing where watches report progress by themselves at once.
    async fn request_progress(&self) {}
    /// Whether `Progress` items follow the newest revision within about a second by
    /// themselves. Where this is false (an etcd older than 3.4.31 or 3.5.13) they come on
    /// [`Store::request_progress`] alone, which costs a write there.
    async fn reports_progress(&self) -> bool {
        true
    }
    /// A new lease of this many seconds. Its keys go when it ends.
    async fn grant_lease(&self, ttl_s: i64) -> Result<LeaseId, Error>;
}
