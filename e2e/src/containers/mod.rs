//! Labs whose members are containers: the one of `lab/compose`, and topologies that a test builds in
//! code. For every project that wants a cluster of several nodes in its tests.
//!
//! ```no_run
//! use e2e::{Cluster, ContainerLab, Topology};
//!
//! let lab = ContainerLab::start(&Topology::new().etcd(3).api_servers(2).nodes(3));
//! lab.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n");
//! lab.member("worker-2").pause();
//! let pods = lab.lite().run(&["get", "pods", "-A"]).ok();
//! let page = lab.from_pod("shop/client").curl("http://web").ok();
//! ```
//!
//! Never pulls an image and never leaves a container, network or volume behind: what a lab made goes
//! with the value, and what a killed test left goes with the next lab.

mod compose;
mod docker;
mod images;
mod member;
mod topology;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;
use testcontainers::{Container, GenericImage};

use crate::{Cluster, Lab, OUTSIDE, Output};
use docker::{detach_labelled, docker, label_values, remove_labelled};

pub use compose::ComposeOptions;
pub use docker::missing_docker;
pub use member::{FromPod, Member};
pub use topology::Topology;

/// Label of everything that a test's lab is made of; its value is the test's process id.
const TEST_LABEL: &str = "local.coracle.test";
/// Label of everything that Compose makes; its value is the project.
const PROJECT_LABEL: &str = "com.docker.compose.project";
/// Projects of the tests are called by this and their process id.
const TEST_PROJECT: &str = "coracle-test-";
/// Where the probe is in the members' containers.
const PROBE: &str = "/coracle/probe";
/// Lines of each member's output in a failed test's report.
const LOG_LINES: &str = "30";

/// Who ends the lab.
enum Ending {
    /// The script that started it, with these variables.
    Compose(Vec<(&'static str, String)>),
    /// Its containers' own values.
    Containers(Vec<Container<GenericImage>>),
}

/// A running lab in containers.
pub struct ContainerLab {
    /// Label that all of its containers have.
    label: String,
    /// Label whose value is a member's name.
    member_label: &'static str,
    /// The engine's name of the cluster's network.
    network: String,
    /// First two numbers of the members' addresses.
    net: String,
    /// Of its images.
    tag: String,
    kubeconfig: PathBuf,
    ending: Ending,
    _directory: TempDir,
}

impl ContainerLab {
    /// Starts the lab of `lab/compose` and returns when all of it is healthy.
    pub fn compose(options: &ComposeOptions) -> Self {
        remove_stale();
        compose::start(options, &images::ensure())
    }

    /// Starts these members and returns when the cluster works.
    pub fn start(topology: &Topology) -> Self {
        remove_stale();
        topology::start(topology, &images::ensure())
    }

    /// A member by its name, such as `apiserver-1`; a node's name is that of its member.
    pub fn member<'a>(&'a self, name: &'a str) -> Member<'a> {
        Member { lab: self, name }
    }

    /// The same, where a test speaks of a node.
    pub fn node<'a>(&'a self, name: &'a str) -> Member<'a> {
        self.member(name)
    }

    /// A pod (`NAME`, or `NAMESPACE/NAME`) to send requests from.
    pub fn from_pod<'a>(&'a self, pod: &'a str) -> FromPod<'a> {
        FromPod { lab: self, pod }
    }

    /// `kubectl apply`; the manifest must be taken.
    #[track_caller]
    pub fn apply(&self, manifest: &str) -> String {
        let client = self.lite();
        Output::with_input(client.command().args(["apply", "-f", "-"]), manifest).ok()
    }

    /// Names of all members, sorted.
    pub fn members(&self) -> Vec<String> {
        let filter = format!("label={}", self.label);
        let format = format!("{{{{.Label \"{}\"}}}}", self.member_label);
        let mut names =
            docker(&["container", "ls", "-a", "--filter", &filter, "--format", &format]).ok_lines();
        names.sort();
        names
    }

    /// Runs `etcdctl` on the lab's network; it knows the members' addresses.
    pub fn etcdctl(&self, args: &[&str]) -> Output {
        let members = self.members();
        let etcd = members.iter().filter(|name| name.starts_with("etcd-"));
        let urls: Vec<String> = etcd
            .map(|name| self.member(name).address())
            .filter(|address| !address.is_empty())
            .map(|address| format!("http://{address}:2379"))
            .collect();
        let (image, urls) = (format!("coracle-etcdctl:{}", self.tag), urls.join(","));
        let run = ["run", "--rm", "--network", &self.network, &image, "--endpoints", &urls];
        docker(&[&run, args].concat())
    }

    fn ids_of(&self, member: &str) -> Vec<String> {
        let member = format!("label={}={member}", self.member_label);
        let lab = format!("label={}", self.label);
        docker(&["container", "ls", "-aq", "--filter", &lab, "--filter", &member]).ok_lines()
    }

    /// Puts the probe where `command_in` finds it.
    fn copy_probe(&self) {
        let probe = Lab::binary().with_file_name("probe");
        for member in self.members() {
            if member.starts_with("worker-") || member == "client" {
                let to = format!("{}:{PROBE}", self.member(&member).id());
                docker(&["cp", &probe.display().to_string(), &to]).ok();
            }
        }
    }
}

impl Cluster for ContainerLab {
    fn command_in(&self, place: &str, program: &[&str]) -> Command {
        let member = if place == OUTSIDE { "client" } else { place };
        let mut command = Command::new("docker");
        command.args(["exec", "-i", &self.member(member).id()]).args(program);
        command
    }

    fn binary(&self) -> &Path {
        static BINARY: std::sync::LazyLock<PathBuf> = std::sync::LazyLock::new(Lab::binary);
        &BINARY
    }

    fn probe(&self) -> String {
        PROBE.to_owned()
    }

    fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.clone()
    }

    fn outside_address(&self) -> String {
        self.member("client").address()
    }

    fn nobodys_address(&self) -> String {
        format!("{}.0.250", self.net)
    }

    fn host_address(&self) -> Option<String> {
        None
    }

    fn api_addresses(&self) -> Vec<String> {
        let members = self.members();
        let servers = members.iter().filter(|name| name.starts_with("apiserver"));
        let mut addresses: Vec<String> = servers.map(|name| self.member(name).address()).collect();
        addresses.sort();
        addresses
    }

    fn log(&self) -> String {
        let mut text = String::new();
        for member in self.members() {
            let logs = docker(&["logs", "--tail", LOG_LINES, &self.member(&member).id()]);
            text += &format!("--- {member} ---\n{}{}", logs.stdout, logs.stderr);
        }
        text
    }
}

impl Drop for ContainerLab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        match &mut self.ending {
            Ending::Compose(variables) => compose::end(variables),
            Ending::Containers(containers) => {
                detach_labelled(&self.label);
                containers.clear();
            }
        }
        remove_labelled(&self.label);
    }
}

/// Removes the labs of test processes that are gone without having removed them.
fn remove_stale() {
    for kind in ["container", "network", "volume"] {
        for (label, prefix) in [(TEST_LABEL, ""), (PROJECT_LABEL, TEST_PROJECT)] {
            for value in label_values(kind, label) {
                let pid = value.strip_prefix(prefix);
                if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                    remove_labelled(&format!("{label}={value}"));
                }
            }
        }
    }
}

/// What tests' labs have left on this machine: whose containers, networks and volumes.
pub fn leftovers() -> Vec<String> {
    let mut found = Vec::new();
    for kind in ["container", "network", "volume"] {
        for (label, prefix) in [(TEST_LABEL, ""), (PROJECT_LABEL, TEST_PROJECT)] {
            let values = label_values(kind, label);
            let ours = values.iter().filter(|value| value.starts_with(prefix));
            found.extend(ours.map(|value| format!("{kind} of {value}")));
        }
    }
    found
}
