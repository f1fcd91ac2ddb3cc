//! What a new cluster needs once: the DNS Service and the node proxy; then waiting until nodes and
//! DNS work. Also the admin's kubeconfig. Never overwrites an object that is there already, but
//! the proxy's credential.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use k8s_openapi::jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use super::controller::api_url;
use super::shared::{Credentials, admin};
use super::{ClusterArgs, runtime};
use crate::lab::bootstrap;
use crate::lab::pki::{Identity, write_private};

/// Options of `member setup`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Nodes that must be Ready.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        env = "CORACLE_NODES",
        required = true
    )]
    nodes: Vec<String>,
    /// Give up after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

/// Options of `member kubeconfig`.
#[derive(Args)]
pub struct KubeconfigOptions {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Where the reader reaches the API, such as <https://127.0.0.1:6443>.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

/// Makes the objects and waits.
pub fn run(options: &Options) -> Result<u8> {
    let credentials = Credentials::open(&options.cluster)?;
    let admin = credentials.kubeconfig(&api_url(), &admin())?;
    let proxy = credentials.kubeconfig(
        &api_url(),
        &Identity::client("kube-proxy", "system:kube-proxy", &[]),
    )?;
    let limit = Duration::from_secs(options.timeout);
    let step = std::sync::Mutex::new("the API server");
    runtime()?.block_on(async {
        let work = bring_up(options, &admin, &proxy, &step);
        match tokio::time::timeout(limit, work).await {
            Ok(outcome) => outcome.map(|()| 0),
            Err(_) => {
                let step = step.lock().map(|step| *step).unwrap_or_default();
                bail!("after {} s: still waiting for {step}", options.timeout)
            }
        }
    })
}

async fn bring_up(
    options: &Options,
    admin: &Path,
    proxy: &Path,
    step: &std::sync::Mutex<&'static str>,
) -> Result<()> {
    let began = std::time::Instant::now();
    let next = |done: &str, next: &'static str| {
        println!("{done} ({:.1} s)", began.elapsed().as_secs_f32());
        if let Ok(mut step) = step.lock() {
            *step = next;
        }
    };
    let client = bootstrap::client(admin).await?;
    bootstrap::api_ready(&client).await?;
    next("the API answers", "the API to take the first objects");
    let topology = options.cluster.topology();
    bootstrap::objects(&client, &topology, proxy).await?;
    next(
        "the node proxy and the DNS Service are there",
        "the nodes to become Ready",
    );
    // The cluster is new: whatever lease there is is of this start.
    bootstrap::nodes_ready(&client, &options.nodes, Timestamp::UNIX_EPOCH).await?;
    next("all nodes are Ready", "the node proxy on every node");
    bootstrap::proxies_ready(&client, options.nodes.len()).await?;
    next("the node proxy is ready on every node", "the cluster's DNS");
    bootstrap::dns_has_endpoints(&client).await?;
    next("the cluster's DNS is ready", "nothing");
    Ok(())
}

/// Writes the kubeconfig into this container, for commands that run in it, and stays.
pub fn client(cluster: &ClusterArgs) -> Result<u8> {
    let credentials = Credentials::open(cluster)?;
    let written = credentials.kubeconfig(&api_url(), &admin())?;
    let text = std::fs::read_to_string(written)?;
    let home = Path::new("/root/.kube");
    std::fs::create_dir_all(home).context("make /root/.kube")?;
    write_private(&home.join("config"), &text)?;
    runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(0)
    })
}

/// Prints the admin's kubeconfig.
pub fn kubeconfig(options: &KubeconfigOptions) -> Result<u8> {
    let credentials = Credentials::open(&options.cluster)?;
    let server = options.server.clone().unwrap_or_else(|| {
        format!(
            "https://{}:{}",
            Ipv4Addr::LOCALHOST,
            crate::lab::topology::API_PORT
        )
    });
    let path = credentials.kubeconfig(&server, &admin())?;
    print!("{}", std::fs::read_to_string(path)?);
    Ok(0)
}
