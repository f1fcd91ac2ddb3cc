//! The node agent: pods on a node as real processes in their own namespaces.
//!
//! Never talks to another component but through the API server.

pub mod addresses;
mod agent;
mod context;
pub mod env;
mod events;
pub mod images;
pub mod lifecycle;
pub mod local_runtime;
mod logs;
mod memory;
mod mirrors;
mod options;
mod poster;
mod prepare;
pub mod probe;
mod prober;
mod register;
mod registry;
pub mod resolv;
mod routes;
pub mod runtime;
mod serve;
pub mod shim;
mod static_pods;
pub mod status;
mod stop;
mod worker;

pub use agent::run;
pub use options::Options;
pub use shim::main_if_shim;
