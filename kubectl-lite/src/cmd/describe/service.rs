//! A Service. Never asks for its endpoints by itself.

use serde_json::Value;

use super::fields::{head, items, joined, plain, text};
use super::page::Page;
use crate::labels;

/// Most endpoints that are listed.
const MAX_ENDPOINTS: usize = 3;

/// Writes the Service.
pub fn describe(page: &mut Page, object: &Value, slices: &[Value]) {
    let spec = &object["spec"];
    head(page, object);
    page.field(0, "Selector", labels::format(&spec["selector"], ",", "<none>"));
    page.field(0, "Type", text(&spec["type"]));
    if spec["ipFamilyPolicy"].is_string() {
        page.field(0, "IP Family Policy", text(&spec["ipFamilyPolicy"]));
    }
    page.field(0, "IP Families", joined(&spec["ipFamilies"], ","));
    page.field(0, "IP", text(&spec["clusterIP"]));
    page.field(0, "IPs", joined(&spec["clusterIPs"], ","));
    if items(&spec["externalIPs"]).next().is_some() {
        page.field(0, "External IPs", joined(&spec["externalIPs"], ","));
    }
    if !text(&spec["loadBalancerIP"]).is_empty() {
        page.field(0, "Desired LoadBalancer IP", text(&spec["loadBalancerIP"]));
    }
    if !text(&spec["externalName"]).is_empty() {
        page.field(0, "External Name", text(&spec["externalName"]));
    }
    let ingress = &object["status"]["loadBalancer"]["ingress"];
    if items(ingress).next().is_some() {
        page.field(0, "LoadBalancer Ingress", load_balancer(ingress));
    }
    for port in items(&spec["ports"]) {
        port_lines(page, port, slices);
    }
    page.field(0, "Session Affinity", text(&spec["sessionAffinity"]));
    for (title, field) in [
        ("External Traffic Policy", "externalTrafficPolicy"),
        ("Internal Traffic Policy", "internalTrafficPolicy"),
        ("Traffic Distribution", "trafficDistribution"),
    ] {
        if !text(&spec[field]).is_empty() {
            page.field(0, title, text(&spec[field]));
        }
    }
    if let Some(port @ 1..) = spec["healthCheckNodePort"].as_i64() {
        page.field(0, "HealthCheck NodePort", port);
    }
    if items(&spec["loadBalancerSourceRanges"]).next().is_some() {
        let ranges = joined(&spec["loadBalancerSourceRanges"], ",");
        page.field(0, "LoadBalancer Source Ranges", ranges);
    }
}

fn port_lines(page: &mut Page, port: &Value, slices: &[Value]) {
    let name = text(&port["name"]);
    let shown = if name.is_empty() { "<unset>" } else { name };
    let protocol = text(&port["protocol"]);
    page.line(0, format!("Port:\t{shown}\t{}/{protocol}", port["port"]));
    page.line(0, format!("TargetPort:\t{}/{protocol}", plain(&port["targetPort"])));
    if let Some(number @ 1..) = port["nodePort"].as_i64() {
        page.line(0, format!("NodePort:\t{shown}\t{number}/{protocol}"));
    }
    page.field(0, "Endpoints", endpoints(slices, name));
}

/// The ready endpoints of one port: the first few, and how many more.
fn endpoints(slices: &[Value], port_name: &str) -> String {
    if slices.is_empty() {
        return "<none>".to_owned();
    }
    let mut found = Vec::new();
    for slice in slices {
        let ready = || items(&slice["endpoints"]).filter(|it| it["conditions"]["ready"] != false);
        let address = |endpoint: &Value| text(&endpoint["addresses"][0]).to_owned();
        // A headless Service may have no ports.
        if items(&slice["ports"]).next().is_none() {
            found.extend(ready().map(address));
        }
        for port in items(&slice["ports"]).filter(|it| text(&it["name"]) == port_name) {
            found.extend(ready().map(|endpoint| {
                let address = address(endpoint);
                match address.contains(':') {
                    true => format!("[{address}]:{}", port["port"]),
                    false => format!("{address}:{}", port["port"]),
                }
            }));
        }
    }
    let first: Vec<_> = found.iter().take(MAX_ENDPOINTS).cloned().collect();
    let shown = first.join(",");
    match found.len().saturating_sub(MAX_ENDPOINTS) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

fn load_balancer(ingress: &Value) -> String {
    let points: Vec<_> = items(ingress)
        .map(|it| match (text(&it["ip"]), text(&it["ipMode"])) {
            ("", _) => text(&it["hostname"]).to_owned(),
            (ip, "") => ip.to_owned(),
            (ip, mode) => format!("{ip} ({mode})"),
        })
        .collect();
    points.join(", ")
}
