//! Which components a lab runs, with which command lines and identities. Pure, but for
//! the credentials it writes. Never starts anything.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::fabric::netns_path;
use super::kubeconfig;
use super::pki::{Authority, Identity};
use super::process_table::{ComponentPlan, Phase};
use super::state::{DataDir, LabConfig};
use super::topology::{API_PORT, CONTROL_PLANE, CONTROL_PLANE_ADDRESS, NodePlace};

/// Name of the API server's component and log.
pub const API_SERVER: &str = "apiserver";
/// Port of a node agent.
pub const NODE_AGENT_PORT: u16 = 10250;
/// Domain of the cluster's names.
pub const CLUSTER_DOMAIN: &str = "cluster.local";
const NODE_PORT_RANGE: &str = "30000-32767";
const CONTROL_PLANE_TAINT: &str = "node-role.kubernetes.io/control-plane=:NoSchedule";
const CONTROL_PLANE_LABEL: &str = "node-role.kubernetes.io/control-plane=";

/// The files of the identities that components use.
pub struct Wiring {
    /// What runs.
    pub components: Vec<ComponentPlan>,
    /// The admin's kubeconfig inside the data directory.
    pub admin_kubeconfig: PathBuf,
    /// The kubeconfig of the node proxies.
    pub proxy_kubeconfig: PathBuf,
    /// Directory with the kubeconfig of the cluster's DNS.
    pub dns_config: PathBuf,
}

/// Issues all credentials and plans all components. `isolated`: with nodes in namespaces.
pub fn wire(data: &DataDir, config: &LabConfig, isolated: bool) -> Result<Wiring> {
    let authority = Authority::open(&data.path("pki"))?;
    let on_host = format!("https://{}:{}", config.address, config.port);
    let server = if isolated {
        format!("https://{CONTROL_PLANE_ADDRESS}:{API_PORT}")
    } else {
        on_host.clone()
    };
    let kubeconfig = |file: &Path, server: &str, identity: Identity| -> Result<()> {
        let credential = authority.issue(&identity)?;
        kubeconfig::write(file, server, &identity.user, &authority, &credential)
    };
    let admin_kubeconfig = data.path("kubeconfig");
    let admin = Identity::client("admin", "kubernetes-admin", &["system:masters"]);
    kubeconfig(&admin_kubeconfig, &on_host, admin)?;
    let controllers = data.path("kubeconfigs/controllers");
    let user = "system:kube-controller-manager";
    kubeconfig(&controllers, &server, Identity::client("controllers", user, &[]))?;

    let proxy_kubeconfig = config_directory(data, "kube-proxy")?.join("kubeconfig");
    let proxy = Identity::client("kube-proxy", "system:kube-proxy", &[]);
    kubeconfig(&proxy_kubeconfig, &server, proxy)?;
    let dns_config = config_directory(data, "cluster-dns")?;
    let dns = dns_identity();
    kubeconfig(&dns_config.join("kubeconfig"), &server, dns)?;

    let mut components = vec![api_server(data, config, &authority, isolated)?];
    for name in ["endpoints-controller", "controller-manager"] {
        components.push(ComponentPlan {
            name: name.to_owned(),
            phase: Phase::Controllers,
            args: placed(data, isolated.then_some(CONTROL_PLANE), {
                vec![
                    name.to_owned(),
                    flag("--kubeconfig", controllers.display()),
                    // There is one of each: nothing to wait for after a crash.
                    flag("--leader-elect", false),
                ]
            }),
            takes_listener: false,
        });
    }
    if isolated {
        for place in config.topology.nodes() {
            components.push(node_agent(data, config, &place, &authority, &server)?);
        }
    }
    Ok(Wiring { components, admin_kubeconfig, proxy_kubeconfig, dns_config })
}

/// As whom the cluster's DNS asks.
pub fn dns_identity() -> Identity {
    Identity::client(
        "cluster-dns",
        "system:serviceaccount:kube-system:coredns",
        &["system:serviceaccounts", "system:serviceaccounts:kube-system"],
    )
}

fn config_directory(data: &DataDir, name: &str) -> Result<PathBuf> {
    let directory = data.path("kubeconfigs").join(name);
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

fn api_server(
    data: &DataDir,
    config: &LabConfig,
    authority: &Authority,
    isolated: bool,
) -> Result<ComponentPlan> {
    let serving = authority.issue(
        &Identity::client("apiserver", "kube-apiserver", &[]).serving(api_server_names(config)),
    )?;
    let to_nodes = authority.issue(&Identity::client(
        "apiserver-kubelet-client",
        "kube-apiserver-kubelet-client",
        &["system:masters"],
    ))?;
    let (bind, port, advertise) = if isolated {
        (Ipv4Addr::UNSPECIFIED, API_PORT, CONTROL_PLANE_ADDRESS)
    } else {
        // The inherited listener is the one to use; this one is beside it on any port.
        (config.address, 0, config.address)
    };
    let ca = authority.certificate_file.display();
    let args = vec![
        API_SERVER.to_owned(),
        flag("--data-dir", data.path("store").display()),
        flag("--bind-address", bind),
        flag("--secure-port", port),
        flag("--advertise-address", advertise),
        flag("--tls-cert-file", serving.cert_file.display()),
        flag("--tls-private-key-file", serving.key_file.display()),
        flag("--client-ca-file", &ca),
        flag("--service-cluster-ip-range", config.topology.service_cidr),
        flag("--service-node-port-range", NODE_PORT_RANGE),
        flag("--kubelet-client-certificate", to_nodes.cert_file.display()),
        flag("--kubelet-client-key", to_nodes.key_file.display()),
        flag("--kubelet-certificate-authority", &ca),
    ];
    Ok(ComponentPlan {
        name: API_SERVER.to_owned(),
        phase: Phase::First,
        args: placed(data, isolated.then_some(CONTROL_PLANE), args),
        takes_listener: true,
    })
}

/// Every name by which a client may reach the API server.
fn api_server_names(config: &LabConfig) -> Vec<String> {
    let mut names = vec![
        config.address.to_string(),
        Ipv4Addr::LOCALHOST.to_string(),
        CONTROL_PLANE_ADDRESS.to_string(),
        config.topology.kubernetes_service().to_string(),
        "localhost".to_owned(),
        CONTROL_PLANE.to_owned(),
    ];
    names.extend(service_names());
    names
}

/// Every form of the name of the API's Service.
pub fn service_names() -> Vec<String> {
    let service = "kubernetes.default.svc.cluster.local";
    let shorter = service.match_indices('.').map(|(end, _)| &service[..end]);
    shorter.filter(|name| !name.ends_with("cluster")).chain([service]).map(str::to_owned).collect()
}

fn node_agent(
    data: &DataDir,
    config: &LabConfig,
    place: &NodePlace,
    authority: &Authority,
    server: &str,
) -> Result<ComponentPlan> {
    let topology = &config.topology;
    let name = &place.name;
    let user = format!("system:node:{name}");
    let identity = Identity::client(&format!("node-{name}"), &user, &["system:nodes"])
        .serving(vec![name.clone(), place.address.to_string()]);
    let credential = authority.issue(&identity)?;
    let kubeconfig = data.path("kubeconfigs").join(name);
    kubeconfig::write(&kubeconfig, server, &user, authority, &credential)?;
    let root = data.path("nodes").join(name);
    std::fs::create_dir_all(root.join("manifests"))?;
    let mut args = vec![
        "node-agent".to_owned(),
        flag("--kubeconfig", kubeconfig.display()),
        flag("--hostname-override", name),
        flag("--node-ip", place.address),
        flag("--pod-cidr", place.pod_cidr),
        flag("--root-dir", root.display()),
        flag("--pod-manifest-path", root.join("manifests").display()),
        flag("--cluster-dns", topology.dns_service()),
        flag("--cluster-domain", CLUSTER_DOMAIN),
        flag("--tls-cert-file", credential.cert_file.display()),
        flag("--tls-private-key-file", credential.key_file.display()),
        flag("--client-ca-file", authority.certificate_file.display()),
        flag("--port", NODE_AGENT_PORT),
        flag("--max-container-restart-period", config.max_restart_period_s),
    ];
    if place.control_plane {
        args.push(flag("--register-with-taints", CONTROL_PLANE_TAINT));
        args.push(flag("--node-labels", CONTROL_PLANE_LABEL));
    }
    Ok(ComponentPlan {
        name: format!("node-agent-{name}"),
        phase: Phase::Nodes,
        args: placed(data, Some(name), args),
        takes_listener: false,
    })
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("{name}={value}")
}

/// The command line that runs `args` inside node `name`.
fn placed(data: &DataDir, name: Option<&str>, args: Vec<String>) -> Vec<String> {
    let Some(name) = name else {
        return args;
    };
    let netns = netns_path(&data.path("run"), name);
    let mut command = vec![
        "enter".to_owned(),
        flag("--netns", netns.display()),
        flag("--hostname", name),
        "--".to_owned(),
    ];
    command.extend(args);
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::topology::{DEFAULT_POD_CIDR, DEFAULT_SERVICE_CIDR, Topology};

    #[test]
    fn the_api_servers_certificate_has_every_name_of_its_service() {
        let config = LabConfig {
            topology: Topology {
                service_cidr: DEFAULT_SERVICE_CIDR,
                pod_cidr: DEFAULT_POD_CIDR,
                workers: 2,
            },
            address: Ipv4Addr::new(127, 80, 1, 2),
            port: 6443,
            max_restart_period_s: 10,
        };
        assert_eq!(
            api_server_names(&config).join(" "),
            "127.80.1.2 127.0.0.1 192.168.77.10 10.96.0.1 localhost control-plane kubernetes \
             kubernetes.default kubernetes.default.svc kubernetes.default.svc.cluster.local"
        );
    }
}
