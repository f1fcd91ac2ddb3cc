//! What every component stands on to talk to the API server: connecting, following objects,
//! caches, work queues and the loops around them, Events, leader election, and the start and
//! end of a program.
//!
//! Never decides anything: which objects ought to exist is the components' part.

pub mod back_off;
pub mod cache;
pub mod connect;
pub mod control_loop;
mod dial;
pub mod duration;
pub mod election;
pub mod events;
pub mod fence;
pub mod follow;
pub mod informer;
pub mod key;
pub mod program;
pub mod queue;
pub mod refusal;

pub use back_off::BackOff;
pub use cache::{Cache, Change, IndexEntry};
pub use connect::ApiServer;
pub use control_loop::{ControlLoop, Reconciler};
pub use election::options::LeaderElection;
pub use events::{EventType, Recorder};
pub use follow::{Update, follow};
pub use informer::{Informer, Informers, no_index};
pub use key::{Key, Life};
pub use program::{Program, Stop};
pub use queue::WorkQueue;
pub use refusal::{is_namespace_terminating, is_status};
