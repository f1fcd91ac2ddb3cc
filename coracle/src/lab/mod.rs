//! The lab: a cluster in namespaces of its own, for a user without privileges.
//! Never changes the host's network or files.

pub mod broker;
pub mod component_plans;
pub mod control;
pub mod dns_answers;
pub mod fabric;
pub mod former_nodes;
pub mod host;
pub mod launch;
pub mod loopback;
pub mod namespaces;
pub mod node_ports;
pub mod progress;
pub mod refusal;
pub mod state;
pub mod supervisor;
pub mod topology;
