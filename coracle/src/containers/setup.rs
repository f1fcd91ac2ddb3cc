//! What a new cluster needs once: the DNS Service and the node proxy; then waiting until nodes and
//! DNS work. Also the admin's kubeconfig. Never overwrites an object that is there already, but
//! the proxy's credential.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use k8s_openapi::jiff::Timestamp;

use super::shared::Credentials;
use super::{ClusterArgs, api_url, asked_to_end, runtime};
use crate::cluster::identities::{self, admin};
use crate::cluster::pki::write_private;
use crate::cluster::{bootstrap, ranges::API_PORT};

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
    let proxy = credentials.kubeconfig(&api_url(), &identities::proxy())?;
    runtime()?.block_on(bring_up(options, &admin, &proxy))?;
    Ok(0)
}

async fn bring_up(options: &Options, admin: &Path, proxy: &Path) -> Result<()> {
    let steps = Steps { began: Instant::now(), limit: Duration::from_secs(options.timeout) };
    let client = bootstrap::client(admin).await?;
    let ranges = options.cluster.ranges();
    steps.wait("the API answers", bootstrap::api_ready(&client)).await?;
    let objects = bootstrap::objects(&client, &ranges, proxy);
    steps.wait("the node proxy and the DNS Service are there", objects).await?;
    // The cluster is new: whatever lease there is is of this start.
    let nodes = bootstrap::nodes_ready(&client, &options.nodes, Timestamp::UNIX_EPOCH);
    steps.wait("all nodes are Ready", nodes).await?;
    let proxies = bootstrap::proxies_ready(&client, options.nodes.len());
    steps.wait("the node proxy is ready on every node", proxies).await?;
    let dns = bootstrap::dns_has_endpoints(&client);
    steps.wait("the cluster's DNS is ready", dns).await
}

/// The steps, and the time that all of them have.
struct Steps {
    began: Instant,
    limit: Duration,
}

impl Steps {
    /// Waits until a step is done, and says so.
    async fn wait(&self, done: &str, work: impl Future<Output = Result<()>>) -> Result<()> {
        let left = self.limit.saturating_sub(self.began.elapsed());
        let Ok(outcome) = tokio::time::timeout(left, work).await else {
            bail!("after {} s it is not so that {done}", self.limit.as_secs());
        };
        outcome?;
        println!("{done} ({:.1} s)", self.began.elapsed().as_secs_f32());
        Ok(())
    }
}

/// Writes the kubeconfig into this container, for commands that run in it, and stays.
pub fn client(cluster: &ClusterArgs) -> Result<u8> {
    let credentials = Credentials::open(cluster)?;
    let written = credentials.kubeconfig(&api_url(), &admin())?;
    let text = std::fs::read_to_string(written)?;
    let home = Path::new("/root/.kube");
    std::fs::create_dir_all(home).context("make /root/.kube")?;
    write_private(&home.join("config"), &text)?;
    runtime()?.block_on(asked_to_end())?;
    Ok(0)
}

/// Prints the admin's kubeconfig.
pub fn kubeconfig(options: &KubeconfigOptions) -> Result<u8> {
    let credentials = Credentials::open(&options.cluster)?;
    let local = || format!("https://{}:{API_PORT}", Ipv4Addr::LOCALHOST);
    let server = options.server.clone().unwrap_or_else(local);
    let path = credentials.kubeconfig(&server, &admin())?;
    print!("{}", std::fs::read_to_string(path)?);
    Ok(0)
}
