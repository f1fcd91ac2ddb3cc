//! The node agent's command line.
//!
//! Never reads a file or an environment variable.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use client::Program;
use ipnet::Ipv4Net;

/// Runs the pods that are bound to one node.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How to reach the API server, and as whom (system:node:NAME).
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// The node's name; default: the host's.
    #[arg(long)]
    pub hostname_override: Option<String>,
    /// The node's own address, by which other nodes and the API server reach it.
    #[arg(long)]
    pub node_ip: Ipv4Addr,
    /// The addresses of this node's pods.
    #[arg(long)]
    pub pod_cidr: Ipv4Net,
    /// Where pods, their logs and their addresses are kept.
    #[arg(long)]
    pub root_dir: PathBuf,
    /// Manifests of pods that run whatever the API server says.
    #[arg(long)]
    pub pod_manifest_path: Option<PathBuf>,
    /// The DNS Service's address, for pods with dnsPolicy ClusterFirst.
    #[arg(long)]
    pub cluster_dns: Option<String>,
    /// The cluster's DNS domain.
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Certificate of the agent's own server.
    #[arg(long)]
    pub tls_cert_file: PathBuf,
    /// Key of the agent's own server.
    #[arg(long)]
    pub tls_private_key_file: PathBuf,
    /// Who may sign certificates of this server's clients.
    #[arg(long)]
    pub client_ca_file: PathBuf,
    /// Port of the agent's own server, on the node's address; 0: any free one.
    #[arg(long, default_value_t = 10250)]
    pub port: u16,
    /// key=value:effect, given at registration (repeatable, or separated by commas).
    #[arg(long, value_delimiter = ',')]
    pub register_with_taints: Vec<String>,
    /// key=value, given at registration (repeatable, or separated by commas).
    #[arg(long, value_delimiter = ',')]
    pub node_labels: Vec<String>,
    /// The program in the built-in images; default: this one.
    #[arg(long)]
    pub image_binary: Option<PathBuf>,
    /// The longest delay between restarts of a container that keeps ending, in seconds.
    #[arg(long, default_value_t = 300)]
    pub max_container_restart_period: u64,
}

impl Program for Options {
    const NAME: &'static str = "node-agent";
}
