//! Static pods of the lab: the cluster's DNS on the control plane. Never talks to the API; the
//! node agents read the files.

use std::path::Path;
use std::{fs, io};

use anyhow::Result;
use serde_json::{Value, json};

use super::component_plans::{CLUSTER_DOMAIN, Wiring};
use super::state::DataDir;
use super::topology::Topology;

/// Directory inside the pods where their kubeconfig is.
const CONFIG_MOUNT: &str = "/etc/coracle";
/// Directory inside the DNS pod with the socket to the host's resolvers.
const HOST_MOUNT: &str = "/run/coracle";
/// The socket's name in `DATA/host` and in [`HOST_MOUNT`].
pub const UPSTREAM_SOCKET: &str = "dns.sock";
/// Label that the DNS Service selects.
pub const DNS_LABEL: &str = "kube-dns";

/// The node proxy's, in a directory of a lab that had it as static pods.
const FORMER_PROXY: &str = "kube-proxy.json";

/// Writes the manifests of every node.
pub fn write(data: &DataDir, topology: &Topology, wiring: &Wiring) -> Result<()> {
    for place in topology.nodes() {
        let directory = data.path("nodes").join(&place.name).join("manifests");
        fs::create_dir_all(&directory)?;
        match fs::remove_file(directory.join(FORMER_PROXY)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        if place.control_plane {
            write_dns(&directory, &wiring.dns_config, &data.path("host"))?;
        }
    }
    Ok(())
}

/// Writes the manifest of the cluster's DNS. `config`: the directory with its kubeconfig; `host`:
/// the one with the socket for names outside the cluster.
pub fn write_dns(directory: &Path, config: &Path, host: &Path) -> Result<()> {
    put(directory, "cluster-dns.json", &dns(config, host))
}

/// Replaces a manifest in one step, and only where it changed.
fn put(directory: &Path, name: &str, pod: &Value) -> Result<()> {
    let path = directory.join(name);
    let text = serde_json::to_string_pretty(pod)?;
    if fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let staged = directory.join(format!(".{name}"));
    fs::write(&staged, text)?;
    Ok(fs::rename(staged, path)?)
}

fn dns(config: &Path, host: &Path) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "cluster-dns",
            "namespace": "kube-system",
            "labels": {"k8s-app": DNS_LABEL},
        },
        "spec": {
            "dnsPolicy": "Default",
            "priorityClassName": "system-cluster-critical",
            "tolerations": [{"operator": "Exists"}],
            "containers": [{
                "name": "cluster-dns",
                "image": "coracle.local/cluster-dns",
                "args": [
                    format!("--kubeconfig={CONFIG_MOUNT}/kubeconfig"),
                    "--listen=0.0.0.0:53",
                    format!("--cluster-domain={CLUSTER_DOMAIN}"),
                    format!("--upstream=unix:{HOST_MOUNT}/{UPSTREAM_SOCKET}"),
                    "--health-address=0.0.0.0:8080",
                ],
                "ports": [
                    {"name": "dns", "containerPort": 53, "protocol": "UDP"},
                    {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
                ],
                "readinessProbe": {
                    "httpGet": {"path": "/ready", "port": 8080},
                    "periodSeconds": 1,
                },
                "livenessProbe": {
                    "httpGet": {"path": "/health", "port": 8080},
                    "initialDelaySeconds": 10,
                },
                "volumeMounts": [
                    {"name": "config", "mountPath": CONFIG_MOUNT, "readOnly": true},
                    {"name": "host", "mountPath": HOST_MOUNT},
                ],
            }],
            "volumes": [
                {"name": "config", "hostPath": {"path": config, "type": "Directory"}},
                {"name": "host", "hostPath": {"path": host, "type": "Directory"}},
            ],
        },
    })
}
