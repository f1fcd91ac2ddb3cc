//! An API server of the test's own, as a process that can be killed and started again at the same address.

use std::{
    fs::{self, File},
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::Context;
use kube::{Client, Config, config::AuthInfo};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

use crate::{authority::Authority, lab::target_dir, wait_for};

/// The bearer token that the server knows; it goes with the server.
const TOKEN: &str = "a-token-for-one-test-only";

/// The name that all servers of a group have certificates for, beside their addresses.
pub const SHARED_NAME: &str = "api.coracle.test";

/// Where an API server keeps its objects.
#[derive(Debug, Clone)]
pub enum Backend {
    /// The embedded store, below the server's directory.
    Embedded,
    /// Etcd at these URLs, separated by commas.
    Etcd(String),
}

/// A running (or killed) API server with its directory.
#[derive(Debug)]
pub struct ApiServer {
    process: Option<Child>,
    address: SocketAddr,
    backend: Backend,
    arguments: Vec<String>,
    directory: TempDir,
    authority: Arc<Authority>,
}

/// Addresses that no other test of this process uses, and no other program either, with the
/// same port: the whole 127/8 network is loopback.
fn own_addresses(count: u8) -> Vec<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    loop {
        let port = 20_000 + NEXT.fetch_add(1, Ordering::Relaxed);
        let numbered = (0..count).map(|n| Ipv4Addr::new(127, 78 + n, high, low.max(1)));
        let addresses: Vec<_> = numbered.map(|ip| SocketAddr::from((ip, port))).collect();
        if addresses.iter().all(|address| TcpListener::bind(address).is_ok()) {
            return addresses;
        }
    }
}

impl ApiServer {
    /// Starts a server on an empty directory and returns when it is ready.
    pub fn start(backend: Backend) -> anyhow::Result<Self> {
        Self::start_with(backend, &[])
    }

    /// Starts a server with further options.
    pub fn start_with(backend: Backend, arguments: &[&str]) -> anyhow::Result<Self> {
        let authority = Arc::new(Authority::new()?);
        Self::launch(own_addresses(1)[0], backend, arguments, &authority)
    }

    /// Starts servers on one store, with one port and the name [`SHARED_NAME`], each with the
    /// further options that `arguments` gives for its number.
    pub fn group<const N: usize>(
        backend: &Backend,
        arguments: [&[&str]; N],
    ) -> anyhow::Result<[Self; N]> {
        let authority = Arc::new(Authority::new()?);
        let addresses = own_addresses(u8::try_from(N)?);
        let each = addresses.into_iter().zip(arguments);
        let servers: anyhow::Result<Vec<Self>> = each
            .map(|(address, arguments)| {
                Self::launch(address, backend.clone(), arguments, &authority)
            })
            .collect();
        servers?.try_into().ok().context("as many as asked for")
    }

    fn launch(
        address: SocketAddr,
        backend: Backend,
        arguments: &[&str],
        authority: &Arc<Authority>,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        authority.write(directory.path())?;
        let subjects = [address.ip().to_string(), SHARED_NAME.to_owned()];
        authority.issue(directory.path(), "tls", &subjects)?;
        fs::write(
            directory.path().join("tokens.csv"),
            format!("{TOKEN},tester,1,\"system:masters\"\n"),
        )?;
        let mut server = Self {
            process: None,
            address,
            backend,
            arguments: arguments.iter().map(|it| (*it).to_owned()).collect(),
            directory,
            authority: authority.clone(),
        };
        server.restart()?;
        Ok(server)
    }

    /// Starts it again after `kill` and returns when it is ready.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let path = |name: &str| self.directory.path().join(name);
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut command = Command::new(target_dir().join("coracle-under-test"));
        command.arg("apiserver");
        command.args(["--bind-address", &self.address.ip().to_string()]);
        command.args(["--secure-port", &self.address.port().to_string()]);
        command.arg("--tls-cert-file").arg(path("tls.crt"));
        command.arg("--tls-private-key-file").arg(path("tls.key"));
        command.arg("--client-ca-file").arg(path("ca.crt"));
        command.arg("--token-auth-file").arg(path("tokens.csv"));
        match &self.backend {
            Backend::Embedded => command.arg("--data-dir").arg(path("store")),
            Backend::Etcd(urls) => command.args(["--etcd-servers", urls]),
        };
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().context("the API server does not start")?);
        wait_for("the API server to be ready", || self.check_ready());
        Ok(())
    }

    /// Whether it accepts connections; it only does when it is ready to serve.
    fn check_ready(&mut self) -> Result<(), String> {
        if let Some(status) =
            self.process.as_mut().and_then(|child| child.try_wait().ok().flatten())
        {
            panic!("the API server ended with {status}:\n{}", self.log());
        }
        std::net::TcpStream::connect(self.address)
            .map(drop)
            .map_err(|error| format!("{error}\n{}", self.log()))
    }

    /// Kills it without a warning.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Asks it to end, and waits until it has.
    pub fn end(&mut self) {
        self.signal(Signal::TERM);
        if let Some(mut process) = self.process.take() {
            let ended = wait_for("the API server's end", || {
                let status = process.try_wait().map_err(|error| error.to_string())?;
                status.ok_or_else(|| "it runs".to_owned())
            });
            assert!(ended.success(), "{ended}:\n{}", self.log());
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            kill_process(Pid::from_child(process), signal).expect("a child of this test");
        }
    }

    /// The server's process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client with all rights.
    pub fn client(&self) -> anyhow::Result<Client> {
        let mut config = Config::new(format!("https://{}", self.address).parse()?);
        config.root_cert = Some(vec![self.authority.der().to_vec()]);
        config.auth_info = AuthInfo { token: Some(TOKEN.to_owned().into()), ..AuthInfo::default() };
        Ok(Client::try_from(config)?)
    }

    /// A kubeconfig file with all rights.
    pub fn kubeconfig(&self) -> anyhow::Result<PathBuf> {
        self.kubeconfig_for(&self.address.ip().to_string())
    }

    /// A kubeconfig file with all rights, and this name or address for the server.
    pub fn kubeconfig_for(&self, host: &str) -> anyhow::Result<PathBuf> {
        let file = self.directory.path().join(format!("kubeconfig-{host}"));
        let server = format!("https://{host}:{}", self.address.port());
        let ca = self.directory.path().join("ca.crt");
        let content = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": server, "certificate-authority": ca,
            }}],
            "users": [{"name": "test", "user": {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        fs::write(&file, content.to_string())?;
        Ok(file)
    }

    /// What the server wrote to its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "--- the API server's log ---\n{}", self.log());
        }
    }
}
