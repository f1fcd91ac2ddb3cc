//! What every controller stands on: watched caches with indices, a keyed work
//! queue, events, leader election, and the client they share.
//!
//! Never decides anything: which objects ought to exist is the controllers' part.

pub mod cache;
pub mod connect;
mod dial;
pub mod election;
pub mod events;
pub mod fence;
pub mod key;
pub mod queue;
pub mod refusal;
mod retry;
pub mod watch;

pub use cache::{Cache, Change, IndexEntry};
pub use election::options::LeaderElection;
pub use events::{EventType, Recorder};
pub use key::Key;
pub use queue::WorkQueue;
pub use refusal::{is_namespace_terminating, is_status};
pub use retry::retried;
pub use watch::Informer;
