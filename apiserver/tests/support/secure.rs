//! An API server behind TLS on a loopback port, with certificates made for the test.
//! Never leaves loopback.

use std::{
    io::Write,
    net::SocketAddr,
    os::fd::IntoRawFd,
    path::{Path, PathBuf},
};

use apiserver::Options;
use clap::Parser;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};

/// A running server and its files.
pub struct Secure {
    pub address: SocketAddr,
    pub dir: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Secure {
    pub async fn start(more: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(dir.path().join("ca.crt"), authority.pem()).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let fd = listener.into_raw_fd().to_string();
        std::fs::write(dir.path().join("tokens"), "s3cret,jane,1,\"dev\"\n").unwrap();
        let secure =
            Self { address, authority, stop: None, running: tokio::spawn(async { Ok(()) }), dir };
        secure.certificate("server", "apiserver", &[], Some("127.0.0.1"));
        secure.certificate("admin", "admin", &["system:masters"], None);
        let file = |name: &str| secure.file(name).display().to_string();
        let mut line = vec![
            "apiserver".to_owned(),
            format!("--data-dir={}", file("data")),
            "--bind-address=127.0.0.1".to_owned(),
            "--secure-port=0".to_owned(),
            format!("--listen-fd={fd}"),
            format!("--tls-cert-file={}", file("server.crt")),
            format!("--tls-private-key-file={}", file("server.key")),
            format!("--client-ca-file={}", file("ca.crt")),
            format!("--token-auth-file={}", file("tokens")),
        ];
        line.extend(
            more.iter().map(|flag| flag.replace("DIR", &secure.dir.path().display().to_string())),
        );
        let options = Options::parse_from(line);
        let (stop, stopped) = oneshot::channel::<()>();
        let mut running = tokio::spawn(apiserver::run(options, async move {
            let _ = stopped.await;
        }));
        // The socket is bound already: the first connection waits in its queue.
        if running.is_finished() {
            panic!("the server has ended: {:?}", (&mut running).await);
        }
        Self { stop: Some(stop), running, ..secure }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes NAME.crt and NAME.key.
    pub fn certificate(&self, name: &str, user: &str, groups: &[&str], san: Option<&str>) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        if let Some(san) = san {
            let san = match san.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(san.try_into().unwrap()),
            };
            params.subject_alt_names.push(san);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        std::fs::write(self.file(&format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// A kubeconfig with the admin's certificate.
    pub fn kubeconfig(&self) -> PathBuf {
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "test", "cluster": {
                "server": format!("https://{}", self.address),
                "certificate-authority": self.file("ca.crt"),
            } }],
            "users": [{ "name": "admin", "user": {
                "client-certificate": self.file("admin.crt"),
                "client-key": self.file("admin.key"),
            } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "admin" } }],
            "current-context": "test",
        });
        let path = self.file("kubeconfig");
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// Stops the server and waits until it has ended.
    pub async fn stop(mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.running.await.unwrap().unwrap();
    }
}

/// Whether a program is on the PATH. Missing: skipped with a word, an error in CI.
pub fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).any(|dir: PathBuf| Path::new(&dir).join(program).exists());
    if !found {
        let told = format!("SKIPPED: `{program}` is not on the PATH");
        assert!(std::env::var_os("CI").is_none(), "{told}");
        // Not `eprintln!`, which the harness keeps to itself.
        let _ = writeln!(std::io::stderr(), "{told}");
    }
    found
}
