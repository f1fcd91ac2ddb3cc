//! An API server of the test's own, as a process that can be killed and started again at the same address.
//!
//! Never reads its store: what it holds is asked through its API.

use std::{
    fs::{self, File},
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::Context;
use kube::{Client, Config, config::AuthInfo};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::json;
use tempfile::TempDir;

use crate::{lab::target_dir, wait_for};

/// The bearer token that the server knows; it goes with the server.
const TOKEN: &str = "a-token-for-one-test-only";

/// Where an API server keeps its objects.
#[derive(Debug, Clone)]
pub enum Backend {
    /// The embedded store, below the server's directory.
    Embedded,
    /// Etcd at this URL.
    Etcd(String),
}

/// A running (or killed) API server with its directory.
#[derive(Debug)]
pub struct ApiServer {
    process: Option<Child>,
    address: SocketAddr,
    backend: Backend,
    directory: TempDir,
    ca_der: Vec<u8>,
}

/// An address that no other test of this process uses, and no other program either: the whole
/// 127/8 network is loopback.
fn own_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    loop {
        let port = 20_000 + NEXT.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::from((Ipv4Addr::new(127, 78, high, low.max(1)), port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Writes `ca.crt`, `tls.crt` and `tls.key`; returns the authority's certificate in DER.
fn write_certificates(directory: &Path, address: SocketAddr) -> anyhow::Result<Vec<u8>> {
    let ca_key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "test");
    let ca = params.self_signed(&ca_key)?;
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate()?;
    let server =
        CertificateParams::new(vec![address.ip().to_string()])?.signed_by(&key, &issuer)?;
    fs::write(directory.join("ca.crt"), ca.pem())?;
    fs::write(directory.join("tls.crt"), server.pem())?;
    fs::write(directory.join("tls.key"), key.serialize_pem())?;
    fs::write(
        directory.join("tokens.csv"),
        format!("{TOKEN},tester,1,\"system:masters\"\n"),
    )?;
    Ok(ca.der().to_vec())
}

impl ApiServer {
    /// Starts a server on an empty directory and returns when it is ready.
    pub fn start(backend: Backend) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let address = own_address();
        let ca_der = write_certificates(directory.path(), address)?;
        let mut server = Self {
            process: None,
            address,
            backend,
            directory,
            ca_der,
        };
        server.restart()?;
        Ok(server)
    }

    /// Starts it again after `kill` and returns when it is ready.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let path = |name: &str| self.directory.path().join(name);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())?;
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
            Backend::Etcd(url) => command.args(["--etcd-servers", url]),
        };
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.process = Some(command.spawn().context("the API server does not start")?);
        wait_for("the API server to be ready", || self.check_ready());
        Ok(())
    }

    /// Whether it accepts connections; it only does when it is ready to serve.
    fn check_ready(&mut self) -> Result<(), String> {
        if let Some(status) = self
            .process
            .as_mut()
            .and_then(|child| child.try_wait().ok().flatten())
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

    /// The server's process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// A client with all rights.
    pub fn client(&self) -> anyhow::Result<Client> {
        let mut config = Config::new(format!("https://{}", self.address).parse()?);
        config.root_cert = Some(vec![self.ca_der.clone()]);
        config.auth_info = AuthInfo {
            token: Some(TOKEN.to_owned().into()),
            ..AuthInfo::default()
        };
        Ok(Client::try_from(config)?)
    }

    /// A kubeconfig file with all rights.
    pub fn kubeconfig(&self) -> anyhow::Result<PathBuf> {
        let file = self.directory.path().join("kubeconfig");
        let ca = self.directory.path().join("ca.crt");
        let content = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://{}", self.address), "certificate-authority": ca,
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
            let _ = writeln!(
                std::io::stderr(),
                "--- the API server's log ---\n{}",
                self.log()
            );
        }
    }
}
