//! Services and EndpointSlices from one line each. Never makes an object that the
//! API could not.
//!
//! `svc NAME CLUSTERIP PORT/PROTOCOL [node-port=N] [external-ip=A] [affinity=SECONDS] [internal=Local] [external=Local]`
//! `ep NAME ADDRESS:PORT NODE [not-ready] [terminating] [slice=X]`

use std::collections::BTreeMap;

use proxy_agent::model::Change;
use serde_json::{Value, json};

/// The changes that add all objects of `text`.
pub fn changes(text: &str) -> Vec<Change> {
    let mut services = Vec::new();
    let mut slices: BTreeMap<String, Value> = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["svc", name, ip, port, ref options @ ..] => {
                services.push(service(name, ip, port, options))
            }
            ["ep", service, address, node, ref options @ ..] => {
                endpoint(&mut slices, service, address, node, options);
            }
            _ => panic!("no object: {line}"),
        }
    }
    let services = services
        .into_iter()
        .map(|s| Change::Service(Box::new(parse(s))));
    let slices = slices
        .into_values()
        .map(|s| Change::Slice(Box::new(parse(s))));
    services.chain(slices).collect()
}

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a valid object")
}

fn service(name: &str, ip: &str, port: &str, options: &[&str]) -> Value {
    let (port, protocol) = port.split_once('/').expect("PORT/PROTOCOL");
    let mut spec = json!({
        "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip],
        "ports": [{ "port": port.parse::<u16>().expect("port"), "protocol": protocol.to_uppercase() }],
    });
    for option in options {
        match option.split_once('=').expect("KEY=VALUE") {
            ("node-port", number) => {
                spec["type"] = json!("NodePort");
                spec["ports"][0]["nodePort"] = json!(number.parse::<u16>().expect("node port"));
            }
            ("external-ip", address) => spec["externalIPs"] = json!([address]),
            ("affinity", seconds) => {
                let seconds: u32 = seconds.parse().expect("seconds");
                spec["sessionAffinity"] = json!("ClientIP");
                spec["sessionAffinityConfig"] =
                    json!({ "clientIP": { "timeoutSeconds": seconds } });
            }
            ("internal", policy) => spec["internalTrafficPolicy"] = json!(policy),
            ("external", policy) => spec["externalTrafficPolicy"] = json!(policy),
            (key, _) => panic!("no option of a Service: {key}"),
        }
    }
    json!({ "metadata": { "namespace": "default", "name": name }, "spec": spec })
}

fn endpoint(
    slices: &mut BTreeMap<String, Value>,
    service: &str,
    address: &str,
    node: &str,
    options: &[&str],
) {
    let (address, port) = address.rsplit_once(':').expect("ADDRESS:PORT");
    let suffix = options
        .iter()
        .find_map(|option| option.strip_prefix("slice="))
        .unwrap_or("a");
    let is_terminating = options.contains(&"terminating");
    let ready = !options.contains(&"not-ready") && !is_terminating;
    let serving = ready || is_terminating;
    let port: u16 = port.parse().expect("port");
    let name = format!("{service}-{suffix}-{port}");
    let slice = slices.entry(name.clone()).or_insert_with(|| {
        json!({
            "metadata": {
                "namespace": "default", "name": name,
                "labels": { "kubernetes.io/service-name": service },
            },
            "addressType": "IPv4", "ports": [{ "name": "", "port": port }], "endpoints": [],
        })
    });
    let endpoints = slice["endpoints"].as_array_mut().expect("endpoints");
    endpoints.push(json!({
        "addresses": [address], "nodeName": node,
        "conditions": { "ready": ready, "serving": serving, "terminating": is_terminating },
    }));
}
