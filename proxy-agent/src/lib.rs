//! The node proxy: Services and EndpointSlices in, kernel rules out. Never in the
//! path of a packet, and its rules stay when it stops; but in mode `userspace`.
//!
//! `watch` → `catalog` → a `mode`'s plan → diff → kernel; `agent` drives it.

mod addresses;
mod agent;
pub mod catalog;
mod cleanup;
pub mod config;
pub mod conntrack;
pub mod dnat;
mod dry_run;
mod events;
pub mod explain;
mod health;
mod health_check_node_port;
mod http_server;
pub mod loopback;
mod metrics;
pub mod mode;
pub mod modes;
mod netlink;
pub mod nft;
pub mod node;
mod options;
pub mod routes;
mod serve;
mod services;
pub mod settings;
mod watch;

use std::sync::Arc;

use anyhow::Context;
use client::ApiServer;
use client::connect::{Protocol, from_config};
use tokio::task::JoinSet;

pub use crate::options::{Action, Options};

use crate::agent::{Agent, Beside, Periods};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::events::Events;
use crate::health::Health;
use crate::health_check_node_port::HealthChecks;
use crate::metrics::Metrics;
use crate::mode::{Entry, Mode};
use crate::modes::MODES;
use crate::routes::Family;
use crate::serve::Paths;
use crate::services::Services;

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
    run_with(MODES, options, stop).await
}

/// The same with these modes to choose from, the first by default.
///
/// # Errors
/// See [`run`].
pub async fn run_with(
    modes: &'static [Entry],
    options: Options,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    if options.is_cleanup() {
        return cleanup::run(modes);
    }
    let (config, warnings) = Config::load(modes, &options.flags)?;
    for warning in warnings {
        tracing::warn!("configuration: {warning}");
    }
    if options.dry_run {
        return dry_run::run(modes, &options, &config, async || connect(&options, &config).await)
            .await;
    }
    tokio::select! {
        ended = carry(modes, &options, &config) => ended,
        () = stop => {
            tracing::info!("stopping");
            Ok(())
        }
    }
}

/// The agent itself: only an error ends it, or a Node that has changed.
async fn carry(modes: &'static [Entry], options: &Options, config: &Config) -> anyhow::Result<()> {
    let node_name = node::name(config)?;
    let client = connect(options, config).await?;
    let health = Arc::new(Health::default());
    let metrics = Arc::new(Metrics::new(config.mode));
    let (explain, desk) = explain::desk::Desk::new();
    let source = Arc::new(serve::Source {
        health: health.clone(),
        metrics: metrics.clone(),
        mode: config.mode.name,
        explain,
    });
    // Ends with this function.
    let mut servers = JoinSet::new();
    for (address, paths) in [
        (config.healthz_bind_address, Paths::Health),
        (config.metrics_bind_address, Paths::Metrics),
    ] {
        if let Some(address) = address {
            let must_bind = config.bind_address_hard_fail;
            servers.spawn(serve::start(address, paths, source.clone(), must_bind).await?);
        }
    }
    protect(config);
    let place = node::wait(&client, &node_name, config).await;
    let families = families();
    let mut settings = Vec::new();
    for family in &families {
        settings.push(node::settings(config, &place, *family)?);
    }
    let opened = modes::open_all(config.mode, settings)?;
    let networks = opened
        .iter()
        .flat_map(|mode| mode.settings().node_port_addresses.iter().copied())
        .collect();
    let events = Events::start(client.clone(), &node_name, metrics.clone());
    let checks = HealthChecks::new(&node_name, networks, health.clone(), events.clone());
    let (moved, has_moved) = tokio::sync::watch::channel(None);
    let beside = Beside {
        services: Services::new(&node_name, metrics.clone(), events, checks),
        on_node: node::observer(config.clone(), place, moved),
        clean_up: clean_up(modes, config.mode, families, &opened),
    };
    let periods = Periods { verify: config.sync_period, between_syncs: config.min_sync_period };
    let mut agent =
        Agent::new(Catalog::new(&*node_name), opened, metrics, health, desk).with(periods, beside);
    tracing::info!(node = node_name, "watching Services and EndpointSlices");
    tokio::select! {
        () = agent.run(watch::start(&client, &node_name)) => Ok(()),
        reason = moved_away(has_moved) => Err(reason),
    }
}

/// Waits until the Node says something else than what the modes were made for.
async fn moved_away(mut has_moved: tokio::sync::watch::Receiver<Option<String>>) -> anyhow::Error {
    match has_moved.wait_for(Option::is_some).await {
        Ok(reason) => anyhow::anyhow!("{}", reason.as_deref().unwrap_or_default()),
        Err(_) => std::future::pending().await,
    }
}

/// Makes the kernel spare this process where memory runs out, as far as asked for.
fn protect(config: &Config) {
    let Some(score) = config.oom_score_adj else {
        return;
    };
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
        tracing::warn!(score, %error, "cannot set oom_score_adj");
    }
}

/// The IP families that the kernel has.
fn families() -> Vec<Family> {
    if std::path::Path::new("/proc/net/if_inet6").exists() {
        return vec![Family::V4, Family::V6];
    }
    tracing::info!("no IPv6 here: IPv4 only");
    vec![Family::V4]
}

/// Removes what other modes than `own` have left of a family; with the first one also of
/// those that the kernel has and this mode does not carry.
fn clean_up(
    modes: &'static [Entry],
    own: &'static Entry,
    families: Vec<Family>,
    opened: &[Box<dyn Mode>],
) -> Box<dyn Fn(Family) -> anyhow::Result<()> + Send> {
    let carried: Vec<Family> = opened.iter().map(|mode| mode.settings().family).collect();
    let is_carried = move |family: &Family| carried.contains(family);
    Box::new(move |of| {
        let with = |family: &Family| *family == of || !is_carried(family);
        let families: Vec<Family> = families.iter().copied().filter(with).collect();
        cleanup::others(modes, own, &families)
    })
}

async fn connect(options: &Options, config: &Config) -> anyhow::Result<kube::Client> {
    let mut found = ApiServer { kubeconfig: config.kubeconfig.clone() }.config().await?;
    if let Some(master) = &options.master {
        found.cluster_url =
            master.parse().with_context(|| format!("--master: {master} is no URL"))?;
    }
    from_config(found, Protocol::Http2).context("cannot make an API client")
}
