//! Scenarios that run on more than one lab: on the lab of all scenarios, and on the one whose
//! proxy changes its mode.
//!
//! Never asks what mode the proxy has: what must be seen is the same in each.

pub mod affinity;
pub mod manifests;
pub mod node_port;
pub mod policies;
pub mod readiness;
