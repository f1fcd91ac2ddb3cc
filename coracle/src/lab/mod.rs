//! The lab: a cluster in namespaces of its own, for a user without privileges.
//! Never holds a component's logic and never changes the host's network or files.

pub mod bootstrap;
pub mod broker;
pub mod component_plans;
pub mod control;
pub mod fabric;
pub mod former_nodes;
pub mod host;
pub mod kubeconfig;
pub mod launch;
pub mod loopback;
pub mod manifests;
pub mod namespaces;
pub mod node_ports;
pub mod pki;
pub mod process_table;
pub mod progress;
pub mod proxy;
pub mod refusal;
pub mod state;
pub mod supervisor;
pub mod topology;
pub mod upstream_dns;
