//! The node proxy: Services and EndpointSlices in, kernel rules out. Never in the
//! path of a packet: the rules stay when it stops.
//!
//! `watch` → `model` → a `mode`'s plan → diff → kernel; `agent` drives it.

mod agent;
pub mod conntrack;
mod metrics;
pub mod mode;
pub mod model;
mod netlink;
mod serve;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use ipnet::IpNet;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::mode::{LocalTraffic, Mode, ModeName, Settings};
use crate::model::{Family, Model};

/// The node proxy.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "proxy-agent", version)]
pub struct Options {
    /// How to reach the API server; without it, the pod's service account.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// This node's name in the API; the host's name by default.
    #[arg(long, value_name = "NODE")]
    pub hostname_override: Option<String>,

    /// How Services are brought into the kernel.
    #[arg(long, value_enum, default_value_t)]
    pub proxy_mode: ModeName,

    /// Where the cluster's pods are. Traffic to a cluster IP from elsewhere is
    /// masqueraded, and pods are told from clients outside.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub cluster_cidr: Vec<IpNet>,

    /// Answer on node ports only on the node's addresses in these networks.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub nodeport_addresses: Vec<IpNet>,

    /// Masquerade everything that goes through a cluster IP.
    #[arg(long)]
    pub masquerade_all: bool,

    /// Where health checks are answered.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:10256")]
    pub healthz_bind_address: SocketAddr,

    /// Where metrics are served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:10249")]
    pub metrics_bind_address: SocketAddr,
}

/// Runs the agent until `stop`; the rules stay.
///
/// # Errors
/// A kubeconfig that cannot be used, an address that cannot be bound, a kernel
/// without nf_tables. An API server that is not there is waited for.
pub async fn run(
    options: Options,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    // Another component of the same process may have done so.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let node_name = match &options.hostname_override {
        Some(name) => name.trim().to_lowercase(),
        None => rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .trim()
            .to_lowercase(),
    };
    let modes = open_modes(&options)?;
    let client = connect(&options).await?;
    let health = Arc::new(serve::Health::default());
    let metrics = Arc::new(metrics::Metrics::new());
    let source = Arc::new(serve::Source {
        health: health.clone(),
        metrics: metrics.clone(),
        mode: options.proxy_mode.as_str(),
    });
    let health_server = serve::start(
        options.healthz_bind_address,
        "health checks",
        source.clone(),
    )
    .await?;
    let metrics_server = serve::start(options.metrics_bind_address, "metrics", source).await?;
    let mut agent = agent::Agent::new(Model::new(&*node_name), modes, metrics, health);
    tracing::info!(node = node_name, "watching Services and EndpointSlices");
    tokio::select! {
        () = agent.run(watch::start(&client, &node_name)) => {}
        () = stop => tracing::info!("stopping; the rules stay"),
    }
    health_server.abort();
    metrics_server.abort();
    Ok(())
}

/// The mode, once for each IP family that the kernel has. What other modes have left
/// goes once this one is known to work here.
fn open_modes(options: &Options) -> anyhow::Result<Vec<Box<dyn Mode>>> {
    let mut modes: Vec<Box<dyn Mode>> = Vec::new();
    for family in [Family::V4, Family::V6] {
        if family == Family::V6 && !std::path::Path::new("/proc/net/if_inet6").exists() {
            tracing::info!("no IPv6 here: IPv4 only");
            continue;
        }
        let of_family = |network: &&IpNet| Family::of(&network.addr()) == family;
        let settings = Settings {
            local_traffic: options
                .cluster_cidr
                .iter()
                .find(of_family)
                .map_or(LocalTraffic::Unknown, |network| {
                    LocalTraffic::Network(*network)
                }),
            node_port_addresses: options
                .nodeport_addresses
                .iter()
                .filter(of_family)
                .copied()
                .collect(),
            masquerade_all: options.masquerade_all,
            ..Settings::new(family)
        };
        modes.push(mode::open(options.proxy_mode, settings)?);
        for other in ModeName::ALL {
            if other != options.proxy_mode {
                mode::cleanup(other, family)
                    .with_context(|| format!("cannot remove what mode {other} has left"))?;
            }
        }
    }
    Ok(modes)
}

async fn connect(options: &Options) -> anyhow::Result<kube::Client> {
    let config = match &options.kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path)
                .with_context(|| format!("cannot read kubeconfig {}", path.display()))?;
            kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("cannot use kubeconfig {}", path.display()))?
        }
        None => kube::Config::incluster()
            .context("no --kubeconfig given, and this is no pod with a service account")?,
    };
    kube::Client::try_from(config).context("cannot make an API client")
}
