//! The lab as a test sees it: start one, talk to it with a client, send packets from a place in it.
//!
//! Never reaches into a component: everything goes through command lines, the API and the network.

mod api_server;
mod authority;
mod client;
mod cluster;
mod component;
pub mod conformance;
mod containers;
mod etcd;
mod generation;
mod lab;
mod probe;
mod programmed;
pub mod scenarios;
pub mod suite;
mod tools;
mod wait;

pub use api_server::{ApiServer, Backend, SHARED_NAME};
pub use authority::{Authority, Credential};
pub use client::{Client, Namespace, Output};
pub use cluster::{Cluster, OUTSIDE};
pub use component::{Component, Hosts};
pub use containers::{
    ComposeOptions, ContainerLab, FromPod, Member, Topology, leftovers, missing_docker,
};
pub use etcd::{Etcd, EtcdTls};
pub use generation::ruleset_generation;
pub use lab::{Lab, LabOptions, ORDINARY_UID};
pub use probe::{Answer, Request};
pub use programmed::{all_answer, reached, serve_own_address};
pub use tools::{missing_tool, stock_kubectl};
pub use wait::{WAIT_S, wait_at_pace, wait_for, wait_for_async};
