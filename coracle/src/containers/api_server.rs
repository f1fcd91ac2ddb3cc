//! An API server in a container: its certificate for every name it is reached by, then the
//! component in this process's place. Never serves anything itself.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::shared::Credentials;
use super::{API_NAME, ClusterArgs, flag};
use crate::lab::component_plans::service_names;
use crate::lab::namespaces::exec_self;
use crate::lab::pki::Identity;
use crate::lab::topology::API_PORT;

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
    let credentials = Credentials::open(cluster)?;
    let identity =
        Identity::client("apiserver", "kube-apiserver", &[]).serving(names(cluster, address)?);
    let serving = credentials.issue(&identity)?;
    let to_nodes = credentials.issue(&Identity::client(
        "apiserver-kubelet-client",
        "kube-apiserver-kubelet-client",
        &["system:masters"],
    ))?;
    let ca = credentials.ca_file().display();
    let etcd = options.etcd_servers.join(",");
    let store = if etcd.is_empty() {
        flag("--data-dir", options.data_dir.display())
    } else {
        flag("--etcd-servers", etcd)
    };
    let mut args = vec![
        "coracle".to_owned(),
        "apiserver".to_owned(),
        store,
        flag("--secure-port", API_PORT),
        flag("--advertise-address", address),
        flag("--tls-cert-file", serving.cert_file.display()),
        flag("--tls-private-key-file", serving.key_file.display()),
        flag("--client-ca-file", &ca),
        flag("--service-cluster-ip-range", cluster.service_cidr),
        flag("--kubelet-client-certificate", to_nodes.cert_file.display()),
        flag("--kubelet-client-key", to_nodes.key_file.display()),
        flag("--kubelet-certificate-authority", &ca),
    ];
    args.extend(options.more.iter().cloned());
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    bail!("start the API server: {}", exec_self(&words))
}

/// Every name by which a client may reach this server; published ports are on loopback.
fn names(cluster: &ClusterArgs, address: Ipv4Addr) -> Result<Vec<String>> {
    let host = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let mut names = vec![
        address.to_string(),
        Ipv4Addr::LOCALHOST.to_string(),
        cluster.topology().kubernetes_service().to_string(),
        "localhost".to_owned(),
        API_NAME.to_owned(),
        host,
    ];
    names.extend(service_names());
    Ok(names)
}
