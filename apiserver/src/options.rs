//! The command line of the API server, and what it means.
//!
//! Never opens anything: `crate::run` does.

use std::{net::IpAddr, os::fd::RawFd, path::PathBuf, str::FromStr, time::Duration};

use clap::Parser;
use ipnet::IpNet;

/// Options of the API server.
#[derive(Debug, Clone, Parser)]
#[command(name = "apiserver", about = "Serves the Kubernetes API")]
pub struct Options {
    /// Directory of the embedded store; made if it does not exist
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with = "etcd_servers",
        required_unless_present = "etcd_servers"
    )]
    pub data_dir: Option<PathBuf>,
    /// etcd endpoints to store everything in, instead of the embedded store
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub etcd_servers: Vec<String>,
    /// CA that signed etcd's certificates
    #[arg(long, value_name = "FILE")]
    pub etcd_cafile: Option<PathBuf>,
    /// Client certificate for etcd
    #[arg(long, value_name = "FILE", requires = "etcd_keyfile")]
    pub etcd_certfile: Option<PathBuf>,
    /// Key of the client certificate for etcd
    #[arg(long, value_name = "FILE", requires = "etcd_certfile")]
    pub etcd_keyfile: Option<PathBuf>,
    /// Address to listen on
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// Port to listen on; 0 is any free one
    #[arg(long, value_name = "PORT", default_value_t = 6443)]
    pub secure_port: u16,
    /// An inherited TCP socket, bound and listening, that is served as well (repeatable)
    #[arg(long, value_name = "FD")]
    pub listen_fd: Vec<RawFd>,
    /// Address under which the cluster reaches this server; the bind address by default
    #[arg(long, value_name = "IP")]
    pub advertise_address: Option<IpAddr>,
    /// Server certificate (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_cert_file: PathBuf,
    /// Key of the server certificate (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_private_key_file: PathBuf,
    /// CA whose client certificates are accepted: CN is the user, O are the groups
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// CSV file of bearer tokens: token,user,uid,"group1,group2"
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,
    /// Ranges that Services get their cluster IPs from, one for each address family
    #[arg(long, value_name = "CIDR", value_delimiter = ',', default_value = "10.96.0.0/16")]
    pub service_cluster_ip_range: Vec<IpNet>,
    /// Ports that Services get their node ports from
    #[arg(long, value_name = "FIRST-LAST", default_value = "30000-32767")]
    pub service_node_port_range: NodePorts,
    /// How long an Event is kept
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = event_ttl)]
    pub event_ttl: Duration,
    /// Client certificate for the node agents (exec, attach, logs)
    #[arg(long, value_name = "FILE", requires = "kubelet_client_key")]
    pub kubelet_client_certificate: Option<PathBuf>,
    /// Key of the client certificate for the node agents
    #[arg(long, value_name = "FILE", requires = "kubelet_client_certificate")]
    pub kubelet_client_key: Option<PathBuf>,
    /// CA that signed the node agents' certificates
    #[arg(long, value_name = "FILE")]
    pub kubelet_certificate_authority: Option<PathBuf>,
}

impl client::Program for Options {
    const NAME: &'static str = "apiserver";
}

/// A duration as Go writes it, of whole seconds.
fn event_ttl(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().ok();
    match parsed.and_then(|duration| Duration::try_from(duration).ok()) {
        Some(duration) if duration.as_secs() > 0 => Ok(duration),
        _ => Err(format!("`{text}` is no duration of a second or more; write 30m or 1h")),
    }
}

/// A range of ports, `30000-32767`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodePorts {
    /// Lowest.
    pub first: u16,
    /// Highest.
    pub last: u16,
}

impl FromStr for NodePorts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = |part: &str| part.parse::<u16>().ok().filter(|port| *port > 0);
        match text.split_once('-').map(|(a, b)| (parse(a), parse(b))) {
            Some((Some(first), Some(last))) if first <= last => Ok(Self { first, last }),
            _ => {
                Err(format!("`{text}` is no range of ports; write FIRST-LAST, such as 30000-32767"))
            }
        }
    }
}
