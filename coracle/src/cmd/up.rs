//! `coracle up`: the choices of a new start against those of the last one, the lock, the
//! listener, and the way into the background.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use ipnet::Ipv4Net;

use super::LabArgs;
use crate::cluster::exec::keep_on_exec;
use crate::cluster::process_table::log_path;
use crate::cluster::ranges::{DEFAULT_POD_CIDR, DEFAULT_SERVICE_CIDR, Ranges};
use crate::lab::host::Host;
use crate::lab::launch::log_tail;
use crate::lab::loopback::{self, DEFAULT_PORT};
use crate::lab::progress::{Progress, READY_MARK, failure_text};
use crate::lab::state::{DataDir, LabConfig, default_restart_period_s};
use crate::lab::topology::Topology;

const DEFAULT_WORKERS: u8 = 2;
/// Log of the process on the host when it is in the background.
const BACKGROUND_LOG: &str = "up";
const WAITING_FLAG: &str = "--waiting-fd";

/// Options of `up`. What is not given is as it was at the last start.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    lab: LabArgs,
    /// Where to write the admin's kubeconfig; by default `kubeconfig` in the data directory.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Number of worker nodes [default: 2].
    #[arg(long, value_name = "N")]
    nodes: Option<u8>,
    /// Port of the API server on the lab's loopback address; 0 for any free one
    /// [default: 6443].
    #[arg(long)]
    port: Option<u16>,
    /// Range of Services' cluster IPs [default: 10.96.0.0/16].
    #[arg(long, value_name = "CIDR")]
    service_cidr: Option<Ipv4Net>,
    /// Range of pods' addresses; each node takes a /24 [default: 10.244.0.0/16].
    #[arg(long, value_name = "CIDR")]
    pod_cidr: Option<Ipv4Net>,
    /// Longest pause before a container that keeps ending is started again [default: 10].
    #[arg(long, value_name = "SECONDS")]
    max_container_restart_period: Option<u32>,
    /// Return when all is ready, and leave the lab running; `coracle down` ends it.
    #[arg(long)]
    detach: bool,
    /// API server and controllers alone, without namespaces: works anywhere.
    #[arg(long)]
    control_plane_only: bool,
    /// Descriptor of the process that waits for this one to be ready.
    #[arg(long, hide = true)]
    waiting_fd: Option<RawFd>,
}

/// Starts a lab; returns when it has ended, or when it is ready with `--detach`.
pub fn run(options: Options) -> Result<()> {
    if options.detach && options.waiting_fd.is_none() {
        return detach(&options);
    }
    let waiting = options.waiting_fd.map(waiting_pipe).transpose()?;
    let mut progress = Progress::start(waiting);
    let host = match prepare(&options) {
        Ok((data, lock, config, listener)) => Host {
            data,
            lock,
            config,
            listener,
            kubeconfig: options.kubeconfig,
            isolated: !options.control_plane_only,
            progress,
        },
        Err(error) => {
            progress.failed(&error);
            return Err(error);
        }
    };
    host.run()
}

type Prepared = (DataDir, File, LabConfig, std::net::TcpListener);

fn prepare(options: &Options) -> Result<Prepared> {
    let mut data = DataDir::locate(options.lab.data_dir.as_deref())?;
    let last = data.config()?;
    let topology = choose(options, last.as_ref().map(|config| &config.topology))?;
    topology.validate()?;
    data.create()?;
    let lock = data.lock()?;
    let last_port = last.as_ref().map(|config| config.port);
    let port = options.port.or(last_port).unwrap_or(DEFAULT_PORT);
    let explicit = options.port.is_some();
    let last_address = last.as_ref().map(|config| config.address);
    let (listener, at) = loopback::bind(&data.root, last_address, port, explicit)?;
    let config = LabConfig {
        topology,
        address: *at.ip(),
        port: at.port(),
        max_restart_period_s: options
            .max_container_restart_period
            .or(last.map(|config| config.max_restart_period_s))
            .unwrap_or_else(default_restart_period_s),
    };
    Ok((data, lock, config, listener))
}

/// The network: what is given, else what was, else the defaults. Ranges are part of what
/// the store holds, so they cannot change.
fn choose(options: &Options, last: Option<&Topology>) -> Result<Topology> {
    let range = |name: &str, given: Option<Ipv4Net>, was: Option<Ipv4Net>, default: Ipv4Net| match (
        given, was,
    ) {
        (Some(given), Some(was)) if given != was => bail!(
            "{name} {given}: this data directory's cluster has {was}; use another --data-dir for another range"
        ),
        (given, was) => Ok(given.or(was).unwrap_or(default)),
    };
    let ranges = Ranges {
        service_cidr: range(
            "--service-cidr",
            options.service_cidr,
            last.map(|t| t.ranges.service_cidr),
            DEFAULT_SERVICE_CIDR,
        )?,
        pod_cidr: range(
            "--pod-cidr",
            options.pod_cidr,
            last.map(|t| t.ranges.pod_cidr),
            DEFAULT_POD_CIDR,
        )?,
    };
    let workers = options.nodes.or(last.map(|t| t.workers)).unwrap_or(DEFAULT_WORKERS);
    Ok(Topology { ranges, workers })
}

fn waiting_pipe(number: RawFd) -> Result<File> {
    // SAFETY: `detach` passes the number of a pipe that is this process's alone.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))
        .context("the descriptor of --waiting-fd is not open")?;
    Ok(File::from(fd))
}

/// Starts this program again in a session of its own, and shows its progress until it is
/// ready or has failed.
fn detach(options: &Options) -> Result<()> {
    let mut data = DataDir::locate(options.lab.data_dir.as_deref())?;
    data.create()?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(log_path(&data.path("logs"), BACKGROUND_LOG))?;
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let passed = writer.as_raw_fd();
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("coracle")
        .args(std::env::args_os().skip(1))
        .arg(format!("{WAITING_FLAG}={passed}"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    // SAFETY: setsid and fcntl alone are called between fork and exec.
    unsafe {
        command.pre_exec(move || {
            nix::unistd::setsid()?;
            Ok(keep_on_exec(&passed)?)
        });
    }
    command.spawn().context("start in the background")?;
    drop(writer);
    for line in BufReader::new(File::from(reader)).lines() {
        let line = line?;
        if line == READY_MARK {
            return Ok(());
        }
        match failure_text(&line) {
            Some(text) => bail!("{text}"),
            // Whoever reads it may have read enough; the lab comes up all the same.
            None => drop(writeln!(std::io::stdout(), "{line}")),
        }
    }
    bail!(
        "the lab ended before it was ready; its log: {}",
        log_tail(&data.path("logs"), BACKGROUND_LOG, 6)
    )
}
