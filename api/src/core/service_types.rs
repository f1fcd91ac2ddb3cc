//! What each type of Service has.

use k8s_openapi::api::core::v1::ServiceSpec;

/// Whether packets from outside the cluster can reach it: by node port, balancer or external IP.
pub fn is_externally_accessible(spec: &ServiceSpec) -> bool {
    match spec.type_.as_deref() {
        Some("NodePort" | "LoadBalancer") => true,
        Some("ClusterIP") => spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty()),
        _ => false,
    }
}

/// Whether each of its ports may have a node port.
pub fn has_node_ports(spec: &ServiceSpec) -> bool {
    matches!(spec.type_.as_deref(), Some("NodePort" | "LoadBalancer"))
}

/// Whether it has a port that tells a load balancer where its pods are.
pub fn has_health_port(spec: &ServiceSpec) -> bool {
    spec.type_.as_deref() == Some("LoadBalancer")
        && spec.external_traffic_policy.as_deref() == Some("Local")
}
