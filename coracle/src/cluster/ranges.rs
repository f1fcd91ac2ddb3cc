//! The ranges that a cluster's addresses are from, and the addresses that are fixed in them.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// Port of the API server inside the cluster.
pub const API_PORT: u16 = 6443;
/// Port of a node agent.
pub const NODE_AGENT_PORT: u16 = 10250;
/// Domain of the cluster's names.
pub const CLUSTER_DOMAIN: &str = "cluster.local";
/// Prefix of a node's part of the pods' range.
pub const NODE_POD_PREFIX: u8 = 24;

/// Range of Services' addresses unless told otherwise.
pub const DEFAULT_SERVICE_CIDR: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16);
/// Range of pods' addresses unless told otherwise.
pub const DEFAULT_POD_CIDR: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16);

/// What the user chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranges {
    /// Range of cluster IPs.
    pub service_cidr: Ipv4Net,
    /// Range that nodes take their pods' /24 from.
    pub pod_cidr: Ipv4Net,
}

impl Ranges {
    /// Cluster IP of `default/kubernetes`: the first of the range.
    pub fn kubernetes_service(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.service_cidr.network()) + 1)
    }

    /// Cluster IP of `kube-system/kube-dns`: the tenth of the range.
    pub fn dns_service(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.service_cidr.network()) + 10)
    }

    /// The /24 of the node of this number; it may be outside the range.
    pub fn pods_of(&self, node: u8) -> Ipv4Net {
        let first =
            u32::from(self.pod_cidr.network()) + (u32::from(node) << (32 - NODE_POD_PREFIX));
        Ipv4Net::new_assert(first.into(), NODE_POD_PREFIX)
    }
}

impl Default for Ranges {
    fn default() -> Self {
        Self { service_cidr: DEFAULT_SERVICE_CIDR, pod_cidr: DEFAULT_POD_CIDR }
    }
}

/// Every form of the name of the API's Service.
pub fn service_names() -> Vec<String> {
    let service = "kubernetes.default.svc.cluster.local";
    let shorter = service.match_indices('.').map(|(end, _)| &service[..end]);
    shorter.filter(|name| !name.ends_with("cluster")).chain([service]).map(str::to_owned).collect()
}
