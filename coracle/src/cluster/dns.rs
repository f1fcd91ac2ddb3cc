//! The cluster's DNS as a static pod, whose manifest a node agent reads, and as a Service.

use std::fs;
use std::path::Path;

use anyhow::Result;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::ranges::{CLUSTER_DOMAIN, Ranges};

/// Directory inside the pod where its kubeconfig is.
const CONFIG_MOUNT: &str = "/etc/coracle";
/// Directory inside the pod with the socket to the host's resolvers.
const HOST_MOUNT: &str = "/run/coracle";
/// The socket's name in the host's directory and in [`HOST_MOUNT`].
pub const UPSTREAM_SOCKET: &str = "dns.sock";
/// Label that the Service selects.
const LABEL: &str = "kube-dns";

/// The Service by which pods reach it.
pub fn service(ranges: &Ranges) -> Result<Service> {
    Ok(serde_json::from_value(json!({
        "metadata": {
            "name": "kube-dns",
            "labels": {
                "k8s-app": LABEL,
                "kubernetes.io/cluster-service": "true",
                "kubernetes.io/name": "CoreDNS",
            },
        },
        "spec": {
            "clusterIP": ranges.dns_service(),
            "selector": {"k8s-app": LABEL},
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            ],
        },
    }))?)
}

/// Writes the manifest of the cluster's DNS. `config`: the directory with its kubeconfig; `host`:
/// the one with the socket for names outside the cluster.
pub fn write(directory: &Path, config: &Path, host: &Path) -> Result<()> {
    let path = directory.join("cluster-dns.json");
    let text = serde_json::to_string_pretty(&pod(config, host))?;
    // Replaced in one step, and only where it changed.
    if fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let staged = directory.join(".cluster-dns.json");
    fs::write(&staged, text)?;
    Ok(fs::rename(staged, path)?)
}

fn pod(config: &Path, host: &Path) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "cluster-dns",
            "namespace": "kube-system",
            "labels": {"k8s-app": LABEL},
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
