//! Why a store call failed: one enum for both engines.
//!
//! Never carries a stored value or a credential.

use crate::model::{LeaseId, Revision};

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
    /// The call itself is wrong, whatever the store holds; nothing was written.
    #[error("invalid store request: {0}")]
    Invalid(String),
    /// A write names a lease that does not exist or has ended; nothing was written.
    #[error("lease {lease} does not exist or has ended")]
    NoLease {
        /// The lease that was named.
        lease: LeaseId,
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
