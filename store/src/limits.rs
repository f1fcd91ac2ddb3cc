//! Every bound of the store, and what happens at it.
//!
//! A request over a bound is refused with [`crate::Error::TooLarge`] before anything is
//! written; a bound on waiting work makes the caller wait. Nothing here grows without end.

use std::time::Duration;

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 4096;
/// Largest value, in bytes. Above the API server's 3 MiB for a request body.
pub const VALUE_BYTES_MAX: usize = 4 << 20;
/// Most conditions, and most writes, of one transaction.
pub const TXN_OPS_MAX: usize = 128;
/// Largest transaction: the sum of its keys and values, in bytes.
pub const TXN_BYTES_MAX: usize = 8 << 20;
/// Most transactions that wait for the embedded engine's writer; the next caller waits.
pub const QUEUE_TXNS_MAX: usize = 4096;
/// Most transactions that share one sync.
pub const GROUP_TXNS_MAX: usize = 1024;
/// A group takes no more transactions once it holds this many bytes.
pub const GROUP_BYTES_MAX: usize = 8 << 20;
/// Largest record of the log, in bytes: a full group and one more transaction fit.
pub const RECORD_BYTES_MAX: usize = 32 << 20;
/// A watch that has caught up and then has more matching events than this waiting is cut off
/// with [`crate::Error::TooSlow`].
pub const WATCH_LAG_EVENTS_MAX: usize = 16_384;
/// About so many events come in one item of a watch; a revision is never split for it.
pub const WATCH_BATCH_EVENTS: usize = 1024;
/// An idle watch reports its progress this often.
pub const WATCH_PROGRESS_PERIOD: Duration = Duration::from_secs(1);
/// Most keys of an ended lease that go in one revision; the rest follow in the next ones.
pub const LEASE_KEYS_PER_REVISION: usize = 1024;
/// Longest lease, in seconds, as in etcd.
pub const LEASE_TTL_S_MAX: i64 = 9_000_000_000;
