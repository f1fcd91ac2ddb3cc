//! A lab for one test: its directory, its process, and what is left when it is gone.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use coracle::lab::state::{DataDir, RunState};
use tempfile::TempDir;

/// A condition that does not come within this is a failure.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// A user without an account and without privileges.
const ORDINARY: u32 = 54_321;

/// Who runs the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    uid: Option<u32>,
}

impl User {
    /// Whoever runs the tests.
    pub const SELF: Self = Self { uid: None };

    fn become_in(self, command: &mut Command) {
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
    }
}

/// Runs a test as the user that runs the tests, and as an ordinary one where that is root.
pub fn scenario(test: impl Fn(User)) {
    test(User::SELF);
    if nix::unistd::geteuid().is_root() {
        test(User { uid: Some(ORDINARY) });
    }
}

/// The mounts that this process sees, without those that a container engine makes and removes at
/// any time.
pub fn mounts() -> String {
    let all = fs::read_to_string("/proc/self/mounts").expect("mounts");
    let of_engine = |line: &&str| {
        ["/docker/", "/containerd/", "/containers/"].iter().any(|part| line.contains(part))
    };
    all.lines().filter(|line| !of_engine(line)).collect::<Vec<_>>().join("\n")
}

/// A process of a test, killed at the end.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A lab and its directory.
pub struct Lab {
    user: User,
    directory: TempDir,
    host: Option<Running>,
    namespace: Option<PathBuf>,
}

impl Lab {
    /// A directory with the program in it, where `user` can reach both.
    pub fn prepare(user: User) -> Self {
        let directory = tempfile::tempdir().expect("tempdir");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("mode");
        let program = directory.path().join("coracle");
        let built = env!("CARGO_BIN_EXE_coracle");
        // A copy that another test's fork still holds open for writing cannot be executed;
        // a link can.
        if fs::hard_link(built, &program).is_err() {
            fs::copy(built, &program).expect("copy the program");
        }
        let data = directory.path().join("data");
        fs::create_dir(&data).expect("data");
        if let Some(uid) = user.uid {
            chown(&data, Some(uid), Some(uid)).expect("chown");
        }
        Self { user, directory, host: None, namespace: None }
    }

    /// A lab whose network is there.
    pub fn start(user: User, args: &[&str]) -> Self {
        let mut lab = Self::prepare(user);
        lab.start_again(args);
        lab
    }

    /// Starts the lab on its directory.
    pub fn start_again(&mut self, args: &[&str]) {
        let mut command = self.command(&["up"]);
        let mut child = command.args(args).stdout(Stdio::piped()).spawn().expect("start the lab");
        let output = child.stdout.take().expect("stdout");
        self.host = Some(Running(child));
        let mut lines = BufReader::new(output).lines();
        let built = lines.by_ref().map_while(Result::ok).any(|line| line.contains("network:"));
        assert!(built, "the network was not built; as {:?}", self.user);
        // Whatever comes after is read, so that the lab never waits for a reader.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let supervisor = self.state().supervisor.pid;
        self.namespace = fs::read_link(format!("/proc/{supervisor}/ns/pid")).ok();
        assert!(self.namespace.is_some(), "process {supervisor} has a process namespace");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.directory.path().join("coracle"));
        command
            .args(args)
            .arg("--data-dir")
            .arg(self.data())
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        self.user.become_in(&mut command);
        command
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The directory that commands start in.
    pub fn directory(&self) -> String {
        self.directory.path().canonicalize().expect("path").display().to_string()
    }

    /// Whether something is in the data directory.
    pub fn exists(&self, name: &str) -> bool {
        self.data().join(name).exists()
    }

    /// Puts a file into the data directory.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.data().join(name), text).expect("write");
    }

    /// Runs the program on this lab. Returns its status and all it printed.
    pub fn coracle(&self, args: &[&str]) -> (i32, String) {
        let (verb, rest) = args.split_first().expect("a command");
        finish(self.command(&[verb]).args(rest))
    }

    /// Runs a program inside; it must succeed.
    pub fn exec(&self, node: &str, words: &[&str]) -> String {
        let (status, text) = self.try_exec(node, words);
        assert_eq!(status, 0, "{words:?} in {node}: {text}");
        text
    }

    /// Runs a program inside. Returns its status and all it printed.
    pub fn try_exec(&self, node: &str, words: &[&str]) -> (i32, String) {
        finish(self.command(&["exec"]).arg(node).arg("--").args(words))
    }

    /// A demo web server inside, ready when this returns.
    pub fn serve_inside(&self, node: &str, port: u16) -> Running {
        let program = self.directory.path().join("coracle");
        let server = self
            .command(&["exec"])
            .args([node, "--"])
            .arg(program)
            .args(["demo-web", "--port", &port.to_string()])
            .spawn()
            .expect("start a server");
        let server = Running(server);
        let probe = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
        wait_for("the server's port", || self.try_exec(node, &["bash", "-c", &probe]).0 == 0);
        server
    }

    /// The address of the API on the host.
    pub fn server(&self) -> String {
        self.state().server
    }

    fn state(&self) -> RunState {
        let data = DataDir::locate(Some(&self.data())).expect("locate");
        let mut found = None;
        wait_for("the lab's state", || {
            found = data.running().expect("state");
            found.is_some()
        });
        found.expect("waited for")
    }

    /// Kills one of the lab's two processes, outright.
    pub fn kill(&mut self, victim: &str) {
        let state = self.state();
        let process = if victim == "host" { state.host } else { state.supervisor };
        process.signal(rustix::process::Signal::KILL).expect("kill");
    }

    /// Waits until `status`, which asks the API from the host, has an answer.
    pub fn await_api(&self) {
        wait_for("the API's answer", || self.coracle(&["status"]).1.contains("node: "));
    }

    /// Number on the host of the lab's process called `name`.
    pub fn component(&self, name: &str) -> u32 {
        let mark = self.data().display().to_string();
        let mut found = None;
        wait_for(name, || {
            found = pids().into_iter().find(|pid| {
                let text = |file: &str| {
                    fs::read(format!("/proc/{pid}/{file}"))
                        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                        .unwrap_or_default()
                };
                text("comm").trim() == name && text("cmdline").contains(&mark)
            });
            found.is_some()
        });
        found.expect("waited for")
    }

    /// Kills one of the lab's processes.
    pub fn kill_component(&self, pid: u32) {
        let pid = nix::unistd::Pid::from_raw(pid as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("kill");
        self.await_end_of(pid.as_raw() as u32);
    }

    /// Waits until a process is gone.
    pub fn await_end_of(&self, pid: u32) {
        wait_for("the end of a process", || {
            let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // Dead, or a zombie whose parent has not looked yet.
            state
                .rsplit(')')
                .next()
                .is_none_or(|rest| rest.trim().is_empty() || rest.trim().starts_with('Z'))
        });
    }

    /// Ends the lab in order.
    pub fn down(&self) {
        let (status, text) = self.coracle(&["down"]);
        assert_eq!(status, 0, "{text}");
    }

    /// Number of processes in the lab's process namespace.
    pub fn processes_inside(&self) -> usize {
        let Some(namespace) = &self.namespace else {
            return 0;
        };
        pids()
            .iter()
            .filter(|pid| {
                fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|ns| ns == *namespace)
            })
            .count()
    }

    /// Waits until no process is left, on the host or inside.
    pub fn await_nothing_left(&mut self) {
        if let Some(mut host) = self.host.take() {
            wait_for("the end of the process on the host", || {
                host.0.try_wait().expect("wait").is_some()
            });
        }
        wait_for("the end of every process inside", || self.processes_inside() == 0);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.host.take());
        // One that was started in the background is nobody's child.
        if let Ok(Some(state)) = DataDir::locate(Some(&self.data())).and_then(|d| d.running()) {
            let _ = state.host.signal(rustix::process::Signal::KILL);
        }
        // Its files go next; processes inside must not write any more.
        let deadline = Instant::now() + PATIENCE;
        while self.processes_inside() > 0 && Instant::now() < deadline {
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

fn finish(command: &mut Command) -> (i32, String) {
    let output = command.output().expect("run");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap_or(-1), text)
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come within {PATIENCE:?}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn pids() -> BTreeSet<u32> {
    fs::read_dir(Path::new("/proc"))
        .expect("proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}
