//! What an update of a Service keeps and drops of fields that the server filled in.
//!
//! Never allocates: a field that is left empty here is the allocators' to fill.

use k8s_openapi::api::core::v1::ServiceSpec;

use crate::core::service_types::{has_health_port, has_node_ports, is_externally_accessible};

/// `clusterIP` and `clusterIPs` are two views of one list; older clients know the first only.
pub fn normalize_cluster_ips(new: &mut ServiceSpec, old: Option<&ServiceSpec>) {
    let first = new.cluster_ip.clone().unwrap_or_default();
    let empty = new.cluster_ips.as_ref().is_none_or(Vec::is_empty);
    let Some(old) = old else {
        if empty && !first.is_empty() {
            new.cluster_ips = Some(vec![first]);
        } else if !empty && first.is_empty() {
            new.cluster_ip = new.cluster_ips.as_ref().and_then(|ips| ips.first().cloned());
        }
        return;
    };
    let changed = new.cluster_ip != old.cluster_ip;
    if changed && new.cluster_ips == old.cluster_ips {
        // A client that knows `clusterIP` only has changed it.
        new.cluster_ips = match first.as_str() {
            "" => None,
            _ if empty => Some(vec![first]),
            _ => new.cluster_ips.take().map(|mut ips| {
                ips[0] = first;
                ips
            }),
        };
    } else if empty && !first.is_empty() {
        new.cluster_ips = Some(vec![first]);
    }
}

/// Takes over what was allocated where an update leaves it out, as `kubectl replace` does.
pub fn keep_allocated(new: &mut ServiceSpec, old: &ServiceSpec) {
    let has_address = |spec: &ServiceSpec| spec.type_.as_deref() != Some("ExternalName");
    if has_address(new) && has_address(old) {
        let empty = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
        let no_ips = new.cluster_ips.as_ref().is_none_or(Vec::is_empty);
        if empty(&new.cluster_ip) && no_ips {
            new.cluster_ip.clone_from(&old.cluster_ip);
        }
        if no_ips && new.cluster_ip == old.cluster_ip {
            new.cluster_ips.clone_from(&old.cluster_ips);
        }
        if new.ip_families.as_ref().is_none_or(Vec::is_empty) {
            new.ip_families.clone_from(&old.ip_families);
        }
        if new.ip_family_policy.is_none() {
            new.ip_family_policy.clone_from(&old.ip_family_policy);
        }
    }
    if has_node_ports(new) && has_node_ports(old) {
        keep_node_ports(new, old);
    }
    if has_health_port(new) && has_health_port(old) && new.health_check_node_port.unwrap_or(0) == 0
    {
        new.health_check_node_port = old.health_check_node_port;
    }
}

/// A port without a node port gets that of its old self, if no other port wants it.
fn keep_node_ports(new: &mut ServiceSpec, old: &ServiceSpec) {
    let mut taken: Vec<(Option<String>, i32)> = new
        .ports
        .iter()
        .flatten()
        .filter_map(|port| Some((port.protocol.clone(), port.node_port.filter(|p| *p != 0)?)))
        .collect();
    for port in new.ports.iter_mut().flatten().filter(|port| port.node_port.unwrap_or(0) == 0) {
        let before = old
            .ports
            .iter()
            .flatten()
            .find(|before| before.port == port.port && before.protocol == port.protocol);
        let Some(node_port) = before.and_then(|before| before.node_port) else {
            continue;
        };
        let wanted = (port.protocol.clone(), node_port);
        if !taken.contains(&wanted) {
            port.node_port = Some(node_port);
            taken.push(wanted);
        }
    }
}

/// Drops what the new type has no use for, unless the client changed it: then validation
/// tells them.
pub fn drop_unused(new: &mut ServiceSpec, old: &ServiceSpec) {
    let type_ = new.type_.clone().unwrap_or_default();
    if type_ == "ExternalName" && old.type_.as_deref() != Some("ExternalName") {
        if new.cluster_ip == old.cluster_ip && new.cluster_ips == old.cluster_ips {
            new.cluster_ip = None;
            new.cluster_ips = None;
        }
        if new.ip_families == old.ip_families {
            new.ip_families = None;
        }
        if new.ip_family_policy == old.ip_family_policy {
            new.ip_family_policy = None;
        }
        if new.internal_traffic_policy == old.internal_traffic_policy {
            new.internal_traffic_policy = None;
        }
    }
    if old.type_.as_deref() == Some("ExternalName")
        && type_ != "ExternalName"
        && new.external_name == old.external_name
    {
        new.external_name = None;
    }
    if has_node_ports(old) && !has_node_ports(new) && same_node_ports(new, old) {
        new.ports.iter_mut().flatten().for_each(|port| port.node_port = None);
    }
    if has_health_port(old)
        && !has_health_port(new)
        && new.health_check_node_port == old.health_check_node_port
    {
        new.health_check_node_port = None;
    }
    if is_externally_accessible(old)
        && !is_externally_accessible(new)
        && new.external_traffic_policy == old.external_traffic_policy
    {
        new.external_traffic_policy = None;
    }
    if old.type_.as_deref() == Some("LoadBalancer") && type_ != "LoadBalancer" {
        if new.allocate_load_balancer_node_ports == old.allocate_load_balancer_node_ports {
            new.allocate_load_balancer_node_ports = None;
        }
        if new.load_balancer_class == old.load_balancer_class {
            new.load_balancer_class = None;
        }
    }
}

fn same_node_ports(new: &ServiceSpec, old: &ServiceSpec) -> bool {
    let node_ports = |spec: &ServiceSpec| -> Vec<i32> {
        let mut ports: Vec<_> =
            spec.ports.iter().flatten().filter_map(|port| port.node_port).collect();
        ports.sort_unstable();
        ports
    };
    let before = node_ports(old);
    node_ports(new).iter().all(|port| before.contains(port))
}
