//! Rules of Services beyond their metadata.
//!
//! Never knows address ranges or what is allocated: the allocators do.

use std::{collections::BTreeSet, net::IpAddr};

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use serde_json::json;

use crate::{
    check::{Checks, PROTOCOLS},
    core::service_types::is_externally_accessible,
    field::{FieldError, Path},
    names,
};

/// `clusterIP` of a Service without a virtual address.
pub const HEADLESS: &str = "None";
/// Longest `sessionAffinityConfig.clientIP.timeoutSeconds`: a day.
const MAX_AFFINITY_TIMEOUT_SECONDS: i32 = 86_400;
/// Most addresses and families of one Service: one of each.
const MAX_FAMILIES: usize = 2;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const POLICIES: [&str; 2] = ["Cluster", "Local"];
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const FAMILY_POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
const ADDRESS_MODES: [&str; 2] = ["Proxy", "VIP"];
const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameNode", "PreferSameZone"];

/// Every violated rule of `spec`.
pub fn validate(service: &Service) -> Vec<FieldError> {
    let mut checks = Checks::new();
    let path = Path::new("spec");
    let default = ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&default);
    checks.one_of(&path.child("type"), type_(spec), &TYPES);
    validate_ports(&mut checks, &path.child("ports"), spec);
    validate_affinity(&mut checks, &path, spec);
    checks.labels(&path.child("selector"), spec.selector.as_ref());
    validate_cluster_ips(&mut checks, &path, spec);
    validate_families(&mut checks, &path, spec);
    for (index, ip) in spec.external_ips.iter().flatten().enumerate() {
        checks.endpoint_ip(&path.child("externalIPs").index(index), ip);
    }
    validate_external_name(&mut checks, &path, spec);
    validate_balancer(&mut checks, &path, spec);
    validate_policies(&mut checks, &path, spec);
    if let Some(distribution) = &spec.traffic_distribution {
        checks.one_of(&path.child("trafficDistribution"), distribution, &DISTRIBUTIONS);
    }
    checks.into_errors()
}

fn type_(spec: &ServiceSpec) -> &str {
    spec.type_.as_deref().unwrap_or_default()
}

fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref() == Some(HEADLESS)
}

fn validate_ports(checks: &mut Checks, path: &Path, spec: &ServiceSpec) {
    let ports = spec.ports.as_deref().unwrap_or_default();
    if ports.is_empty() && !is_headless(spec) && type_(spec) != "ExternalName" {
        checks.push(FieldError::required(path, ""));
    }
    let mut port_names = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    let mut node_ports = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        validate_port(checks, &path, port, ports.len() > 1);
        let name = port.name.as_deref().unwrap_or_default();
        if !name.is_empty() && !port_names.insert(name) {
            checks.push(FieldError::duplicate(&path.child("name"), name));
        }
        let protocol = port.protocol.as_deref().unwrap_or_default();
        if !numbers.insert((protocol, port.port)) {
            let value = json!({"port": port.port, "protocol": protocol});
            checks.push(FieldError::duplicate(&path, &value));
        }
        let Some(node_port) = port.node_port.filter(|port| *port != 0) else {
            continue;
        };
        let path = path.child("nodePort");
        checks.port(&path, node_port);
        let has_node_ports = matches!(type_(spec), "NodePort" | "LoadBalancer");
        checks.allowed(has_node_ports, &path, "may not be used when `type` is 'ClusterIP'");
        if !node_ports.insert((protocol, node_port)) {
            checks.push(FieldError::duplicate(&path, &node_port));
        }
    }
}

fn validate_port(checks: &mut Checks, path: &Path, port: &ServicePort, needs_name: bool) {
    let name = port.name.as_deref().unwrap_or_default();
    if needs_name {
        checks.named(&path.child("name"), name, names::dns1123_label);
    } else {
        checks.named_if_set(&path.child("name"), Some(name), names::dns1123_label);
    }
    checks.port(&path.child("port"), port.port);
    let protocol = port.protocol.as_deref().unwrap_or_default();
    checks.one_of(&path.child("protocol"), protocol, &PROTOCOLS);
    if let Some(target) = &port.target_port {
        checks.port_or_name(&path.child("targetPort"), target);
    }
    let application = port.app_protocol.as_deref();
    checks.named_if_set(&path.child("appProtocol"), application, names::qualified_name);
}

fn validate_affinity(checks: &mut Checks, path: &Path, spec: &ServiceSpec) {
    let affinity = spec.session_affinity.as_deref().unwrap_or_default();
    checks.one_of(&path.child("sessionAffinity"), affinity, &["ClientIP", "None"]);
    let path = path.child("sessionAffinityConfig");
    if affinity == "None" {
        let detail = "must not be set when session affinity is None";
        checks.allowed(spec.session_affinity_config.is_none(), &path, detail);
    }
    if affinity != "ClientIP" {
        return;
    }
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let path = path.child("clientIP").child("timeoutSeconds");
    match config.and_then(|config| config.timeout_seconds) {
        None => {
            let detail = "must be set when session affinity type is ClientIP";
            checks.push(FieldError::required(&path, detail));
        }
        Some(seconds) => checks.holds(
            (1..=MAX_AFFINITY_TIMEOUT_SECONDS).contains(&seconds),
            &path,
            &seconds,
            &format!("must be greater than 0 and less than {MAX_AFFINITY_TIMEOUT_SECONDS}"),
        ),
    }
}

fn validate_cluster_ips(checks: &mut Checks, path: &Path, spec: &ServiceSpec) {
    let list = path.child("clusterIPs");
    let ips = spec.cluster_ips.as_deref().unwrap_or_default();
    let first = spec.cluster_ip.as_deref().unwrap_or_default();
    if type_(spec) == "ExternalName" {
        let none = ips.is_empty() && first.is_empty();
        checks.allowed(none, &list, "may not be set for ExternalName services");
        return;
    }
    if !first.is_empty() && ips.is_empty() {
        checks.push(FieldError::required(&list, ""));
        if first != HEADLESS {
            checks.ip(&path.child("clusterIP"), first);
        }
    }
    if let Some(ip) = ips.first() {
        checks.holds(ip == first, &list, ips, "first value must match `clusterIP`");
    }
    if is_headless(spec) && matches!(type_(spec), "NodePort" | "LoadBalancer") {
        let detail = format!("may not be set to 'None' for {} services", type_(spec));
        checks.push(FieldError::invalid(&list.index(0), HEADLESS, &detail));
    }
    checks.holds(ips.len() <= MAX_FAMILIES, &list, ips, "may only hold up to 2 values");
    for (index, ip) in ips.iter().enumerate() {
        if ip == HEADLESS {
            let alone = ips.len() == 1;
            checks.holds(alone, &list.index(index), ip, "'None' must be the only value");
        } else {
            checks.ip(&list.index(index), ip);
        }
    }
    if let [first, second] = ips
        && first.contains(':') == second.contains(':')
    {
        let detail = "may specify no more than one IP for each IP family";
        checks.push(FieldError::invalid(&list, ips, detail));
    }
}

fn validate_families(checks: &mut Checks, path: &Path, spec: &ServiceSpec) {
    let list = path.child("ipFamilies");
    let families = spec.ip_families.as_deref().unwrap_or_default();
    let policy = path.child("ipFamilyPolicy");
    if type_(spec) == "ExternalName" {
        let detail = "may not be set for ExternalName services";
        checks.allowed(families.is_empty(), &list, detail);
        checks.allowed(spec.ip_family_policy.is_none(), &policy, detail);
        return;
    }
    checks.holds(families.len() <= MAX_FAMILIES, &list, families, "may only hold up to 2 values");
    let mut seen = BTreeSet::new();
    for (index, family) in families.iter().enumerate() {
        checks.one_of(&list.index(index), family, &FAMILIES);
        if !seen.insert(family) {
            checks.push(FieldError::duplicate(&list.index(index), family));
        }
    }
    if let Some(value) = &spec.ip_family_policy {
        checks.one_of(&policy, value, &FAMILY_POLICIES);
    }
}

fn validate_external_name(checks: &mut Checks, path: &Path, spec: &ServiceSpec) {
    if type_(spec) != "ExternalName" {
        return;
    }
    let name = spec.external_name.as_deref().unwrap_or_default();
    let path = path.child("externalName");
    if checks.required(&path, name, "") {
        let relative = name.strip_suffix('.').unwrap_or(name);
        checks.reasons(&path, name, &names::dns1123_subdomain(relative));
    }
}

fn validate_balancer(checks: &mut Checks, path: &Path, spec: &ServiceSpec) {
    let balanced = type_(spec) == "LoadBalancer";
    let only = "may only be used when `type` is 'LoadBalancer'";
    let ranges = spec.load_balancer_source_ranges.as_deref().unwrap_or_default();
    let list = path.child("loadBalancerSourceRanges");
    checks.allowed(balanced || ranges.is_empty(), &list, only);
    for (index, range) in ranges.iter().enumerate() {
        checks.holds(
            range.trim().parse::<ipnet::IpNet>().is_ok(),
            &list.index(index),
            range,
            "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        );
    }
    let node_ports = path.child("allocateLoadBalancerNodePorts");
    checks.allowed(balanced || spec.allocate_load_balancer_node_ports.is_none(), &node_ports, only);
    let class = path.child("loadBalancerClass");
    checks.allowed(balanced || spec.load_balancer_class.is_none(), &class, only);
    checks.named_if_set(&class, spec.load_balancer_class.as_deref(), names::qualified_name);
}

fn validate_policies(checks: &mut Checks, path: &Path, spec: &ServiceSpec) {
    let field = path.child("externalTrafficPolicy");
    let policy = spec.external_traffic_policy.as_deref();
    if is_externally_accessible(spec) {
        checks.one_of(&field, policy.unwrap_or_default(), &POLICIES);
    } else if let Some(policy) = policy {
        let detail = "may only be set for externally-accessible services";
        checks.push(FieldError::invalid(&field, policy, detail));
    }
    let field = path.child("internalTrafficPolicy");
    let internal = spec.internal_traffic_policy.as_deref();
    // An unknown type gets no default, and is told already.
    let wanted = matches!(type_(spec), "ClusterIP" | "NodePort" | "LoadBalancer");
    if wanted || internal.is_some() {
        checks.one_of(&field, internal.unwrap_or_default(), &POLICIES);
    }
    let health = spec.health_check_node_port.unwrap_or(0);
    let field = path.child("healthCheckNodePort");
    if health != 0 {
        checks.port(&field, health);
        let local = type_(spec) == "LoadBalancer" && policy == Some("Local");
        let detail =
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        checks.holds(local, &field, &health, detail);
    }
}

/// Every violated rule of a change.
pub fn validate_update(new: &Service, old: &Service) -> Vec<FieldError> {
    let mut checks = Checks::new();
    if new.status != old.status {
        validate_balancer_status(&mut checks, new);
    }
    let path = Path::new("spec");
    let (no_new, no_old) = (ServiceSpec::default(), ServiceSpec::default());
    let new = new.spec.as_ref().unwrap_or(&no_new);
    let old = old.spec.as_ref().unwrap_or(&no_old);
    if type_(new) != "ExternalName" && type_(old) != "ExternalName" {
        validate_kept(&mut checks, &path, new, old);
    }
    let both_balanced = type_(new) == "LoadBalancer" && type_(old) == "LoadBalancer";
    if both_balanced && old.load_balancer_class.is_some() {
        let same = new.load_balancer_class == old.load_balancer_class;
        let field = path.child("loadBalancerClass");
        checks.holds(same, &field, &new.load_balancer_class, "may not change once set");
    }
    let health = |spec: &ServiceSpec| spec.health_check_node_port.unwrap_or(0);
    if health(old) != 0 && health(new) != 0 {
        checks.immutable(&path.child("healthCheckNodePort"), &health(new), &health(old));
    }
    checks.into_errors()
}

/// What a load balancer's controller says.
fn validate_balancer_status(checks: &mut Checks, service: &Service) {
    let balancer = service.status.as_ref().and_then(|it| it.load_balancer.as_ref());
    let points = balancer.and_then(|it| it.ingress.as_deref());
    let points = points.unwrap_or_default();
    let path = Path::new("status").child("loadBalancer").child("ingress");
    let balanced = service.spec.as_ref().map(type_) == Some("LoadBalancer");
    if !balanced {
        let detail = "may only be used when `spec.type` is \"LoadBalancer\"";
        checks.allowed(points.is_empty(), &path, detail);
        return;
    }
    for (index, point) in points.iter().enumerate() {
        let path = path.index(index);
        let ip = point.ip.as_deref().filter(|ip| !ip.is_empty());
        if let Some(ip) = ip {
            checks.ip(&path.child("ip"), ip);
        }
        if let Some(mode) = &point.ip_mode {
            let detail = "may not be specified when `ip` is not set";
            checks.allowed(ip.is_some(), &path.child("ipMode"), detail);
            checks.one_of(&path.child("ipMode"), mode, &ADDRESS_MODES);
        }
        if let Some(name) = point.hostname.as_deref().filter(|name| !name.is_empty()) {
            let field = path.child("hostname");
            checks.reasons(&field, name, &names::dns1123_subdomain(name));
            let detail = "must be a DNS name, not an IP address";
            checks.holds(name.parse::<IpAddr>().is_err(), &field, name, detail);
        }
    }
}

/// The first address and family stay as long as the Service has any.
fn validate_kept(checks: &mut Checks, path: &Path, new: &ServiceSpec, old: &ServiceSpec) {
    let ips = new.cluster_ips.as_deref().unwrap_or_default();
    let field = path.child("clusterIPs").index(0);
    if let Some(before) = old.cluster_ips.as_ref().and_then(|ips| ips.first()) {
        match ips.first() {
            None => {
                checks.push(FieldError::invalid(&field, ips, "primary clusterIP can not be unset"))
            }
            Some(now) => checks.holds(now == before, &field, ips, "may not change once set"),
        }
    }
    let families = new.ip_families.as_deref().unwrap_or_default();
    if let Some(before) = old.ip_families.as_ref().and_then(|families| families.first()) {
        let kept = families.first() == Some(before);
        let field = path.child("ipFamilies").index(0);
        checks.holds(kept, &field, families, "may not change once set");
    }
}
