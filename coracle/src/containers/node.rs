//! A node in a container: process 1, which prepares the network, starts the node agent and
//! starts it again where it dies, reaps what pods leave behind, and answers for names outside
//! the cluster. One thread but for those names. Never runs a pod itself.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use ipnet::Ipv4Net;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;

use super::controller::api_url;
use super::shared::Credentials;
use super::{ClusterArgs, flag, network};
use crate::lab::component_plans::{CLUSTER_DOMAIN, NODE_AGENT_PORT, dns_identity};
use crate::lab::control::Report;
use crate::lab::pki::Identity;
use crate::lab::process_table::{ComponentPlan, Logs, Phase, ProcessTable};
use crate::lab::{manifests, supervisor, upstream_dns};

/// Where pods, their logs and their addresses are.
const ROOT_DIR: &str = "/var/lib/coracle/node";
/// Kubeconfig of the cluster's DNS, for its pod.
const DNS_CONFIG: &str = "/run/coracle/dns";
/// Socket for names outside the cluster, for the DNS's pod.
const HOST_DIR: &str = "/run/coracle/host";
const NODE_POD_PREFIX: u8 = 24;

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
    let signals = supervisor::block_signals()?;
    std::thread::spawn(|| {
        let served = super::runtime().and_then(|runtime| {
            runtime.block_on(upstream_dns::serve(Path::new(HOST_DIR), manifests::UPSTREAM_SOCKET))
        });
        if let Err(error) = served {
            eprintln!("names outside the cluster are not resolved: {error:#}");
        }
    });
    supervise(ProcessTable::new(vec![plan], Logs::Inherited, None), &signals)
}

fn pod_cidr(options: &Options) -> Result<Ipv4Net> {
    let all = options.cluster.pod_cidr;
    let first = u32::from(all.network()) + (u32::from(options.number) << (32 - NODE_POD_PREFIX));
    let own = Ipv4Net::new_assert(first.into(), NODE_POD_PREFIX);
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
    let identity = Identity::client("node", &format!("system:node:{name}"), &["system:nodes"])
        .serving(vec![name.clone(), address.to_string()]);
    let serving = credentials.issue(&identity)?;
    let kubeconfig = credentials.kubeconfig(&api_url(), &identity)?;
    let mut args = vec![
        "node-agent".to_owned(),
        flag("--kubeconfig", kubeconfig.display()),
        flag("--hostname-override", &name),
        flag("--node-ip", address),
        flag("--pod-cidr", pod_cidr(options)?),
        flag("--root-dir", ROOT_DIR),
        flag("--pod-manifest-path", manifests_dir().display()),
        flag("--cluster-dns", cluster.topology().dns_service()),
        flag("--cluster-domain", CLUSTER_DOMAIN),
        flag("--tls-cert-file", serving.cert_file.display()),
        flag("--tls-private-key-file", serving.key_file.display()),
        flag("--client-ca-file", credentials.ca_file().display()),
        flag("--port", NODE_AGENT_PORT),
    ];
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
    let server = format!("https://{}", options.cluster.topology().kubernetes_service());
    let written = credentials.kubeconfig(&server, &dns_identity())?;
    fs::create_dir_all(DNS_CONFIG)?;
    fs::rename(written, Path::new(DNS_CONFIG).join("kubeconfig"))?;
    manifests::write_dns(&directory, Path::new(DNS_CONFIG), Path::new(HOST_DIR))
}

/// Starts what is due and reaps, until a signal asks to end; the container's end ends the rest.
fn supervise(mut table: ProcessTable, signals: &SignalFd) -> Result<u8> {
    loop {
        for report in table.start_due(Instant::now(), true) {
            tell(&report);
        }
        wait(signals, table.next_start(true))?;
        let mut stop = false;
        while let Some(info) = signals.read_signal()? {
            stop |= info.ssi_signo != Signal::SIGCHLD as u32;
        }
        table.reap(tell)?;
        if stop {
            table.stop_phase(Phase::First, Signal::SIGTERM);
            let deadline = Instant::now() + supervisor::STOP_GRACE;
            while table.alive_in(Phase::First) && Instant::now() < deadline {
                wait(signals, Some(deadline))?;
                while signals.read_signal()?.is_some() {}
                table.reap(tell)?;
            }
            return Ok(0);
        }
    }
}

fn wait(signals: &SignalFd, deadline: Option<Instant>) -> Result<()> {
    let timeout = deadline.map_or(PollTimeout::NONE, |at| {
        let left_ms = at.saturating_duration_since(Instant::now()).as_millis() + 1;
        PollTimeout::from(u16::try_from(left_ms).unwrap_or(u16::MAX))
    });
    match poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn tell(report: &Report) {
    if let Report::Died { name, status, restart_in_ms } = report {
        eprintln!("{name} ended ({status}) and starts again in {restart_in_ms} ms");
    }
}
