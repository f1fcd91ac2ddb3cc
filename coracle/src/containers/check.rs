//! Health checks from inside a container, for images that have no program but this one.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ClusterArgs;
use super::shared::{self, Credentials};
use crate::cluster::ranges::API_PORT;
use crate::cluster::{bootstrap, identities};

const LIMIT: Duration = Duration::from_secs(3);

/// Options of `member check`.
#[derive(Args)]
pub struct Options {
    /// What runs here.
    #[arg(value_enum)]
    what: What,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Port on loopback, for `port`.
    #[arg(long, required_if_eq("what", "port"))]
    port: Option<u16>,
}

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// An API server: `/readyz`.
    Apiserver,
    /// A node: the API server says that it is Ready.
    Node,
    /// Something that takes connections on a port.
    Port,
}

/// Asks once.
pub fn run(options: &Options) -> Result<u8> {
    super::runtime()?.block_on(async {
        match timeout(LIMIT, ask(options)).await {
            Ok(outcome) => outcome.map(|()| 0),
            Err(_) => bail!("no answer within {} s", LIMIT.as_secs()),
        }
    })
}

async fn ask(options: &Options) -> Result<()> {
    match options.what {
        What::Apiserver => {
            let server = format!("https://{}:{API_PORT}", Ipv4Addr::LOCALHOST);
            let client = bootstrap::client(&kubeconfig(options, &server)?).await?;
            bootstrap::api_ready(&client).await
        }
        What::Node => {
            let name = nix::unistd::gethostname()?.to_string_lossy().into_owned();
            let server = super::api_url();
            let client = bootstrap::client(&kubeconfig(options, &server)?).await?;
            bootstrap::node_is_ready(&client, &name).await
        }
        What::Port => {
            let at = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port.unwrap_or_default()));
            TcpStream::connect(at).await?;
            Ok(())
        }
    }
}

fn kubeconfig(options: &Options, server: &str) -> Result<PathBuf> {
    let mut identity = identities::admin();
    identity.file = "check".to_owned();
    // Asked every second: the credential of the first time is good for the container's life.
    match shared::kubeconfig_path(&identity) {
        written if written.exists() => Ok(written),
        _ => Credentials::open(&options.cluster)?.kubeconfig(server, &identity),
    }
}
