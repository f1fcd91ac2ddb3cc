//! An API server in a container: its certificate for every name it is reached by, then the
//! component in this process's place.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::shared::Credentials;
use super::{API_NAME, ClusterArgs, become_component};
use crate::cluster::command_line::{self, flag};
use crate::cluster::ranges::{API_PORT, service_names};

/// Options of `member apiserver`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// etcd members to store everything in.
    #[arg(
        long,
        value_name = "URL",
        value_delimiter = ',',
        env = "CORACLE_ETCD_SERVERS",
        conflicts_with = "data_dir"
    )]
    etcd_servers: Vec<String>,
    /// Directory of a store of its own, where there is no etcd.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/coracle/store")]
    data_dir: PathBuf,
    /// More options for the component.
    #[arg(last = true)]
    more: Vec<String>,
}

/// Becomes the API server.
pub fn run(options: &Options) -> Result<u8> {
    let cluster = &options.cluster;
    let address = cluster.own_address()?;
    let authority = Credentials::open(cluster)?.authority;
    let names = names(cluster, address)?;
    let mut args = command_line::api_server(&authority, names, &cluster.ranges(), address)?;
    let etcd = options.etcd_servers.join(",");
    args.push(flag("--secure-port", API_PORT));
    args.push(match etcd.is_empty() {
        true => flag("--data-dir", options.data_dir.display()),
        false => flag("--etcd-servers", etcd),
    });
    become_component(args, &options.more)
}

/// Every name by which a client may reach this server; published ports are on loopback.
fn names(cluster: &ClusterArgs, address: Ipv4Addr) -> Result<Vec<String>> {
    let host = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let mut names = vec![
        address.to_string(),
        Ipv4Addr::LOCALHOST.to_string(),
        cluster.ranges().kubernetes_service().to_string(),
        "localhost".to_owned(),
        API_NAME.to_owned(),
        host,
    ];
    names.extend(service_names());
    Ok(names)
}
