//! Services, EndpointSlices and the own Node from one line each. Never makes an object
//! that the API could not.
//!
//! `svc NAME IP[,IP]|None|- PORT/PROTOCOL[,…] [node-port=N[,…]] [external-ip=A[,A]] [lb=A[,A]]
//! [lb-proxy=A] [sources=CIDR[,CIDR]] [affinity=SECONDS] [internal=Local] [external=Local]
//! [health=PORT] [proxy-name=X] [label=NAME]` — `None` is headless, `-` an ExternalName; several ports
//! are called by protocol and number, `tcp-80`, and node ports are given in the same order
//!
//! `ep NAME ADDRESS:PORT NODE|- [OPTION…]`, or for several ports
//! `ep NAME ADDRESS NODE|- ports=NAME:PORT[,…] [OPTION…]`; the options: `not-ready`,
//! `terminating` (serves yet, unless not-ready too), `published` (not ready, but taken for
//! it), `zone=A[,B]` and `node=A[,B]` (hints), `slice=X`
//!
//! `node [zone=A]`

use std::collections::BTreeMap;

use proxy_agent::catalog::Change;
use serde_json::{Value, json};

/// The changes that add all objects of `text`.
pub fn changes(text: &str) -> Vec<Change> {
    let mut services = Vec::new();
    let mut nodes = Vec::new();
    let mut slices: BTreeMap<String, Value> = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            [comment, ..] if comment.starts_with('#') => {}
            ["svc", name, ip, ports, ref options @ ..] => {
                services.push(service(name, ip, ports, options))
            }
            ["ep", service, address, node, ref options @ ..] => {
                endpoint(&mut slices, service, address, node, options);
            }
            ["node", ref options @ ..] => nodes.push(node(options)),
            _ => panic!("no object: {line}"),
        }
    }
    let services = services.into_iter().map(|s| Change::Service(Box::new(parse(s))));
    let slices = slices.into_values().map(|s| Change::Slice(Box::new(parse(s))));
    let nodes = nodes.into_iter().map(|n| Change::Node(Box::new(parse(n))));
    nodes.chain(services).chain(slices).collect()
}

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a valid object")
}

fn node(options: &[&str]) -> Value {
    let mut labels = json!({ "kubernetes.io/hostname": "node-1" });
    if let Some(zone) = value_of(options, "zone") {
        labels["topology.kubernetes.io/zone"] = json!(zone);
    }
    let addresses = ["192.168.77.11", "fd77::11"];
    let addresses = addresses.map(|a| json!({ "type": "InternalIP", "address": a }));
    json!({
        "metadata": { "name": "node-1", "labels": labels }, "status": { "addresses": addresses },
    })
}

fn value_of<'a>(options: &[&'a str], key: &str) -> Option<&'a str> {
    let with_key = |option: &&'a str| option.strip_prefix(key)?.strip_prefix('=');
    options.iter().find_map(with_key)
}

fn list(text: &str) -> Vec<&str> {
    text.split(',').collect()
}

fn number(text: &str) -> u32 {
    text.parse().unwrap_or_else(|_| panic!("no number: {text}"))
}

fn ports_of(text: &str) -> Vec<Value> {
    let ports = list(text);
    let is_one = ports.len() == 1;
    let port = |port: &str| {
        let (port, protocol) = port.split_once('/').expect("PORT/PROTOCOL");
        let mut value = json!({ "port": number(port), "protocol": protocol.to_uppercase() });
        if !is_one {
            value["name"] = json!(format!("{protocol}-{port}"));
        }
        value
    };
    ports.into_iter().map(port).collect()
}

fn service(name: &str, ips: &str, ports: &str, options: &[&str]) -> Value {
    let mut spec = json!({ "type": "ClusterIP", "ports": ports_of(ports) });
    match ips {
        "-" => {
            spec["type"] = json!("ExternalName");
            spec["externalName"] = json!("example.com");
        }
        ips => {
            let ips = list(ips);
            spec["clusterIP"] = json!(ips[0]);
            spec["clusterIPs"] = json!(ips);
        }
    }
    let mut service = json!({ "metadata": { "namespace": "default", "name": name } });
    let mut ingress = Vec::new();
    for option in options {
        let (key, value) = option.split_once('=').expect("KEY=VALUE");
        match key {
            "node-port" => {
                if spec["type"] == json!("ClusterIP") {
                    spec["type"] = json!("NodePort");
                }
                for (index, port) in list(value).into_iter().enumerate() {
                    spec["ports"][index]["nodePort"] = json!(number(port));
                }
            }
            "external-ip" => spec["externalIPs"] = json!(list(value)),
            "lb" => ingress.extend(list(value).into_iter().map(|ip| json!({ "ip": ip }))),
            "lb-proxy" => ingress.push(json!({ "ip": value, "ipMode": "Proxy" })),
            "sources" => spec["loadBalancerSourceRanges"] = json!(list(value)),
            "affinity" => {
                spec["sessionAffinity"] = json!("ClientIP");
                let client_ip = json!({ "timeoutSeconds": number(value) });
                spec["sessionAffinityConfig"] = json!({ "clientIP": client_ip });
            }
            "internal" => spec["internalTrafficPolicy"] = json!(value),
            "external" => spec["externalTrafficPolicy"] = json!(value),
            "health" => spec["healthCheckNodePort"] = json!(number(value)),
            "proxy-name" => {
                let label = "service.kubernetes.io/service-proxy-name";
                service["metadata"]["labels"] = json!({ label: value });
            }
            "label" => service["metadata"]["labels"] = json!({ value: "" }),
            key => panic!("no option of a Service: {key}"),
        }
    }
    if !ingress.is_empty() {
        spec["type"] = json!("LoadBalancer");
        service["status"] = json!({ "loadBalancer": { "ingress": ingress } });
    }
    service["spec"] = spec;
    service
}

fn endpoint(
    slices: &mut BTreeMap<String, Value>,
    service: &str,
    address: &str,
    node: &str,
    options: &[&str],
) {
    let (address, ports) = match value_of(options, "ports") {
        Some(ports) => (address, ports.to_owned()),
        None => {
            let (address, port) = address.rsplit_once(':').expect("ADDRESS:PORT");
            (address, format!(":{port}"))
        }
    };
    let address: std::net::IpAddr = address
        .trim_matches(['[', ']'])
        .parse()
        .unwrap_or_else(|_| panic!("no address: {address}"));
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let suffix = value_of(options, "slice").unwrap_or("a");
    let numbers = ports.replace(':', "").replace(',', "-");
    let mut name = format!("{service}-{suffix}-{numbers}");
    if address.is_ipv6() {
        name += "-v6";
    }
    let ports: Vec<Value> = list(&ports)
        .into_iter()
        .map(|port| {
            let (name, port) = port.split_once(':').expect("NAME:PORT");
            json!({ "name": name, "port": number(port) })
        })
        .collect();
    let slice = slices.entry(name.clone()).or_insert_with(|| {
        json!({
            "metadata": {
                "namespace": "default", "name": name,
                "labels": { "kubernetes.io/service-name": service },
            },
            "addressType": family, "ports": ports, "endpoints": [],
        })
    });
    let is = |word: &str| options.contains(&word);
    let serving = !is("not-ready") && !is("published");
    let ready = (serving && !is("terminating")) || is("published");
    let mut endpoint = json!({
        "addresses": [address],
        "conditions": { "ready": ready, "serving": serving, "terminating": is("terminating") },
    });
    if node != "-" {
        endpoint["nodeName"] = json!(node);
    }
    for (key, field) in [("zone", "forZones"), ("node", "forNodes")] {
        if let Some(names) = value_of(options, key) {
            let names: Vec<Value> = list(names).iter().map(|n| json!({ "name": n })).collect();
            endpoint["hints"][field] = json!(names);
        }
    }
    let endpoints = slice["endpoints"].as_array_mut().expect("endpoints");
    endpoints.push(endpoint);
}
