//! What a pod contributes to a Service: whether it counts, its addresses and ports. Everything
//! is in the pod and the Service.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerPort, Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Whether the pod carries every pair of the selector.
pub fn is_selected(pod: &Pod, selector: &BTreeMap<String, String>) -> bool {
    let labels = pod.metadata.labels.as_ref();
    selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// Whether the pod's Ready condition is true.
pub fn is_ready(pod: &Pod) -> bool {
    ready_condition(pod).is_some_and(|(status, _)| status == "True")
}

/// When the Ready condition last changed.
pub fn ready_since(pod: &Pod) -> Option<&Time> {
    ready_condition(pod).and_then(|(_, since)| since)
}

fn ready_condition(pod: &Pod) -> Option<(&str, Option<&Time>)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    Some((&ready.status, ready.last_transition_time.as_ref()))
}

/// Whether the pod is being deleted.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether all containers have ended for good.
pub fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded"))
}

/// All addresses of the pod, first the primary one.
pub fn addresses(pod: &Pod) -> Vec<&str> {
    let Some(status) = &pod.status else {
        return Vec::new();
    };
    let listed: Vec<&str> = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str()).collect();
    if listed.is_empty() { status.pod_ip.as_deref().into_iter().collect() } else { listed }
}

/// The pod's addresses of one family.
pub fn addresses_of_family(pod: &Pod, family: Family) -> Vec<String> {
    addresses(pod)
        .into_iter()
        .filter(|text| Family::of(text) == Some(family))
        .map(str::to_owned)
        .collect()
}

/// Whether the pod belongs among a Service's endpoints at all, ready or not.
pub fn counts(pod: &Pod, include_terminating: bool) -> bool {
    !is_finished(pod) && !addresses(pod).is_empty() && (include_terminating || !is_terminating(pod))
}

/// The name DNS gives the pod under a headless Service, if any.
pub fn hostname_for<'a>(pod: &'a Pod, service: &Service) -> Option<&'a str> {
    let spec = pod.spec.as_ref()?;
    let hostname = spec.hostname.as_deref().filter(|name| !name.is_empty())?;
    let same = spec.subdomain.is_some()
        && spec.subdomain == service.metadata.name
        && pod.metadata.namespace == service.metadata.namespace;
    same.then_some(hostname)
}

/// The pod's own port behind a Service port; none where a named port is not in the pod.
pub fn target_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    match port.target_port.as_ref() {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            container_ports(pod)
                .find(|candidate| {
                    candidate.name.as_ref() == Some(name)
                        && candidate.protocol.as_deref().unwrap_or("TCP") == protocol
                })
                .map(|found| found.container_port)
        }
    }
}

/// Ports of the containers, then of the sidecars (init containers that keep running).
fn container_ports(pod: &Pod) -> impl Iterator<Item = &ContainerPort> {
    let spec = pod.spec.as_ref();
    let containers = spec.into_iter().flat_map(|spec| spec.containers.iter());
    let sidecars = spec
        .into_iter()
        .flat_map(|spec| spec.init_containers.iter().flatten())
        .filter(|container| container.restart_policy.as_deref() == Some("Always"));
    containers.chain(sidecars).flat_map(|container| container.ports.iter().flatten())
}

/// Whether a change of the pod can change any Service's endpoints.
pub fn changed_for_endpoints(old: &Pod, new: &Pod) -> bool {
    let seen = |pod: &Pod| {
        let spec = pod.spec.as_ref();
        (
            (
                pod.metadata.uid.clone(),
                pod.metadata.labels.clone(),
                is_ready(pod),
                ready_since(pod).cloned(),
                is_terminating(pod),
                is_finished(pod),
            ),
            addresses(pod).into_iter().map(str::to_owned).collect::<Vec<_>>(),
            spec.map(|spec| {
                (spec.node_name.clone(), spec.hostname.clone(), spec.subdomain.clone())
            }),
        )
    };
    seen(old) != seen(new)
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address in text form; none where it is no address.
    pub fn of(text: &str) -> Option<Self> {
        match text.parse().ok()? {
            IpAddr::V4(_) => Some(Self::V4),
            IpAddr::V6(_) => Some(Self::V6),
        }
    }

    /// `addressType` of an EndpointSlice, and the entry of `ipFamilies`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The families a Service's endpoints are wanted in, the primary one first.
    pub fn of_service(service: &Service) -> Vec<Self> {
        let spec = service.spec.as_ref();
        let named: Vec<Self> = spec
            .into_iter()
            .flat_map(|spec| spec.ip_families.iter().flatten())
            .filter_map(|name| {
                [Self::V4, Self::V6].into_iter().find(|family| family.as_str() == name)
            })
            .collect();
        if !named.is_empty() {
            return named;
        }
        let cluster_ip = spec.and_then(|spec| spec.cluster_ip.as_deref()).and_then(Self::of);
        vec![cluster_ip.unwrap_or(Self::V4)]
    }
}
