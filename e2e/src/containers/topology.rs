//! A topology built in code: which members there are. Started with testcontainers, on an internal
//! network of its own.
//!
//! Never publishes a port but that of the API, on loopback.

use std::{collections::HashMap, fs, time::Duration};

use testcontainers::{
    Container, ContainerRequest, GenericImage, ImageExt,
    bollard::models::{HostConfig, PortBinding, RestartPolicy, RestartPolicyNameEnum},
    core::{IntoContainerPort, Mount, WaitFor, wait::ExitWaitStrategy},
    runners::SyncRunner,
};

use super::{
    ContainerLab, Ending, TEST_LABEL,
    docker::{docker, free_net},
};

/// Label with a member's name.
const MEMBER_LABEL: &str = "local.coracle.member";
/// For the whole cluster to come up, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// The API's port in the forwarder's container.
const API_PORT: u16 = 6443;

/// Which members a lab has.
#[derive(Debug, Clone)]
pub struct Topology {
    etcd: u8,
    api_servers: u8,
    controllers: u8,
    nodes: u8,
    node_grace_s: u64,
}

impl Default for Topology {
    fn default() -> Self {
        Self { etcd: 0, api_servers: 1, controllers: 1, nodes: 2, node_grace_s: 40 }
    }
}

impl Topology {
    /// One API server on a store of its own, one of each controller, two nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// An etcd cluster of so many members, for all API servers.
    pub fn etcd(self, members: u8) -> Self {
        Self { etcd: members, ..self }
    }

    /// So many API servers; more than one need etcd.
    pub fn api_servers(self, count: u8) -> Self {
        Self { api_servers: count, ..self }
    }

    /// So many of each controller program; they elect a leader.
    pub fn controllers(self, count: u8) -> Self {
        Self { controllers: count, ..self }
    }

    /// Silence after which a node counts as lost, in seconds: 40, unless said otherwise; more than
    /// the 10 between two signs of life.
    pub fn node_grace_s(self, node_grace_s: u64) -> Self {
        Self { node_grace_s, ..self }
    }

    /// So many nodes, `worker-1` and on.
    pub fn nodes(self, count: u8) -> Self {
        Self { nodes: count, ..self }
    }
}

/// What all members of one lab have in common.
struct Builder {
    /// Prefix of its containers' names.
    lab: String,
    net: String,
    tag: String,
    /// `apiserver` has these addresses, once they are known.
    api: Vec<String>,
    started: Vec<Container<GenericImage>>,
}

pub(super) fn start(topology: &Topology, tag: &str) -> ContainerLab {
    assert!(topology.api_servers == 1 || topology.etcd > 0, "several API servers need etcd");
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let pid = std::process::id();
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let lab = format!("coracle-e2e-{pid}-{number}");
    let net = make_network(&lab, pid);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut container_lab = ContainerLab {
        label: format!("local.coracle.lab={lab}"),
        member_label: MEMBER_LABEL,
        network: lab.clone(),
        net: net.clone(),
        tag: tag.to_owned(),
        kubeconfig: directory.path().join("kubeconfig"),
        ending: Ending::Containers(Vec::new()),
        _directory: directory,
    };
    docker(&[
        "volume",
        "create",
        "--label",
        &format!("{TEST_LABEL}={pid}"),
        "--label",
        &container_lab.label,
        &lab,
    ])
    .ok();
    let mut builder =
        Builder { lab, net, tag: tag.to_owned(), api: Vec::new(), started: Vec::new() };
    builder.start_all(topology, &container_lab);
    container_lab.ending = Ending::Containers(builder.started);
    let forwarder = container_lab.member("forwarder").id();
    let port = docker(&["port", &forwarder, &API_PORT.to_string()]).ok();
    let server = format!("https://{}", port.trim());
    let client = container_lab.member("client").id();
    let kubeconfig =
        docker(&["exec", &client, "/coracle/coracle", "member", "kubeconfig", "--server", &server]);
    fs::write(&container_lab.kubeconfig, kubeconfig.ok()).expect("the kubeconfig is written");
    container_lab.copy_probe();
    container_lab
}

fn make_network(lab: &str, pid: u32) -> String {
    let net = free_net();
    let (subnet, range) = (format!("{net}.0.0/16"), format!("{net}.0.0/24"));
    docker(&[
        "network",
        "create",
        "--internal",
        "--subnet",
        &subnet,
        "--ip-range",
        &range,
        "--label",
        &format!("{TEST_LABEL}={pid}"),
        "--label",
        &format!("local.coracle.lab={lab}"),
        lab,
    ])
    .ok();
    net
}

impl Builder {
    fn start_all(&mut self, topology: &Topology, lab: &ContainerLab) {
        for n in 1..=topology.etcd {
            self.etcd(n, topology.etcd);
        }
        let etcd = self.peers("etcd", topology.etcd, |_, host| format!("http://{host}:2379"));
        for n in 1..=topology.api_servers {
            let name = format!("apiserver-{n}");
            let server =
                self.member(&name, &["apiserver"]).with_env_var("CORACLE_ETCD_SERVERS", &etcd);
            self.run(server);
            self.api.push(lab.member(&name).address());
        }
        for n in 1..=topology.controllers {
            let grace = format!("--node-monitor-grace-period-seconds={}", topology.node_grace_s);
            let manager = ["controller-manager", "--", &grace];
            for role in [&manager[..], &["endpoints-controller"]] {
                let controller = self.member(&format!("{}-{n}", role[0]), role);
                self.run(controller);
            }
        }
        for n in 1..=topology.nodes {
            let node = self.node(n);
            self.run(node);
        }
        let client = self.member("client", &["client"]);
        let client = with_host_tools(client);
        self.run(client);
        self.forwarder();
        let names: Vec<String> = (1..=topology.nodes).map(|n| format!("worker-{n}")).collect();
        let done = WaitFor::exit(ExitWaitStrategy::new().with_exit_code(0));
        let setup = self
            .member("setup", &["setup"])
            .with_env_var("CORACLE_NODES", names.join(","))
            .with_ready_conditions(vec![done])
            .with_startup_timeout(PATIENCE);
        match setup.start() {
            Ok(setup) => self.started.push(setup),
            Err(error) => {
                panic!("the cluster does not come up: {error}\n{}", crate::Cluster::log(lab))
            }
        }
    }

    fn run(&mut self, request: ContainerRequest<GenericImage>) {
        let name = request.container_name().clone().unwrap_or_default();
        let started = request.start().unwrap_or_else(|error| panic!("start {name}: {error}"));
        self.started.push(started);
    }

    /// `form(name, host)` of every member of a kind, with commas.
    fn peers(&self, kind: &str, count: u8, form: impl Fn(String, String) -> String) -> String {
        let each =
            (1..=count).map(|n| form(format!("{kind}-{n}"), format!("{}-{kind}-{n}", self.lab)));
        each.collect::<Vec<_>>().join(",")
    }

    /// What every container has.
    fn container(&self, repository: &str, name: &str) -> ContainerRequest<GenericImage> {
        self.of(GenericImage::new(repository, &self.tag), name)
    }

    /// The same, of an image with choices of its own.
    fn of(&self, image: GenericImage, name: &str) -> ContainerRequest<GenericImage> {
        image
            .with_container_name(format!("{}-{name}", self.lab))
            .with_hostname(name)
            .with_network(&self.lab)
            .with_label(TEST_LABEL, std::process::id().to_string())
            .with_label("local.coracle.lab", &self.lab)
            .with_label(MEMBER_LABEL, name)
    }

    fn etcd(&mut self, n: u8, count: u8) {
        let name = format!("etcd-{n}");
        let host = format!("{}-{name}", self.lab);
        let cluster = self.peers("etcd", count, |name, host| format!("{name}=http://{host}:2380"));
        let etcd = self
            .container("coracle-etcd", &name)
            .with_env_var("ETCD_NAME", &name)
            .with_env_var("ETCD_DATA_DIR", "/data")
            .with_env_var("ETCD_LISTEN_CLIENT_URLS", "http://0.0.0.0:2379")
            .with_env_var("ETCD_LISTEN_PEER_URLS", "http://0.0.0.0:2380")
            .with_env_var("ETCD_ADVERTISE_CLIENT_URLS", format!("http://{host}:2379"))
            .with_env_var("ETCD_INITIAL_ADVERTISE_PEER_URLS", format!("http://{host}:2380"))
            .with_env_var("ETCD_INITIAL_CLUSTER", cluster);
        self.run(etcd);
    }

    /// A member that runs `member ROLE`.
    fn member(&self, name: &str, role: &[&str]) -> ContainerRequest<GenericImage> {
        // A controller that loses its lead ends, and stands by as a new process.
        let restart = RestartPolicy {
            name: Some(RestartPolicyNameEnum::ON_FAILURE),
            maximum_retry_count: None,
        };
        let hosts: Vec<String> = self.api.iter().map(|ip| format!("apiserver:{ip}")).collect();
        self.container("coracle", name)
            .with_cmd([&["member"], role].concat())
            .with_env_var("CORACLE_MEMBER_CIDR", format!("{}.0.0/24", self.net))
            .with_env_var("CORACLE_POD_CIDR", format!("{}.128.0/17", self.net))
            .with_mount(Mount::volume_mount(&self.lab, "/var/lib/coracle/shared"))
            .with_host_config_modifier(move |config: &mut HostConfig| {
                // Two addresses of one name: what the library's own option cannot say.
                config.restart_policy = Some(restart.clone());
                config.extra_hosts.get_or_insert_default().extend(hosts.clone());
            })
    }

    fn node(&self, n: u8) -> ContainerRequest<GenericImage> {
        let node = self
            .member(&format!("worker-{n}"), &["node"])
            .with_env_var("CORACLE_NODE_NUMBER", n.to_string())
            .with_env_var("CORACLE_NODE_DNS", (n <= 2).to_string())
            .with_cap_add("ALL")
            .with_cap_drop("SYS_RESOURCE")
            .with_security_opt("seccomp=unconfined")
            .with_security_opt("apparmor=unconfined")
            .with_mount(Mount::tmpfs_mount("/run"));
        with_host_tools(node)
    }

    /// Stands on the engine's usual network, which publishes ports, and on the cluster's.
    fn forwarder(&mut self) {
        let servers: Vec<String> = self.api.iter().map(|ip| format!("{ip}:6443")).collect();
        let rule = format!("6443={}", servers.join(","));
        let loopback = HashMap::from([(
            format!("{API_PORT}/tcp"),
            Some(vec![PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: None }]),
        )]);
        let image = GenericImage::new("coracle", &self.tag).with_exposed_port(API_PORT.tcp());
        let forwarder = self
            .of(image, "forwarder")
            .with_cmd(["member", "forwarder", &rule])
            .with_network("bridge")
            .with_host_config_modifier(move |config: &mut HostConfig| {
                config.port_bindings = Some(loopback.clone());
                config.publish_all_ports = None;
            });
        self.run(forwarder);
        docker(&["network", "connect", &self.lab, &format!("{}-forwarder", self.lab)]).ok();
    }
}

/// This machine's programs, read-only: `curl` and `dig` on nodes and in pods.
fn with_host_tools(request: ContainerRequest<GenericImage>) -> ContainerRequest<GenericImage> {
    ["/usr", "/etc/alternatives", "/etc/ssl"].into_iter().fold(request, |request, path| {
        let mount = Mount::bind_mount(path, path);
        request.with_mount(mount.with_access_mode(testcontainers::core::AccessMode::ReadOnly))
    })
}
