//! A cluster whose members are containers: `coracle member ROLE` is what each of them runs. It
//! makes its own credential from the CA that all members share, prepares what its container needs,
//! and becomes the component. Never starts a container: an engine does that.

mod api_server;
mod check;
mod controller;
mod forwarder;
mod network;
mod node;
mod setup;
mod shared;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use ipnet::Ipv4Net;

use crate::lab::topology::{DEFAULT_POD_CIDR, DEFAULT_SERVICE_CIDR, Topology};

/// The name by which members reach the API, whichever server answers.
const API_NAME: &str = "apiserver";

/// What a member is told about the cluster; the same for all of them.
#[derive(Args, Clone, Debug)]
pub struct ClusterArgs {
    /// Directory that all members share: the CA (made by the first of them) and kubeconfigs.
    #[arg(
        long,
        value_name = "DIR",
        env = "CORACLE_SHARED_DIR",
        default_value = "/var/lib/coracle/shared"
    )]
    pub shared_dir: PathBuf,
    /// Network of the members: a member's own address is the one that it has in it.
    #[arg(long, value_name = "CIDR", env = "CORACLE_MEMBER_CIDR", default_value = "10.244.0.0/24")]
    pub member_cidr: Ipv4Net,
    /// Range that nodes take their pods' /24 from.
    #[arg(long, value_name = "CIDR", env = "CORACLE_POD_CIDR", default_value_t = DEFAULT_POD_CIDR)]
    pub pod_cidr: Ipv4Net,
    /// Range of cluster IPs.
    #[arg(long, value_name = "CIDR", env = "CORACLE_SERVICE_CIDR", default_value_t = DEFAULT_SERVICE_CIDR)]
    pub service_cidr: Ipv4Net,
}

impl ClusterArgs {
    /// The ranges, for what is made from them.
    fn topology(&self) -> Topology {
        Topology { service_cidr: self.service_cidr, pod_cidr: self.pod_cidr, workers: 0 }
    }

    /// This member's own address.
    fn own_address(&self) -> Result<Ipv4Addr> {
        network::own_address(self.member_cidr)
    }
}

/// What a container can be.
#[derive(Subcommand)]
pub enum Role {
    /// An API server, on etcd or on a store of its own.
    Apiserver(api_server::Options),
    /// The controller manager; more than one elect a leader.
    ControllerManager(controller::Options),
    /// The endpoints controller; more than one elect a leader.
    EndpointsController(controller::Options),
    /// A node: node agent, and in its pods the node proxy.
    Node(node::Options),
    /// Makes what a cluster has from its first second on, waits until all of it works, and ends.
    Setup(setup::Options),
    /// Passes connections on, for a network that publishes no ports.
    Forwarder(forwarder::Options),
    /// Stays, so that commands can be run in its container.
    Client(ClusterArgs),
    /// Print the admin's kubeconfig.
    Kubeconfig(setup::KubeconfigOptions),
    /// Ask a member on this container's own address whether it is healthy; the exit status says it.
    Check(check::Options),
}

/// Runs a member. Returns the exit status.
pub fn run(role: Role) -> Result<u8> {
    match role {
        Role::Apiserver(options) => api_server::run(&options),
        Role::ControllerManager(options) => controller::run("controller-manager", &options),
        Role::EndpointsController(options) => controller::run("endpoints-controller", &options),
        Role::Node(options) => node::run(&options),
        Role::Setup(options) => setup::run(&options),
        Role::Forwarder(options) => forwarder::run(options),
        Role::Client(cluster) => setup::client(&cluster),
        Role::Kubeconfig(options) => setup::kubeconfig(&options),
        Role::Check(options) => check::run(&options),
    }
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("{name}={value}")
}

/// Returns when this container is asked to end.
async fn asked_to_end() -> Result<()> {
    client::program::stop_signal()?.await;
    Ok(())
}

/// A runtime for a member that is this program itself.
fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}
