//! The components' command lines, as far as they are the same wherever a cluster runs.

use std::fmt::Display;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Result;
use ipnet::Ipv4Net;

use super::identities;
use super::pki::{Authority, Credential};
use super::ranges::{CLUSTER_DOMAIN, NODE_AGENT_PORT, Ranges};

/// Name of the API server's component and log.
pub const API_SERVER: &str = "apiserver";

/// One option.
pub fn flag(name: &str, value: impl Display) -> String {
    format!("{name}={value}")
}

/// The API server's, which has credentials for itself under `names` and as a client of nodes.
pub fn api_server(
    authority: &Authority,
    names: Vec<String>,
    ranges: &Ranges,
    advertise: Ipv4Addr,
) -> Result<Vec<String>> {
    let serving = authority.issue(&identities::api_server(names))?;
    let to_nodes = authority.issue(&identities::api_server_to_nodes())?;
    let ca = authority.certificate_file.display();
    Ok(vec![
        API_SERVER.to_owned(),
        flag("--advertise-address", advertise),
        flag("--tls-cert-file", serving.cert_file.display()),
        flag("--tls-private-key-file", serving.key_file.display()),
        flag("--client-ca-file", &ca),
        flag("--service-cluster-ip-range", ranges.service_cidr),
        flag("--kubelet-client-certificate", to_nodes.cert_file.display()),
        flag("--kubelet-client-key", to_nodes.key_file.display()),
        flag("--kubelet-certificate-authority", &ca),
    ])
}

/// What a node agent is told.
pub struct NodeAgent<'a> {
    /// Name of the node.
    pub name: &'a str,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its pods' range.
    pub pod_cidr: Ipv4Net,
    /// The cluster's ranges.
    pub ranges: &'a Ranges,
    /// How it reaches the API.
    pub kubeconfig: &'a Path,
    /// As whom it serves.
    pub serving: &'a Credential,
    /// The CA's certificate.
    pub ca_file: &'a Path,
    /// Where its pods are; their manifests are below it.
    pub root: &'a Path,
}

impl NodeAgent<'_> {
    /// The command line.
    pub fn args(&self) -> Vec<String> {
        vec![
            "node-agent".to_owned(),
            flag("--kubeconfig", self.kubeconfig.display()),
            flag("--hostname-override", self.name),
            flag("--node-ip", self.address),
            flag("--pod-cidr", self.pod_cidr),
            flag("--root-dir", self.root.display()),
            flag("--pod-manifest-path", self.root.join("manifests").display()),
            flag("--cluster-dns", self.ranges.dns_service()),
            flag("--cluster-domain", CLUSTER_DOMAIN),
            flag("--tls-cert-file", self.serving.cert_file.display()),
            flag("--tls-private-key-file", self.serving.key_file.display()),
            flag("--client-ca-file", self.ca_file.display()),
            flag("--port", NODE_AGENT_PORT),
        ]
    }
}
