//! The engines under test, each started fresh and gone when dropped.
//!
//! Never shares an engine between tests.

use std::{
    fs::File,
    io::{ErrorKind, Write},
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use store::{Embedded, EmbeddedOptions, Error, Etcd, EtcdOptions, Store};
use tempfile::TempDir;

/// A running store and what it stands on.
pub struct Engine {
    store: Box<dyn Store>,
    _directory: Option<TempDir>,
    _server: Option<EtcdServer>,
}

impl Engine {
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }
}

pub fn in_memory() -> Engine {
    let store = Embedded::in_memory().expect("an engine in memory");
    Engine { store: Box::new(store), _directory: None, _server: None }
}

pub fn on_disk() -> Engine {
    let directory = tempfile::tempdir().expect("a directory");
    // Every compaction rewrites the files.
    let options = EmbeddedOptions { rewrite_log_bytes_min: 0 };
    let store = Embedded::open(directory.path(), options).expect("an engine on disk");
    Engine { store: Box::new(store), _directory: Some(directory), _server: None }
}

/// Starts an etcd of its own; none if there is no `etcd` program.
pub async fn etcd() -> Option<Engine> {
    let server = EtcdServer::start()?;
    let options = EtcdOptions { endpoints: vec![server.url.clone()], ..Default::default() };
    let store = loop {
        match Etcd::connect(options.clone()).await {
            Ok(store) => break store,
            Err(Error::Unavailable(reason)) => server.check_running(&reason),
            Err(error) => panic!("{error}"),
        }
    };
    Some(Engine { store: Box::new(store), _directory: None, _server: Some(server) })
}

/// An etcd on loopback, killed when dropped.
pub struct EtcdServer {
    pub url: String,
    process: Mutex<Child>,
    directory: TempDir,
}

impl EtcdServer {
    /// None, loudly, if the program is missing.
    pub fn start() -> Option<Self> {
        let program = std::env::var_os("ETCD").unwrap_or_else(|| "etcd".into());
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("http://127.0.0.1:{}", free_port());
        let peer = format!("http://127.0.0.1:{}", free_port());
        let log = File::create(directory.path().join("log")).expect("a log file");
        let started = Command::new(&program)
            .arg("--data-dir")
            .arg(directory.path().join("data"))
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            // As large as the store's own limits ask for.
            .args(["--max-request-bytes", "10485760", "--logger", "zap"])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn();
        match started {
            Ok(process) => Some(Self { url, process: Mutex::new(process), directory }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let ci = std::env::var_os("CI").is_some();
                assert!(!ci, "the etcd program is missing");
                // Not `eprintln!`, which the harness keeps to itself.
                let _ = writeln!(
                    std::io::stderr(),
                    "SKIPPED: no etcd program (Debian: etcd-server; or set ETCD)"
                );
                None
            }
            Err(error) => panic!("cannot start etcd: {error}"),
        }
    }

    /// Panics with etcd's own words if it has ended.
    fn check_running(&self, reason: &str) {
        let mut process = self.process.lock().expect("the process");
        if let Some(status) = process.try_wait().expect("a child") {
            let log = std::fs::read_to_string(self.directory.path().join("log"));
            panic!("etcd ended with {status} ({reason}): {log:?}");
        }
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        let process = self.process.get_mut().expect("the process");
        let _ = process.kill();
        let _ = process.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
