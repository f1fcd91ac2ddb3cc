//! What every controller stands on: watched caches with indices, a keyed work
//! queue, events, and the client they share.
//!
//! Never decides anything: which objects ought to exist is the controllers' part.

pub mod cache;
pub mod client;
pub mod events;
pub mod key;
pub mod queue;
pub mod watch;

pub use cache::{Cache, Change, IndexEntry};
pub use events::{EventType, Recorder};
pub use key::Key;
pub use queue::WorkQueue;
pub use watch::Informer;
