//! Which components a lab runs, with which command lines and identities, and the files they need:
//! credentials and manifests of static pods.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::Result;

use crate::cluster::command_line::{self, API_SERVER, NodeAgent, flag};
use crate::cluster::pki::{Authority, Identity};
use crate::cluster::process_table::{ComponentPlan, Phase};
use crate::cluster::ranges::{API_PORT, service_names};
use crate::cluster::{dns, identities, kubeconfig};

use super::fabric::netns_path;
use super::state::{DataDir, LabConfig};
use super::topology::{CONTROL_PLANE, CONTROL_PLANE_ADDRESS, NodePlace};

const NODE_PORT_RANGE: &str = "30000-32767";
const CONTROL_PLANE_TAINT: &str = "node-role.kubernetes.io/control-plane=:NoSchedule";
const CONTROL_PLANE_LABEL: &str = "node-role.kubernetes.io/control-plane=";
/// The node proxy's manifest, in a directory of a lab that had it as static pods.
const FORMER_PROXY: &str = "kube-proxy.json";

/// What runs, and the files of the identities that are used from outside it.
pub struct Wiring {
    /// What runs.
    pub components: Vec<ComponentPlan>,
    /// The admin's kubeconfig inside the data directory.
    pub admin_kubeconfig: PathBuf,
    /// The kubeconfig of the node proxies.
    pub proxy_kubeconfig: PathBuf,
}

/// Issues all credentials, plans all components and writes what they read. `isolated`: with nodes
/// in namespaces.
pub fn wire(data: &DataDir, config: &LabConfig, isolated: bool) -> Result<Wiring> {
    let on_host = format!("https://{}:{}", config.address, config.port);
    let server = match isolated {
        true => format!("https://{CONTROL_PLANE_ADDRESS}:{API_PORT}"),
        false => on_host.clone(),
    };
    let authority = Authority::open(&data.path("pki"))?;
    let wirer = Wirer { data, config, isolated, authority, server };
    let admin_kubeconfig = data.path("kubeconfig");
    wirer.kubeconfig(&admin_kubeconfig, &on_host, &identities::admin())?;
    let controllers = data.path("kubeconfigs/controllers");
    wirer.kubeconfig(&controllers, &wirer.server, &identities::controllers())?;
    let proxy_kubeconfig = wirer.kubeconfig_in("kube-proxy", &identities::proxy())?;
    let dns_kubeconfig = wirer.kubeconfig_in("cluster-dns", &identities::dns())?;

    let mut components = vec![wirer.api_server()?];
    components.extend(["endpoints-controller", "controller-manager"].map(|name| ComponentPlan {
        name: name.to_owned(),
        phase: Phase::Controllers,
        args: wirer.placed(CONTROL_PLANE, {
            vec![
                name.to_owned(),
                flag("--kubeconfig", controllers.display()),
                // There is one of each: nothing to wait for after a crash.
                flag("--leader-elect", false),
            ]
        }),
        takes_listener: false,
    }));
    let places = if isolated { config.topology.nodes() } else { Vec::new() };
    for place in places {
        components.push(wirer.node_agent(&place)?);
        if place.control_plane {
            let config = dns_kubeconfig.parent().unwrap_or(&dns_kubeconfig);
            dns::write(&wirer.manifests(&place.name), config, &data.path("host"))?;
        }
    }
    Ok(Wiring { components, admin_kubeconfig, proxy_kubeconfig })
}

struct Wirer<'a> {
    data: &'a DataDir,
    config: &'a LabConfig,
    isolated: bool,
    authority: Authority,
    /// Where the components reach the API.
    server: String,
}

impl Wirer<'_> {
    fn kubeconfig(&self, file: &Path, server: &str, identity: &Identity) -> Result<()> {
        let credential = self.authority.issue(identity)?;
        kubeconfig::write(file, server, &identity.user, &self.authority, &credential)
    }

    /// Writes a kubeconfig in a directory of its own, which can be mounted. Returns its path.
    fn kubeconfig_in(&self, directory: &str, identity: &Identity) -> Result<PathBuf> {
        let directory = self.data.path("kubeconfigs").join(directory);
        fs::create_dir_all(&directory)?;
        let file = directory.join("kubeconfig");
        self.kubeconfig(&file, &self.server, identity)?;
        Ok(file)
    }

    fn api_server(&self) -> Result<ComponentPlan> {
        let (bind, port, advertise) = if self.isolated {
            (Ipv4Addr::UNSPECIFIED, API_PORT, CONTROL_PLANE_ADDRESS)
        } else {
            // The inherited listener is the one to use; this one is beside it on any port.
            (self.config.address, 0, self.config.address)
        };
        let names = api_server_names(self.config);
        let ranges = &self.config.topology.ranges;
        let mut args = command_line::api_server(&self.authority, names, ranges, advertise)?;
        args.extend([
            flag("--data-dir", self.data.path("store").display()),
            flag("--bind-address", bind),
            flag("--secure-port", port),
            flag("--service-node-port-range", NODE_PORT_RANGE),
        ]);
        Ok(ComponentPlan {
            name: API_SERVER.to_owned(),
            phase: Phase::First,
            args: self.placed(CONTROL_PLANE, args),
            takes_listener: true,
        })
    }

    fn root(&self, node: &str) -> PathBuf {
        self.data.path("nodes").join(node)
    }

    fn manifests(&self, node: &str) -> PathBuf {
        self.root(node).join("manifests")
    }

    fn node_agent(&self, place: &NodePlace) -> Result<ComponentPlan> {
        let name = &place.name;
        let names = vec![name.clone(), place.address.to_string()];
        let identity = identities::node(&format!("node-{name}"), name, names);
        let serving = self.authority.issue(&identity)?;
        let kubeconfig = self.data.path("kubeconfigs").join(name);
        kubeconfig::write(&kubeconfig, &self.server, &identity.user, &self.authority, &serving)?;
        let manifests = self.manifests(name);
        fs::create_dir_all(&manifests)?;
        match fs::remove_file(manifests.join(FORMER_PROXY)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let agent = NodeAgent {
            name,
            address: place.address,
            pod_cidr: place.pod_cidr,
            ranges: &self.config.topology.ranges,
            kubeconfig: &kubeconfig,
            serving: &serving,
            ca_file: &self.authority.certificate_file,
            root: &self.root(name),
        };
        let mut args = agent.args();
        args.push(flag("--max-container-restart-period", self.config.max_restart_period_s));
        if place.control_plane {
            args.push(flag("--register-with-taints", CONTROL_PLANE_TAINT));
            args.push(flag("--node-labels", CONTROL_PLANE_LABEL));
        }
        Ok(ComponentPlan {
            name: format!("node-agent-{name}"),
            phase: Phase::Nodes,
            args: self.placed(name, args),
            takes_listener: false,
        })
    }

    /// The command line that runs `args` inside the node, where there are nodes.
    fn placed(&self, node: &str, args: Vec<String>) -> Vec<String> {
        if !self.isolated {
            return args;
        }
        let netns = netns_path(&self.data.path("run"), node);
        let mut command = vec![
            "enter".to_owned(),
            flag("--netns", netns.display()),
            flag("--hostname", node),
            "--".to_owned(),
        ];
        command.extend(args);
        command
    }
}

/// Every name by which a client may reach the API server.
fn api_server_names(config: &LabConfig) -> Vec<String> {
    let mut names = vec![
        config.address.to_string(),
        Ipv4Addr::LOCALHOST.to_string(),
        CONTROL_PLANE_ADDRESS.to_string(),
        config.topology.ranges.kubernetes_service().to_string(),
        "localhost".to_owned(),
        CONTROL_PLANE.to_owned(),
    ];
    names.extend(service_names());
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ranges::Ranges;
    use crate::lab::topology::Topology;

    #[test]
    fn the_api_servers_certificate_has_every_name_of_its_service() {
        let config = LabConfig {
            topology: Topology { ranges: Ranges::default(), workers: 2 },
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
