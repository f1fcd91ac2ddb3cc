//! A Service as far as a proxy needs it.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::ServiceName;
use super::source_ranges::SourceRanges;
use crate::routes::{Affinity, Protocol};

/// A Service that carries this label belongs to another proxy.
const SERVICE_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// Marks a headless Service and its slices; a Service with a cluster IP and this label is left
/// alone all the same, as upstream leaves both labels out of all that it watches.
pub(super) const HEADLESS: &str = "service.kubernetes.io/headless";
/// A Service with one of these labels is none of this proxy's.
const LEFT_ALONE: [&str; 2] = [SERVICE_PROXY_NAME, HEADLESS];
/// The API's default for `sessionAffinityConfig.clientIP.timeoutSeconds`.
const DEFAULT_AFFINITY_SECONDS: i32 = 10_800;
/// The API's limit for the same field.
const MAX_AFFINITY_SECONDS: i32 = 86_400;

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The port's name, empty if it has none.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port on cluster IPs and external addresses.
    pub port: u16,
    /// The node port, 0 if none.
    pub node_port: u16,
}

/// A Service that this proxy carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceInfo {
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Its cluster IPs of all families.
    pub cluster_ips: Vec<IpAddr>,
    /// External IPs.
    pub external_ips: Vec<IpAddr>,
    /// The load balancer's addresses that are answered on the node.
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may use `load_balancer_ips`.
    pub source_ranges: SourceRanges,
    /// `spec.healthCheckNodePort`, where the Service has one.
    pub health_check_node_port: Option<u16>,
    /// Session affinity.
    pub affinity: Option<Affinity>,
    /// `internalTrafficPolicy: Local`
    pub internal_local: bool,
    /// `externalTrafficPolicy: Local`
    pub external_local: bool,
}

impl ServiceInfo {
    /// `None` when the Service is none of this proxy's: headless, ExternalName,
    /// without a cluster IP yet, or labelled to be left alone.
    pub fn from_object(service: &Service) -> Option<ServiceInfo> {
        let spec = service.spec.as_ref()?;
        if left_alone_by(service).is_some() || spec.type_.as_deref() == Some("ExternalName") {
            return None;
        }
        let first = spec.cluster_ip.as_deref().unwrap_or_default();
        let mut cluster_ips = addresses(spec.cluster_ips.iter().flatten());
        if cluster_ips.is_empty() {
            cluster_ips.extend(first.parse::<IpAddr>());
        }
        if first == "None" || cluster_ips.is_empty() {
            return None;
        }
        Some(ServiceInfo {
            ports: ports(spec),
            cluster_ips,
            external_ips: sorted(addresses(spec.external_ips.iter().flatten())),
            load_balancer_ips: load_balancer_ips(service, spec),
            source_ranges: SourceRanges::of(spec),
            health_check_node_port: health_check_node_port(spec),
            affinity: affinity(spec),
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
        })
    }
}

/// The label by which a Service is none of this proxy's, and its value.
fn left_alone_by(service: &Service) -> Option<(&'static str, &String)> {
    let labels = service.metadata.labels.as_ref()?;
    LEFT_ALONE.into_iter().find_map(|label| Some((label, labels.get(label)?)))
}

/// A Service that is to be left alone; known so that this can be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The label that says so.
    pub label: &'static str,
    /// Its value: in `service-proxy-name`, the proxy that carries the Service.
    pub value: String,
    /// Its cluster IPs and external IPs.
    pub addresses: Vec<IpAddr>,
}

impl Ignored {
    /// `None` when it has no such label.
    pub fn from_object(service: &Service) -> Option<Ignored> {
        let (label, value) = left_alone_by(service)?;
        let spec = service.spec.as_ref()?;
        let ips = spec.cluster_ips.iter().chain(&spec.external_ips).flatten();
        Some(Ignored {
            label,
            value: value.clone(),
            addresses: addresses(ips.chain(&spec.cluster_ip)),
        })
    }
}

/// Namespace and name of any object.
pub(super) fn name_of(metadata: &ObjectMeta) -> ServiceName {
    ServiceName {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}

fn addresses<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<IpAddr> {
    exact(texts.filter_map(|text| text.parse().ok()))
}

/// A list that takes no more than it needs: there are some for each Service.
fn exact<T>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = items.collect();
    all.shrink_to_fit();
    all
}

fn ports(spec: &ServiceSpec) -> Vec<ServicePort> {
    let has_node_ports = matches!(spec.type_.as_deref(), Some("NodePort" | "LoadBalancer"));
    let ports = spec.ports.iter().flatten();
    exact(ports.filter_map(|port| {
        Some(ServicePort {
            name: port.name.clone().unwrap_or_default(),
            protocol: Protocol::parse(port.protocol.as_deref().unwrap_or("TCP"))?,
            port: u16::try_from(port.port).ok().filter(|p| *p != 0)?,
            node_port: match port.node_port {
                Some(node_port) if has_node_ports => u16::try_from(node_port).unwrap_or(0),
                _ => 0,
            },
        })
    }))
}

fn affinity(spec: &ServiceSpec) -> Option<Affinity> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let seconds = spec
        .session_affinity_config
        .as_ref()
        .and_then(|config| config.client_ip.as_ref()?.timeout_seconds)
        .unwrap_or(DEFAULT_AFFINITY_SECONDS)
        .clamp(1, MAX_AFFINITY_SECONDS);
    Some(Affinity { timeout_seconds: seconds.unsigned_abs() })
}

/// `ipMode: Proxy` means that the load balancer answers itself, for nodes too.
fn load_balancer_ips(service: &Service, spec: &ServiceSpec) -> Vec<IpAddr> {
    if spec.type_.as_deref() != Some("LoadBalancer") {
        return Vec::new();
    }
    let ingress = service
        .status
        .iter()
        .filter_map(|status| status.load_balancer.as_ref())
        .flat_map(|balancer| balancer.ingress.iter().flatten())
        .filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
    sorted(addresses(ingress.filter_map(|ingress| ingress.ip.as_ref())))
}

fn health_check_node_port(spec: &ServiceSpec) -> Option<u16> {
    let is_local = spec.external_traffic_policy.as_deref() == Some("Local");
    if spec.type_.as_deref() != Some("LoadBalancer") || !is_local {
        return None;
    }
    let port = u16::try_from(spec.health_check_node_port?).ok()?;
    (port != 0).then_some(port)
}

pub(super) fn sorted<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort_unstable();
    all.dedup();
    all
}
