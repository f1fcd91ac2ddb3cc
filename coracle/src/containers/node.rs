//! A node in a container: process 1, which prepares the network, starts the node agent and
//! starts it again where it dies, reaps what pods leave behind, and answers for names outside
//! the cluster. One thread but for those names.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use ipnet::Ipv4Net;
use nix::sys::signalfd::SignalFd;

use super::shared::Credentials;
use super::{ClusterArgs, api_url, network};
use crate::cluster::command_line::NodeAgent;
use crate::cluster::process_table::{
    ComponentPlan, Died, Logs, Phase, ProcessTable, asks_to_end, block_signals, wait,
};
use crate::cluster::ranges::NODE_POD_PREFIX;
use crate::cluster::{dns, identities, upstream_dns};

/// Where pods, their logs and their addresses are.
const ROOT_DIR: &str = "/var/lib/coracle/node";
/// Kubeconfig of the cluster's DNS, for its pod.
const DNS_CONFIG: &str = "/run/coracle/dns";
/// Socket for names outside the cluster, for the DNS's pod.
const HOST_DIR: &str = "/run/coracle/host";

/// Options of `member node`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// This node's number, from 1: its pods get the /24 of that number of the pods' range.
    #[arg(long, value_name = "N", env = "CORACLE_NODE_NUMBER")]
    number: u8,
    /// Run the cluster's DNS here, as a static pod.
    #[arg(long, env = "CORACLE_NODE_DNS")]
    dns: bool,
    /// More options for the node agent.
    #[arg(last = true)]
    more: Vec<String>,
}

/// Is the node until it is asked to end.
pub fn run(options: &Options) -> Result<u8> {
    let cluster = &options.cluster;
    network::prepare_node(cluster.member_cidr, cluster.service_cidr)?;
    let credentials = Credentials::open(cluster)?;
    for directory in [ROOT_DIR, HOST_DIR] {
        fs::create_dir_all(directory).with_context(|| format!("make {directory}"))?;
    }
    write_manifests(options, &credentials)?;
    let plan = ComponentPlan {
        name: "node-agent".to_owned(),
        phase: Phase::First,
        args: agent_args(options, &credentials)?,
        takes_listener: false,
    };
    // Blocked before there is a second thread, so that all signals come by the descriptor.
    let signals = block_signals()?;
    std::thread::spawn(|| {
        let served = super::runtime().and_then(|runtime| {
            runtime.block_on(upstream_dns::serve(Path::new(HOST_DIR), dns::UPSTREAM_SOCKET))
        });
        if let Err(error) = served {
            eprintln!("names outside the cluster are not resolved: {error:#}");
        }
    });
    supervise(ProcessTable::new(vec![plan], Logs::Inherited, None), &signals)
}

fn pod_cidr(options: &Options) -> Result<Ipv4Net> {
    let all = options.cluster.pod_cidr;
    let own = options.cluster.ranges().pods_of(options.number);
    ensure!(
        options.number > 0 && all.contains(&own),
        "--number {}: {all} has no /{NODE_POD_PREFIX} of that number for this node's pods",
        options.number
    );
    Ok(own)
}

fn agent_args(options: &Options, credentials: &Credentials) -> Result<Vec<String>> {
    let cluster = &options.cluster;
    let address = cluster.own_address()?;
    let name = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let identity = identities::node("node", &name, vec![name.clone(), address.to_string()]);
    let authority = &credentials.authority;
    let agent = NodeAgent {
        name: &name,
        address,
        pod_cidr: pod_cidr(options)?,
        ranges: &cluster.ranges(),
        serving: &authority.issue(&identity)?,
        kubeconfig: &credentials.kubeconfig(&api_url(), &identity)?,
        ca_file: &authority.certificate_file,
        root: Path::new(ROOT_DIR),
    };
    let mut args = agent.args();
    args.extend(options.more.iter().cloned());
    Ok(args)
}

fn manifests_dir() -> PathBuf {
    Path::new(ROOT_DIR).join("manifests")
}

fn write_manifests(options: &Options, credentials: &Credentials) -> Result<()> {
    let directory = manifests_dir();
    fs::create_dir_all(&directory)?;
    if !options.dns {
        return Ok(());
    }
    // By the cluster IP: the pod has the network of a pod, and no resolver but itself.
    let server = format!("https://{}", options.cluster.ranges().kubernetes_service());
    let written = credentials.kubeconfig(&server, &identities::dns())?;
    fs::create_dir_all(DNS_CONFIG)?;
    fs::rename(written, Path::new(DNS_CONFIG).join("kubeconfig"))?;
    dns::write(&directory, Path::new(DNS_CONFIG), Path::new(HOST_DIR))
}

/// Starts what is due and reaps, until a signal asks to end; the container's end ends the rest.
fn supervise(mut table: ProcessTable, signals: &SignalFd) -> Result<u8> {
    loop {
        table.start_due(Instant::now(), true).into_iter().for_each(tell);
        wait([signals.as_fd()], table.next_start(true))?;
        let stop = asks_to_end(signals)?;
        table.reap(tell)?;
        if stop {
            return table.stop(signals, tell).map(|()| 0);
        }
    }
}

fn tell(Died { name, status, restart_in_ms }: Died) {
    eprintln!("{name} ended ({status}) and starts again in {restart_in_ms} ms");
}
