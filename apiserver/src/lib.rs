//! The API server: from an HTTP request to a revision in the store, and to every watcher.
//!
//! One file or folder a stage: `serve` → `layers` (→ `authenticate`) → `router` (→ `authorize`) →
//! `decode` → `admit` → `registry` → `watch_cache` → `encode`. `server` is what they share, `start`
//! makes one, `run` puts it behind its sockets. Never runs a controller.

pub mod admit;
pub mod advertise;
pub mod allocate;
pub mod authenticate;
pub mod authorize;
pub mod bootstrap;
pub mod decode;
pub mod discovery;
pub mod drain;
pub mod encode;
pub mod failure;
pub mod health;
pub mod identity;
pub mod json;
pub mod keys;
pub mod layers;
pub mod memory;
pub mod metrics;
pub mod options;
pub mod peer;
pub mod registry;
pub mod request;
pub mod resource;
pub mod review;
pub mod router;
pub mod run;
pub mod select;
pub mod serve;
pub mod server;
pub mod start;
pub mod stored;
pub mod stream;
pub mod version;
pub mod watch_cache;

pub use layers::ApiService;
pub use options::Options;
pub use router::router;
pub use run::run;
pub use server::{Parts, Server};
pub use start::start;
