//! A lab of the test's own: started in the foreground on a temporary data directory, ended with the value.
//!
//! Never shares anything with another lab: directory, address and namespaces are its own.

use std::{
    fs::{self, File},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Answer, Client, Output, Request,
    client::FIRST_MINOR_WITH_WEBSOCKET,
    tools::{say, stock_kubectl},
    wait_for,
};

/// Longest wait of a request, in milliseconds, where a test does not say another.
const TIMEOUT_MS: u64 = 2_000;

/// A user without rights or files of its own, for tests that run as root: Debian's `nobody`.
pub const ORDINARY_UID: u32 = 65_534;

/// What a lab is started with.
#[derive(Debug, Clone, Default)]
pub struct LabOptions {
    /// More arguments for `up`.
    pub up: Vec<String>,
    /// Use this directory (kept afterwards) instead of a temporary one.
    pub data_dir: Option<PathBuf>,
    /// Run as this user id (and group id of the same number); for tests that run as root.
    pub uid: Option<u32>,
}

/// A running lab.
#[derive(Debug)]
pub struct Lab {
    up: Child,
    binary: PathBuf,
    data_dir: PathBuf,
    uid: Option<u32>,
    /// Removed with the lab.
    _temporary: Option<TempDir>,
}

/// The binaries next to the running test.
pub(crate) fn target_dir() -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    test.parent()
        .and_then(Path::parent)
        .expect("tests are built into target/PROFILE/deps")
        .to_owned()
}

/// The binary under test, where that user can reach it.
fn binary_for(options: &LabOptions, data_dir: &Path) -> PathBuf {
    let built = Lab::binary();
    if options.uid.is_none() {
        return built;
    }
    let copy = data_dir.with_extension("binary");
    // A copy that another test's fork still holds open for writing cannot be executed; a link can.
    if fs::hard_link(&built, &copy).is_err() {
        fs::copy(&built, &copy).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
    }
    copy
}

impl Lab {
    /// The `coracle` under test.
    pub fn binary() -> PathBuf {
        target_dir().join("coracle-under-test")
    }

    /// Starts a lab and returns when `status` says that all of it is ready.
    ///
    /// Must be called from the thread that lives as long as the lab: its end kills the lab, so
    /// that a test that is killed leaves nothing.
    pub fn start(options: LabOptions) -> Self {
        let temporary = options
            .data_dir
            .is_none()
            .then(|| tempfile::tempdir().expect("a temporary directory"));
        let data_dir = match (&options.data_dir, &temporary) {
            (Some(dir), _) => dir.clone(),
            (None, Some(dir)) => dir.path().join("lab"),
            (None, None) => unreachable!("one of them is set"),
        };
        fs::create_dir_all(&data_dir).expect("the data directory can be made");
        if let (Some(uid), Some(dir)) = (options.uid, &temporary) {
            for path in [dir.path(), &data_dir] {
                std::os::unix::fs::chown(path, Some(uid), Some(uid))
                    .expect("the directory is given away");
            }
        }
        let binary = binary_for(&options, &data_dir);
        let log = File::create(data_dir.with_extension("up.log")).expect("a log file");
        let mut command = Command::new(&binary);
        command
            .args(["up", "--data-dir"])
            .arg(&data_dir)
            .args(&options.up);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        as_user(&mut command, options.uid);
        // SAFETY: the hook makes one system call and touches no memory.
        unsafe {
            command.pre_exec(|| {
                rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
                    .map_err(Into::into)
            });
        }
        let up = command
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        let mut lab = Self {
            up,
            binary,
            data_dir,
            uid: options.uid,
            _temporary: temporary,
        };
        wait_for("the lab to be ready", || lab.check_ready());
        lab
    }

    fn check_ready(&mut self) -> Result<(), String> {
        if let Some(status) = self.up.try_wait().map_err(|error| error.to_string())? {
            panic!("`up` ended with {status}:\n{}", self.log());
        }
        let status = self.coracle(&["status"]);
        // A lab that is still starting is a success, too.
        let first = status.stdout.lines().next().unwrap_or_default();
        if status.code == 0 && first.ends_with(" ready") {
            Ok(())
        } else {
            Err(format!("{status:?}\n{}", self.log()))
        }
    }

    /// What `up` printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.data_dir.with_extension("up.log")).unwrap_or_default()
    }

    /// The lab's directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The process id of `up`.
    pub fn pid(&self) -> u32 {
        self.up.id()
    }

    /// A command line of the binary under test, with the data directory after the verb.
    pub fn coracle(&self, args: &[&str]) -> Output {
        Output::of(&mut self.coracle_command(args))
    }

    fn coracle_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg(args[0])
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(&args[1..]);
        as_user(&mut command, self.uid);
        command
    }

    /// Runs a program of the host in a node (or `outside`).
    pub fn exec(&self, place: &str, program: &[&str]) -> Output {
        self.coracle(&[&["exec", place, "--"], program].concat())
    }

    /// Starts a program of the host in a node (or `outside`) and leaves it running, its
    /// standard output in a pipe.
    pub fn spawn(&self, place: &str, program: &[&str]) -> Child {
        let mut command = self.coracle_command(&[&["exec", place, "--"], program].concat());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.spawn().expect("coracle exec starts")
    }

    /// Sends so many requests, one after another, from a place in the lab.
    pub fn get_many(&self, place: &str, to: SocketAddr, path: &str, count: usize) -> Vec<Answer> {
        self.get_with(
            place,
            &Request {
                to,
                path: path.to_owned(),
                timeout_ms: TIMEOUT_MS,
            },
            count,
        )
    }

    /// Sends one request from a place in the lab.
    pub fn get(&self, place: &str, to: SocketAddr, path: &str) -> Answer {
        self.get_many(place, to, path, 1).remove(0)
    }

    /// The same with every choice open.
    pub fn get_with(&self, place: &str, request: &Request, count: usize) -> Vec<Answer> {
        let words = self.probe_get(request, count, 0);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let text = self.exec(place, &words).ok_lines();
        assert_eq!(text.len(), count, "one line a request: {text:?}");
        text.iter()
            .map(|line| line.parse().unwrap_or_else(|error| panic!("{error}")))
            .collect()
    }

    /// The probe's command line for these requests, to be run in a place with `spawn`.
    pub fn probe_get(&self, request: &Request, count: usize, pause_ms: u64) -> Vec<String> {
        vec![
            self.probe(),
            "get".into(),
            request.to.to_string(),
            request.path.clone(),
            count.to_string(),
            pause_ms.to_string(),
            request.timeout_ms.to_string(),
        ]
    }

    /// The path of the probe.
    pub fn probe(&self) -> String {
        target_dir().join("probe").display().to_string()
    }

    /// kubectl-lite, and stock kubectl where there is one.
    pub fn clients(&self) -> Vec<Client> {
        let lite = self.lite();
        let stock = stock_kubectl().map(|(program, minor)| {
            let mut stock = Client {
                name: "kubectl",
                program: vec![program],
                minor,
                ..lite.clone()
            };
            if minor >= FIRST_MINOR_WITH_WEBSOCKET {
                stock.exec_program = stock.program.clone();
            } else {
                say(&format!(
                    "kubectl 1.{minor} runs `exec` over SPDY, which is not served: kubectl-lite does it"
                ));
            }
            stock
        });
        stock.into_iter().chain([lite]).collect()
    }

    /// kubectl-lite.
    pub fn lite(&self) -> Client {
        let program = vec![self.binary.clone(), "kubectl".into()];
        Client {
            name: "lite",
            exec_program: program.clone(),
            program,
            kubeconfig: self.kubeconfig(),
            minor: u32::MAX,
        }
    }

    fn kubeconfig(&self) -> PathBuf {
        self.data_dir.join("kubeconfig")
    }

    /// The lab's own loopback address on the host.
    pub fn host_address(&self) -> String {
        let text = fs::read_to_string(self.kubeconfig()).expect("the kubeconfig is readable");
        let server = text
            .split("https://")
            .nth(1)
            .and_then(|rest| rest.split(':').next());
        server.expect("the kubeconfig names the server").to_owned()
    }

    /// Internal addresses of the nodes, by name.
    pub fn nodes(&self) -> Vec<(String, String)> {
        let text = self.lite().run(&["get", "nodes", "-o", "json"]).ok();
        let list: Value = serde_json::from_str(&text).expect("a list of nodes");
        let nodes = list["items"].as_array().cloned().unwrap_or_default();
        nodes
            .iter()
            .map(|node| (node["metadata"]["name"].clone(), internal_ip(node)))
            .map(|(name, ip)| (name.as_str().unwrap_or_default().to_owned(), ip))
            .collect()
    }

    /// Ends the lab as Ctrl-C does and waits for it.
    pub fn stop(&mut self) {
        if let Ok(None) = self.up.try_wait() {
            self.signal(Signal::INT);
            let _ = self.up.wait();
        }
    }

    /// Kills `up` without a warning and waits for it.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.up.wait();
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.up.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a child has a pid");
        let _ = rustix::process::kill_process(pid, signal);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("--- what `up` printed ---\n{}", self.log());
        }
    }
}

fn internal_ip(node: &Value) -> String {
    let addresses = node["status"]["addresses"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let internal = addresses
        .iter()
        .find(|address| address["type"] == "InternalIP");
    internal
        .and_then(|address| address["address"].as_str())
        .unwrap_or_default()
        .to_owned()
}

fn as_user(command: &mut Command, uid: Option<u32>) {
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
}
