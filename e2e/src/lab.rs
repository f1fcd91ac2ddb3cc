//! A lab of the test's own: started in the foreground on a temporary data directory, ended with the value.
//!
//! Never shares anything with another lab: directory, address and namespaces are its own.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use coracle::lab::topology::{CONTROL_PLANE_ADDRESS, OUTSIDE_ADDRESS};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::{Cluster, Output, wait_for};

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
        let temporary =
            options.data_dir.is_none().then(|| tempfile::tempdir().expect("a temporary directory"));
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
        command.args(["up", "--data-dir"]).arg(&data_dir).args(&options.up);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        as_user(&mut command, options.uid);
        // SAFETY: the hook makes one system call and touches no memory.
        unsafe {
            command.pre_exec(|| {
                rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
                    .map_err(Into::into)
            });
        }
        let up = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        let mut lab = Self { up, binary, data_dir, uid: options.uid, _temporary: temporary };
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
        command.arg(args[0]).arg("--data-dir").arg(&self.data_dir).args(&args[1..]);
        as_user(&mut command, self.uid);
        command
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
        let pid =
            i32::try_from(self.up.id()).ok().and_then(Pid::from_raw).expect("a child has a pid");
        let _ = rustix::process::kill_process(pid, signal);
    }
}

impl Cluster for Lab {
    fn command_in(&self, place: &str, program: &[&str]) -> Command {
        self.coracle_command(&[&["exec", place, "--"], program].concat())
    }

    fn binary(&self) -> &Path {
        &self.binary
    }

    fn probe(&self) -> String {
        target_dir().join("probe").display().to_string()
    }

    fn kubeconfig(&self) -> PathBuf {
        self.data_dir.join("kubeconfig")
    }

    fn outside_address(&self) -> String {
        OUTSIDE_ADDRESS.to_string()
    }

    fn nobodys_address(&self) -> String {
        "192.168.78.99".to_owned()
    }

    fn host_address(&self) -> Option<String> {
        let text = fs::read_to_string(self.kubeconfig()).expect("the kubeconfig is readable");
        let server = text.split("https://").nth(1).and_then(|rest| rest.split(':').next());
        Some(server.expect("the kubeconfig names the server").to_owned())
    }

    fn api_addresses(&self) -> Vec<String> {
        vec![CONTROL_PLANE_ADDRESS.to_string()]
    }

    fn log(&self) -> String {
        fs::read_to_string(self.data_dir.with_extension("up.log")).unwrap_or_default()
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

fn as_user(command: &mut Command, uid: Option<u32>) {
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
}
