//! The agent's own binary, and questions to it over sockets. Never leaves it behind.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::api::Api;

/// Far longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running agent; killed when dropped.
pub struct Agent {
    child: Child,
    directory: tempfile::TempDir,
    pub health: SocketAddr,
    pub metrics: SocketAddr,
}

/// Sets up loopback, and an address of the node beside it.
pub fn set_up_loopback() {
    for arguments in ["link set lo up", "addr add 192.168.77.11/32 dev lo"] {
        let status = Command::new("ip").args(arguments.split(' ')).status();
        assert!(status.expect("ip").success(), "ip {arguments}");
    }
}

/// Runs a program to its end and gives what it printed.
pub fn output(program: &str, arguments: &str) -> String {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Agent {
    /// Starts it for `node-1`, with these flags beside those that it needs.
    pub fn start(api: &Api, flags: &[&str]) -> Agent {
        let directory = tempfile::tempdir().expect("a directory");
        let kubeconfig = directory.path().join("kubeconfig");
        std::fs::write(&kubeconfig, api.kubeconfig()).expect("written");
        let log = std::fs::File::create(directory.path().join("log")).expect("a log");
        let (health, metrics) = (free_address(), free_address());
        let child = Command::new(env!("CARGO_BIN_EXE_proxy-agent"))
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--healthz-bind-address={health}"))
            .arg(format!("--metrics-bind-address={metrics}"))
            .args(["--hostname-override=node-1", "--cluster-cidr=10.244.0.0/16"])
            .args(flags)
            .env("RUST_LOG", "info")
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .expect("the agent's own binary");
        Agent { child, directory, health, metrics }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).expect("a log")
    }

    /// Waits until `/healthz` says 200.
    pub fn wait_until_ready(&self) {
        self.wait("the agent to be ready", || {
            get(self.health, "/healthz", "").filter(|answer| answer.status == 200)
        });
    }

    /// Waits for a condition, and shows the log where it does not come.
    pub fn wait<T>(&self, what: &str, condition: impl FnMut() -> Option<T>) -> T {
        wait(condition).unwrap_or_else(|| panic!("waited for {what}\n{}", self.log()))
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("a process");
    }

    /// Waits for its own end.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let ended = wait(|| self.child.try_wait().expect("a child"));
        ended.unwrap_or_else(|| panic!("it runs on\n{}", self.log()))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait<T>(mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if let Some(value) = condition() {
            return Some(value);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}

/// Nobody else is in this namespace to take the port meanwhile.
pub fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("own address")
}

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// In lower case, one a line.
    pub headers: String,
    pub body: String,
}

/// Asks once; `None` where nobody answers.
pub fn get(at: SocketAddr, path: &str, accept: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(at).ok()?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {at}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let (line, headers) = head.split_once("\r\n")?;
    Some(Answer {
        status: line.split(' ').nth(1)?.parse().ok()?,
        headers: headers.to_ascii_lowercase(),
        body: body.to_owned(),
    })
}
