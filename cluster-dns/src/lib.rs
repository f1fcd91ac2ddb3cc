//! Cluster DNS: answers from Services and EndpointSlices.
//!
//! A query goes `serve` → `resolve` → `answer` over the `table`, and through
//! `forward` where the name is not the cluster's; `watch` keeps the table true.
//! Never writes to the API, and never answers a cluster name from anywhere but the table.

pub mod answer;
pub mod cache;
pub mod encode;
pub mod forward;
pub mod health;
pub mod metrics;
pub mod records;
pub mod resolve;
pub mod serve;
pub mod state;
pub mod table;
pub mod watch;
pub mod zone;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use client::{ApiServer, Program};
use hickory_proto::rr::Name;
use tokio::net::TcpListener;
use tracing::info;

use crate::cache::{Cache, DEFAULT_MAX_TTL_SECONDS};
use crate::forward::{Forwards, StubDomain, Upstream};
use crate::metrics::Metrics;
use crate::resolve::Resolver;
use crate::serve::Sockets;
use crate::state::State;
use crate::table::Table;

/// Answers DNS for the cluster's Services.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where the API server is
    #[command(flatten)]
    pub api_server: ApiServer,
    /// Address for DNS over UDP and TCP; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:53")]
    pub listen: SocketAddr,
    /// Domain of the cluster
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Resolver for all other names: IP[:PORT], or unix:PATH for length-prefixed messages on a
    /// Unix socket. May be repeated, asked in order; without one other names are refused
    #[arg(long = "upstream", value_name = "UPSTREAM")]
    pub upstreams: Vec<Upstream>,
    /// Resolvers for one domain and all below it, as DOMAIN=UPSTREAM[,UPSTREAM]. May be
    /// repeated; the closest domain counts, and --upstream is not asked about its names
    #[arg(long = "stub-domain", value_name = "DOMAIN=UPSTREAM")]
    pub stub_domains: Vec<StubDomain>,
    /// Use answers of other servers again for at most so many seconds, whatever their TTL; 0: never
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_MAX_TTL_SECONDS)]
    pub cache_seconds: u32,
    /// Address for /metrics
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:9153")]
    pub metrics_address: SocketAddr,
    /// Address for /health and /ready
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8080")]
    pub health_address: SocketAddr,
}

impl Program for Options {
    const NAME: &'static str = "cluster-dns";
}

/// Serves until `stop` resolves. Fails when an address is taken or the
/// kubeconfig is unusable; an API server that cannot be reached is waited for.
pub async fn run(
    options: Options,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let domain = domain_name(&options.cluster_domain)?;
    let client = options.api_server.connect().await?;
    let state = Arc::new(State::new(Table::new(now_seconds())));
    let sockets = Sockets::bind(options.listen).await?;
    let health = TcpListener::bind(options.health_address)
        .await
        .with_context(|| format!("cannot listen on {} for probes", options.health_address))?;
    let metrics_listener = TcpListener::bind(options.metrics_address)
        .await
        .with_context(|| format!("cannot listen on {} for metrics", options.metrics_address))?;
    info!("serving DNS for {domain} on {}", sockets.address()?);
    info!("serving probes on {}", health.local_addr()?);
    let metrics = Arc::new(Metrics::new(&domain.to_string()));
    let resolver = Arc::new(Resolver::new(
        Arc::clone(&state),
        Forwards::new(options.upstreams, options.stub_domains),
        Cache::new(options.cache_seconds),
        Arc::clone(&metrics),
        domain,
    ));
    tokio::select! {
        () = stop => Ok(()),
        () = sockets.serve(resolver) => Ok(()),
        () = watch::follow(client, Arc::clone(&state)) => Ok(()),
        served = health::serve(health, state) => served.context("serving probes failed"),
        served = health::serve_metrics(metrics_listener, metrics) => {
            served.context("serving metrics failed")
        }
    }
}

fn domain_name(text: &str) -> anyhow::Result<Name> {
    let mut name = Name::from_ascii(text)
        .with_context(|| format!("--cluster-domain {text:?} is no domain name"))?;
    name.set_fqdn(true);
    anyhow::ensure!(!name.is_root(), "--cluster-domain must not be empty");
    Ok(name.to_lowercase())
}

/// Where the SOA serial starts: later processes start higher.
fn now_seconds() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| u32::try_from(since.as_secs()).unwrap_or(0))
}
