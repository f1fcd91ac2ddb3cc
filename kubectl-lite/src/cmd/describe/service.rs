//! A Service with its endpoints.

use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::fields::{joined, maps, name, number_or_name, text};
use super::page::Page;
use crate::labels;

/// Most endpoints that are listed.
const MAX_ENDPOINTS: usize = 3;

/// Writes the Service; `slices` are those of its name.
pub fn describe(page: &mut Page, object: &Service, slices: &[EndpointSlice]) {
    let spec = object.spec.clone().unwrap_or_default();
    let list = |list: &Option<Vec<String>>| joined(list.iter().flatten(), ",");
    let some = |list: &Option<Vec<String>>| {
        list.as_ref().filter(|it| !it.is_empty()).map(|it| it.join(","))
    };
    name(page, &object.metadata);
    maps(page, &object.metadata);
    page.field(0, "Selector", labels::format(spec.selector.as_ref(), ",", "<none>"));
    page.field(0, "Type", text(&spec.type_));
    page.given(0, "IP Family Policy", spec.ip_family_policy);
    page.field(0, "IP Families", list(&spec.ip_families));
    page.field(0, "IP", text(&spec.cluster_ip));
    page.field(0, "IPs", list(&spec.cluster_ips));
    page.given(0, "External IPs", some(&spec.external_ips));
    page.given(0, "Desired LoadBalancer IP", spec.load_balancer_ip);
    page.given(0, "External Name", spec.external_name);
    let balancer = object.status.as_ref().and_then(|it| it.load_balancer.as_ref());
    let ingress: Vec<_> =
        balancer.and_then(|it| it.ingress.as_ref()).into_iter().flatten().map(point).collect();
    page.given(0, "LoadBalancer Ingress", Some(ingress.join(", ")));
    for port in spec.ports.iter().flatten() {
        port_lines(page, port, slices);
    }
    page.field(0, "Session Affinity", text(&spec.session_affinity));
    page.given(0, "External Traffic Policy", spec.external_traffic_policy);
    page.given(0, "Internal Traffic Policy", spec.internal_traffic_policy);
    page.given(0, "Traffic Distribution", spec.traffic_distribution);
    page.given(0, "HealthCheck NodePort", spec.health_check_node_port.filter(|it| *it > 0));
    page.given(0, "LoadBalancer Source Ranges", some(&spec.load_balancer_source_ranges));
}

fn port_lines(page: &mut Page, port: &ServicePort, slices: &[EndpointSlice]) {
    let (name, protocol) = (text(&port.name), text(&port.protocol));
    let shown = if name.is_empty() { "<unset>" } else { name };
    page.line(0, format!("Port:\t{shown}\t{}/{protocol}", port.port));
    let target = number_or_name(port.target_port.as_ref());
    page.line(0, format!("TargetPort:\t{target}/{protocol}"));
    if let Some(number @ 1..) = port.node_port {
        page.line(0, format!("NodePort:\t{shown}\t{number}/{protocol}"));
    }
    page.field(0, "Endpoints", endpoints(slices, name));
}

/// The ready endpoints of one port: the first few, and how many more.
fn endpoints(slices: &[EndpointSlice], port_name: &str) -> String {
    if slices.is_empty() {
        return "<none>".to_owned();
    }
    let mut found = Vec::new();
    for slice in slices {
        let endpoints = slice.endpoints.iter().flatten();
        let ready = endpoints
            .filter(|it| it.conditions.as_ref().and_then(|it| it.ready) != Some(false))
            .map(|it| it.addresses.first().map(String::as_str).unwrap_or_default());
        let ports = slice.ports.as_deref().unwrap_or_default();
        // A headless Service may have no ports.
        if ports.is_empty() {
            found.extend(ready.clone().map(str::to_owned));
        }
        for port in ports.iter().filter(|it| text(&it.name) == port_name) {
            let number = port.port.unwrap_or(0);
            found.extend(ready.clone().map(|address| match address.contains(':') {
                true => format!("[{address}]:{number}"),
                false => format!("{address}:{number}"),
            }));
        }
    }
    let shown = found[..found.len().min(MAX_ENDPOINTS)].join(",");
    match found.len().saturating_sub(MAX_ENDPOINTS) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

fn point(ingress: &LoadBalancerIngress) -> String {
    match (text(&ingress.ip), text(&ingress.ip_mode)) {
        ("", _) => text(&ingress.hostname).to_owned(),
        (ip, "") => ip.to_owned(),
        (ip, mode) => format!("{ip} ({mode})"),
    }
}
