//! The lab's process on the host: prepares the data directory, starts the supervisor, and
//! then watches, forwards and waits until it is asked to end. The lab dies with it. Never
//! enters a namespace.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::cluster::command_line::API_SERVER;
use crate::cluster::dns::UPSTREAM_SOCKET;
use crate::cluster::process_table::Died;
use crate::cluster::{bootstrap, pki, upstream_dns};

use super::broker::Broker;
use super::component_plans::{self, Wiring};
use super::control::{Report, Request};
use super::launch::{Launched, launch, log_tail};
use super::node_ports::NodePorts;
use super::progress::Progress;
use super::state::{DataDir, LabConfig, ProcessId, RunState};
use super::supervisor::LabPlan;
use super::topology::CONTROL_PLANE;
use super::{dns_answers, former_nodes, refusal};

/// Lines of a log in an error message.
const LOG_LINES: usize = 6;
/// How long a step may take before the user is told what it waits for.
const PATIENCE: Duration = Duration::from_secs(30);
/// For the supervisor's orderly end; it kills what takes longer by itself.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// A lab about to start. The lock is held from here to the end.
pub struct Host {
    /// Its directory.
    pub data: DataDir,
    /// The directory's lock.
    pub lock: File,
    /// The choices, new or of an earlier start.
    pub config: LabConfig,
    /// The API's listener on the host.
    pub listener: TcpListener,
    /// Where the user wants the admin's kubeconfig, beside the data directory.
    pub kubeconfig: Option<PathBuf>,
    /// Whether nodes and their namespaces are made.
    pub isolated: bool,
    /// What the user sees.
    pub progress: Progress,
}

impl Host {
    /// Runs the lab until it is asked to end.
    pub fn run(mut self) -> Result<()> {
        let outcome = self.start_and_serve();
        self.data.clear_run_state();
        match outcome {
            // Somebody who waits prints it; here it goes to the log as well.
            Err(error) => {
                self.progress.failed(&error);
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    fn start_and_serve(&mut self) -> Result<()> {
        let started = Timestamp::now();
        let wiring = component_plans::wire(&self.data, &self.config, self.isolated)?;
        let kubeconfig = self.hand_out_kubeconfig(&wiring)?;
        let plan = LabPlan {
            topology: self.isolated.then(|| self.config.topology.clone()),
            run: self.data.path("run"),
            logs: self.data.path("logs"),
            components: wiring.components.clone(),
        };
        let listener = OwnedFd::from(self.listener.try_clone()?);
        let launched = launch(&plan, listener)?;
        self.data.save_config(&self.config)?;
        let mut state = RunState {
            host: ProcessId::of(std::process::id() as i32)?,
            supervisor: ProcessId::of(launched.pid.as_raw())?,
            server: self.server(),
            kubeconfig,
            nodes: if self.isolated { self.node_names() } else { Vec::new() },
            started_at_s: started.as_second(),
            ready: false,
        };
        self.data.save_run_state(&state)?;
        // Threads from here on: everything that needs a single one is done.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let outcome = runtime.block_on(self.serve(launched, &wiring, started, &mut state));
        runtime.shutdown_background();
        outcome
    }

    fn server(&self) -> String {
        let at = SocketAddrV4::new(self.config.address, self.config.port);
        format!("https://{at}")
    }

    fn node_names(&self) -> Vec<String> {
        self.config.topology.nodes().into_iter().map(|n| n.name).collect()
    }

    /// Puts the admin's kubeconfig where the user wants it. Returns the path to print.
    fn hand_out_kubeconfig(&self, wiring: &Wiring) -> Result<PathBuf> {
        let Some(wanted) = &self.kubeconfig else {
            return Ok(wiring.admin_kubeconfig.clone());
        };
        let wanted = std::path::absolute(wanted)?;
        let text = std::fs::read_to_string(&wiring.admin_kubeconfig)?;
        pki::write_private(&wanted, &text)
            .with_context(|| format!("--kubeconfig {}", wanted.display()))?;
        Ok(wanted)
    }

    async fn serve(
        &mut self,
        launched: Launched,
        wiring: &Wiring,
        started: Timestamp,
        state: &mut RunState,
    ) -> Result<()> {
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut terminations = signal(SignalKind::terminate())?;
        let mut hangups = signal(SignalKind::hangup())?;
        let (broker, mut reports) = Broker::start(launched.control)?;
        let outcome = {
            let work = self.bring_up(&broker, &mut reports, wiring, started, state);
            tokio::select! {
                outcome = work => outcome,
                _ = interrupts.recv() => Ok(()),
                _ = terminations.recv() => Ok(()),
                _ = hangups.recv() => Ok(()),
            }
        };
        if outcome.is_ok() {
            self.progress.line("\nending the lab (Ctrl-C again: at once)");
        }
        // A failed send means that it has ended already.
        let _ = broker.tell(&Request::Stop).await;
        let ended =
            async { while !matches!(reports.recv().await, None | Some(Report::Stopped)) {} };
        tokio::select! {
            _ = tokio::time::timeout(STOP_TIMEOUT, ended) => {}
            _ = interrupts.recv() => {}
        }
        let _ = nix::sys::signal::kill(launched.pid, nix::sys::signal::Signal::SIGKILL);
        let _ = nix::sys::wait::waitpid(launched.pid, None);
        outcome
    }

    /// From the first report to the end of the lab. Returns when the supervisor is gone.
    async fn bring_up(
        &mut self,
        broker: &Broker,
        reports: &mut mpsc::Receiver<Report>,
        wiring: &Wiring,
        started: Timestamp,
        state: &mut RunState,
    ) -> Result<()> {
        self.await_fabric(reports).await?;
        let client = bootstrap::client(&wiring.admin_kubeconfig).await?;
        self.patiently("the API server", API_SERVER, reports, bootstrap::api_ready(&client))
            .await?;
        self.progress.step(&format!("API server on {}", self.server()));
        broker.tell(&Request::ApiReady).await?;
        let host = self.data.path("host");
        tokio::spawn(async move {
            if let Err(error) = upstream_dns::serve(&host, UPSTREAM_SOCKET).await {
                eprintln!("coracle: names outside the cluster are not resolved: {error:#}");
            }
        });
        if self.isolated {
            self.bring_up_nodes(broker, reports, &client, wiring, started).await?;
            let nodes: Vec<Ipv4Addr> =
                self.config.topology.nodes().iter().rev().map(|n| n.address).collect();
            let ports = NodePorts {
                address: self.config.address,
                nodes: nodes.into(),
                broker: broker.clone(),
            };
            tokio::spawn(ports.serve(client));
        }
        state.ready = true;
        self.data.save_run_state(state)?;
        self.say_what_next(state);
        self.progress.ready();
        while let Some(report) = reports.recv().await {
            self.tell(report);
        }
        bail!(
            "the lab's supervisor ended unexpectedly; its log: {}",
            log_tail(&self.data.path("logs"), "supervisor", LOG_LINES)
        )
    }

    async fn await_fabric(&mut self, reports: &mut mpsc::Receiver<Report>) -> Result<()> {
        loop {
            match reports.recv().await {
                Some(Report::FabricReady) => break,
                Some(Report::Failed { step, detail, errno }) => {
                    bail!(refusal::explain(&step, &detail, errno))
                }
                Some(report) => self.tell(report),
                None => bail!(
                    "the lab's supervisor ended at once; its log: {}",
                    log_tail(&self.data.path("logs"), "supervisor", LOG_LINES)
                ),
            }
        }
        if self.isolated {
            let workers = self.config.topology.workers;
            self.progress.step(&format!(
                "network: the control plane, {workers} worker{}, and `outside`",
                if workers == 1 { "" } else { "s" }
            ));
        }
        Ok(())
    }

    async fn bring_up_nodes(
        &mut self,
        broker: &Broker,
        reports: &mut mpsc::Receiver<Report>,
        client: &kube::Client,
        wiring: &Wiring,
        started: Timestamp,
    ) -> Result<()> {
        let ranges = self.config.topology.ranges;
        let names = self.node_names();
        let mut removed = Vec::new();
        // This process keeps the API server's listener open: after the end of the supervisor a
        // request would wait in vain.
        let prepared = async {
            bootstrap::objects(client, &ranges, &wiring.proxy_kubeconfig).await?;
            removed = former_nodes::remove(client, &names).await?;
            Ok(())
        };
        self.patiently("the cluster's first objects", API_SERVER, reports, prepared).await?;
        if !removed.is_empty() {
            self.progress.step(&format!(
                "nodes of the last start removed, with their pods: {}",
                removed.join(", ")
            ));
        }
        let ready = bootstrap::nodes_ready(client, &names, started);
        self.patiently("the nodes", "node-agent-control-plane", reports, ready).await?;
        self.progress.step(&format!("nodes Ready: {}", names.join(", ")));
        let dns = ranges.dns_service();
        let from = names.last().map_or(CONTROL_PLANE, String::as_str);
        let answers = dns_answers::wait(broker, from, dns);
        self.patiently("the cluster's DNS", "node-agent-control-plane", reports, answers).await?;
        self.progress.step(&format!("DNS answers on {dns}"));
        Ok(())
    }

    /// Waits for `work`, telling meanwhile what dies and, after a while, what is missing.
    async fn patiently(
        &mut self,
        what: &str,
        component: &str,
        reports: &mut mpsc::Receiver<Report>,
        work: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        let mut work = std::pin::pin!(work);
        let logs = self.data.path("logs");
        loop {
            tokio::select! {
                done = &mut work => return done,
                report = reports.recv() => match report {
                    Some(report) => self.tell(report),
                    None => bail!("the lab's supervisor ended; its log: {}", log_tail(&logs, "supervisor", LOG_LINES)),
                },
                () = tokio::time::sleep(PATIENCE) => {
                    self.progress.step(&format!(
                        "still waiting for {what}; the end of its log: {}",
                        log_tail(&logs, component, LOG_LINES)
                    ));
                }
            }
        }
    }

    fn tell(&mut self, report: Report) {
        match report {
            Report::Died(Died { name, status, restart_in_ms }) => self.progress.step(&format!(
                "{name} ended ({status}) and starts again in {restart_in_ms} ms; its log: {}",
                log_tail(&self.data.path("logs"), &name, 1)
            )),
            Report::Degraded { detail } => self.progress.step(&format!("note: {detail}")),
            Report::Failed { step, detail, .. } => {
                self.progress.step(&format!("failed: {step}: {detail}"));
            }
            Report::FabricReady | Report::Socket { .. } | Report::Stopped => {}
        }
    }

    fn say_what_next(&mut self, state: &RunState) {
        let kubeconfig = state.kubeconfig.display();
        self.progress.line(&format!("\nkubeconfig: {kubeconfig}"));
        self.progress.line(&format!("\n  export KUBECONFIG={kubeconfig}"));
        let tries: &[&str] = if self.isolated {
            &[
                "kubectl get nodes,pods,services -A -o wide",
                "kubectl create deployment web --image=nginx --replicas=3",
                "kubectl expose deployment web --port=80 --type=NodePort",
                "coracle exec worker-1 -- curl -s CLUSTER_IP/hostname.html",
            ]
        } else {
            &["kubectl get namespaces", "kubectl get services"]
        };
        for line in tries {
            self.progress.line(&format!("  {line}"));
        }
        if self.isolated {
            let address = self.config.address;
            self.progress.line(&format!("\nNode ports answer on {address} on this machine."));
        }
        self.progress
            .line("Ctrl-C or `coracle down` ends the lab; the same data directory brings it back.");
    }
}
