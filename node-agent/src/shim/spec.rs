//! What a shim is told to run: sandboxes, containers and commands, already resolved to paths and words.
//!
//! Never refers to a Kubernetes object: everything was decided by the agent.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A pod's namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// The pod's UID; interface names are derived from it.
    pub uid: String,
    /// The UTS host name inside the pod.
    pub hostname: String,
    /// `None`: the pod shares its node's network and UTS namespaces (`hostNetwork`).
    pub network: Option<NetworkSpec>,
    /// The pod's own directory: socket, logs and mount points are below it.
    pub directory: PathBuf,
}

/// The addresses of one point-to-point link between a pod and its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// The pod's address, a /32 on `eth0`.
    pub pod_ip: Ipv4Addr,
    /// Source address of what the node itself sends to the pod.
    pub node_ip: Ipv4Addr,
}

/// One container instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Unique among all instances, 64 hex digits.
    pub id: String,
    /// The container's name in its pod.
    pub name: String,
    /// 0 for the first instance; the same number as `restartCount`.
    pub attempt: u32,
    /// What the root file system is made of.
    pub root: RootSpec,
    /// Program and arguments; the program is looked up in the `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Working directory, made where it is missing.
    pub cwd: String,
    /// What is bound into the root, in order.
    pub mounts: Vec<MountSpec>,
    /// Standard streams are a terminal.
    pub tty: bool,
    /// Standard input stays open for `attach`.
    pub stdin: bool,
    /// Standard input closes with the first client's.
    pub stdin_once: bool,
    /// Keeps every capability of the node's user namespace.
    pub privileged: bool,
    /// Capabilities (numbers) beyond the default set.
    pub add_capabilities: Vec<u8>,
    /// Where the log of this instance goes.
    pub log: PathBuf,
}

/// The root file systems that can be built from the host's own files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootSpec {
    /// A small writable root with one program at `/bin/coracle` and the host's `/usr` read-only.
    Builtin {
        /// The program.
        binary: PathBuf,
    },
    /// The host's root, read-only, with its own `/etc` names, `/tmp`, `/run`, `/dev` and `/proc`.
    Host,
}

/// One bind mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// A file or directory outside the container.
    pub source: PathBuf,
    /// Absolute path inside the container.
    pub target: String,
    /// Writes fail with `EROFS`.
    pub read_only: bool,
}

/// A command that joins a running container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecSpec {
    /// The container's [`ContainerSpec::id`].
    pub id: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Its standard streams are a terminal.
    pub tty: bool,
    /// Its standard input stays open until the client closes it.
    pub stdin: bool,
}

/// What one launched process needs to know: sent to it over its report socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Launch {
    /// Build a container and become its first process.
    Container { spec: ContainerSpec, mount_point: PathBuf },
    /// Join the container whose first process is `pid`.
    Exec {
        pid: i32,
        argv: Vec<String>,
        env: Vec<(String, String)>,
        cwd: String,
        tty: bool,
        privileged: bool,
        add_capabilities: Vec<u8>,
    },
}
