//! A server to measure: a control plane of `coracle up` that is started for one row, or one
//! that runs already.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

use crate::meter::{Process, descendants};

/// The components whose processes are shown.
const COMPONENTS: [&str; 3] = ["apiserver", "endpoints-controller", "controller-manager"];
/// How long a control plane has for its start.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// A server that runs already.
#[derive(Args, Clone, Debug)]
pub struct Foreign {
    /// URL of a server that runs already, in the place of `--coracle`; rows that need the
    /// program are left out. It gets a namespace of its own, deleted in the end.
    #[arg(long, requires = "token", conflicts_with = "coracle")]
    pub url: Option<String>,
    /// Bearer token with all rights there.
    #[arg(long)]
    token: Option<String>,
    /// Its authority's certificate, PEM; without it any certificate is taken.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A process of it to meter, such as apiserver=4711; may be repeated.
    #[arg(long = "process", value_name = "NAME=PID", value_parser = parse_process)]
    processes: Vec<Process>,
}

fn parse_process(text: &str) -> Result<Process, String> {
    let (name, pid) = text.split_once('=').ok_or("it has the form NAME=PID")?;
    let pid = pid.parse().map_err(|error| format!("{pid}: {error}"))?;
    Ok(Process { name: name.to_owned(), pid })
}

/// What is measured.
pub enum Subject {
    /// A `coracle` binary.
    Program { name: &'static str, program: PathBuf },
    /// A server that runs already.
    Foreign(Foreign),
}

impl Subject {
    pub fn name(&self) -> &str {
        match self {
            Self::Program { name, .. } => name,
            Self::Foreign(_) => "foreign",
        }
    }

    /// A server for one row, with an empty namespace.
    pub async fn server(&self) -> anyhow::Result<Server> {
        let server = match self {
            Self::Program { program, .. } => Server::start(program).await?,
            Self::Foreign(foreign) => Server::foreign(foreign)?,
        };
        let client = server.client()?;
        let namespace = json!({"metadata": {"name": server.namespace}});
        let namespaces: Api<Namespace> = Api::all(client);
        namespaces.create(&PostParams::default(), &serde_json::from_value(namespace)?).await?;
        Ok(server)
    }
}

/// A running server, and what is metered of it.
pub struct Server {
    config: Config,
    pub processes: Vec<Process>,
    /// Where the measurement puts its objects.
    pub namespace: String,
    lab: Option<Lab>,
}

/// A `coracle up` of ours with its directory.
pub struct Lab {
    pub process: Child,
    directory: TempDir,
}

impl Lab {
    /// Starts `coracle up ARGUMENTS` and returns when it is ready.
    pub async fn start(program: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let log = File::create(directory.path().join("bench-log"))?;
        let mut command = Command::new(program);
        command.args(["up", "--port", "0", "--data-dir"]).arg(directory.path().join("lab"));
        command.arg("--kubeconfig").arg(directory.path().join("kubeconfig"));
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = command.spawn().with_context(|| program.display().to_string())?;
        let mut lab = Self { process, directory };
        let deadline = Instant::now() + START_PATIENCE;
        while !lab.log().contains("coracle down") {
            if let Some(status) = lab.process.try_wait()? {
                bail!("coracle up ended with {status}:\n{}", lab.log());
            }
            if Instant::now() > deadline {
                bail!("coracle up is not ready after {START_PATIENCE:?}:\n{}", lab.log());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(lab)
    }

    /// The processes of [`COMPONENTS`]; the controllers start when the API server is ready.
    async fn components(&self) -> anyhow::Result<Vec<Process>> {
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            let running = descendants(self.process.id());
            let find = |name: &&str| running.iter().find(|process| process.name == **name).cloned();
            let found: Vec<Process> = COMPONENTS.iter().filter_map(find).collect();
            if found.len() == COMPONENTS.len() {
                return Ok(found);
            }
            if Instant::now() > deadline {
                bail!("of {COMPONENTS:?} only {found:?} run:\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("bench-log")).unwrap_or_default()
    }

    /// Settings of a client with all rights.
    pub async fn config(&self) -> anyhow::Result<Config> {
        let file = Kubeconfig::read_from(self.directory.path().join("kubeconfig"))?;
        Ok(Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // An orderly end: the process takes all of the lab with it.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let _ = self.process.wait();
    }
}

impl Server {
    async fn start(program: &Path) -> anyhow::Result<Self> {
        let lab = Lab::start(program, &["--control-plane-only"]).await?;
        let processes = lab.components().await?;
        let config = lab.config().await?;
        Ok(Self { config, processes, namespace: "bench".to_owned(), lab: Some(lab) })
    }

    fn foreign(foreign: &Foreign) -> anyhow::Result<Self> {
        let url = foreign.url.as_deref().unwrap_or_default();
        let mut config = Config::new(url.parse().with_context(|| url.to_owned())?);
        let token = foreign.token.clone().map(Into::into);
        config.auth_info = AuthInfo { token, ..AuthInfo::default() };
        match &foreign.ca {
            Some(file) => config.root_cert = Some(certificates(file)?),
            None => config.accept_invalid_certs = true,
        }
        let namespace = format!("bench-{}", std::process::id());
        Ok(Self { config, processes: foreign.processes.clone(), namespace, lab: None })
    }

    /// A client with all rights and connections of its own.
    pub fn client(&self) -> anyhow::Result<Client> {
        let mut config = self.config.clone();
        // A refused request is an error of the measurement.
        config.default_retry = false;
        config.read_timeout = None;
        Ok(Client::try_from(config)?)
    }

    /// The collection of a kind in the namespace, by its path.
    pub fn path(&self, group: &str, resource: &str) -> String {
        format!("/{group}/namespaces/{}/{resource}", self.namespace)
    }

    /// Removes what was made.
    pub async fn end(self) -> anyhow::Result<()> {
        if self.lab.is_some() {
            return Ok(());
        }
        let client = self.client()?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), &self.namespace);
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        pods.delete_collection(&at_once, &ListParams::default()).await?;
        let namespaces: Api<Namespace> = Api::all(client);
        namespaces.delete(&self.namespace, &DeleteParams::default()).await?;
        Ok(())
    }
}

/// The certificates of a PEM file, in DER.
fn certificates(file: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let config = json!({
        "clusters": [{"name": "it", "cluster": {"server": "https://it", "certificate-authority": file}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "users": [{"name": "it", "user": {}}],
        "current-context": "it",
    });
    let config: Kubeconfig = serde_json::from_value(config)?;
    let loaded = futures::executor::block_on(Config::from_custom_kubeconfig(
        config,
        &KubeConfigOptions::default(),
    ))?;
    loaded.root_cert.with_context(|| format!("{} holds no certificate", file.display()))
}
