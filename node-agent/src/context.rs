//! What all of the agent's tasks share.
//!
//! Never changes after the start, but for the tables inside it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use client::Informer;
use k8s_openapi::api::core::v1::Service;
use kube::Client;

use crate::addresses::Addresses;
use crate::events::Events;
use crate::registry::Registry;
use crate::resolv::ClusterDns;
use crate::runtime::Runtime;

/// Shared by the workers, the probes and the server.
pub struct Context {
    /// The node's name.
    pub node_name: String,
    /// The node's address.
    pub node_ip: std::net::Ipv4Addr,
    /// Pods' directories, one a UID.
    pub pods: PathBuf,
    /// The cluster's DNS.
    pub dns: ClusterDns,
    /// The longest delay between restarts.
    pub restart_cap: Duration,
    /// Runs the containers.
    pub runtime: Arc<dyn Runtime>,
    /// The API server.
    pub client: Client,
    /// All Services, for the environment of containers.
    pub services: Arc<Informer<Service>>,
    /// Where events go.
    pub events: Events,
    /// The pods' addresses.
    pub addresses: Addresses,
    /// The pods, for the agent's own server.
    pub registry: Registry,
}
