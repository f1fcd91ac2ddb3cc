//! The node proxy: Services and EndpointSlices in, kernel rules out. Never in the
//! path of a packet, and its rules stay when it stops; but in mode `userspace`.
//!
//! `watch` → `model` → a `mode`'s plan → diff → kernel; `agent` drives it.

mod addresses;
mod agent;
mod cleanup;
pub mod config;
pub mod conntrack;
mod dry_run;
pub mod explain;
mod metrics;
pub mod mode;
pub mod model;
mod netlink;
pub mod node;
mod options;
mod serve;
mod watch;

use std::sync::Arc;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::task::JoinSet;

pub use crate::options::{Action, Notation, Options};

use crate::config::Config;
use crate::mode::{Mode, ModeName};
use crate::model::{Family, Model};
use crate::node::Place;

/// Runs the agent until `stop`, or does what is asked for instead.
///
/// # Errors
/// A configuration or kubeconfig that cannot be used, a kernel without what the mode
/// needs, an address that cannot be bound. An API server that is not there is waited
/// for.
pub async fn run(
    options: Options,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    // Another component of the same process may have done so.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if options.is_cleanup() {
        return cleanup::run();
    }
    let (config, warnings) = Config::load(&options.flags)?;
    for warning in warnings {
        tracing::warn!("configuration: {warning}");
    }
    if options.dry_run {
        return dry_run::run(&options, &config, async || connect(&options, &config).await).await;
    }
    tokio::select! {
        ended = serve(&options, &config) => ended,
        () = stop => {
            tracing::info!("stopping");
            Ok(())
        }
    }
}

async fn serve(options: &Options, config: &Config) -> anyhow::Result<()> {
    let node_name = node::name(config)?;
    let client = connect(options, config).await?;
    let health = Arc::new(serve::Health::default());
    let metrics = Arc::new(metrics::Metrics::new());
    let (explain, desk) = explain::desk::Desk::new();
    let source = Arc::new(serve::Source {
        health: health.clone(),
        metrics: metrics.clone(),
        mode: config.mode.as_str(),
        explain,
    });
    // Ends with this function.
    let mut servers = JoinSet::new();
    for (address, what) in [
        (config.healthz_bind_address, "health checks"),
        (config.metrics_bind_address, serve::METRICS),
    ] {
        if let Some(address) = address {
            servers.spawn(serve::start(address, what, source.clone()).await?);
        }
    }
    let place = node::wait(&client, &node_name, config).await;
    let modes = open_modes(config, &place)?;
    let mut agent = agent::Agent::new(Model::new(&*node_name), modes, metrics, health, desk);
    tracing::info!(node = node_name, "watching Services and EndpointSlices");
    agent.run(watch::start(&client, &node_name)).await;
    Ok(())
}

/// The mode, once for each IP family that the kernel has. What other modes have left
/// goes once this one is known to work here.
fn open_modes(config: &Config, place: &Place) -> anyhow::Result<Vec<Box<dyn Mode>>> {
    let mut families = vec![Family::V4];
    if std::path::Path::new("/proc/net/if_inet6").exists() {
        families.push(Family::V6);
    } else {
        tracing::info!("no IPv6 here: IPv4 only");
    }
    let mut modes: Vec<Box<dyn Mode>> = Vec::new();
    for family in &families {
        let settings = node::settings(config, place, *family)?;
        modes.push(mode::open(config.mode, settings)?);
    }
    for other in ModeName::ALL {
        for family in &families {
            if other != config.mode {
                mode::cleanup(other, *family)
                    .with_context(|| format!("cannot remove what mode {other} has left"))?;
            }
        }
    }
    Ok(modes)
}

async fn connect(options: &Options, config: &Config) -> anyhow::Result<kube::Client> {
    let mut client = match &config.kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path)
                .with_context(|| format!("cannot read kubeconfig {}", path.display()))?;
            kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("cannot use kubeconfig {}", path.display()))?
        }
        None => kube::Config::incluster()
            .context("no kubeconfig given, and this is no pod with a service account")?,
    };
    if let Some(master) = &options.master {
        client.cluster_url = master
            .parse()
            .with_context(|| format!("--master: {master} is no URL"))?;
    }
    kube::Client::try_from(client).context("cannot make an API client")
}
