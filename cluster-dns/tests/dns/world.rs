//! Objects written in one line each. Never part of the server.
//!
//! ```text
//! svc default/web 10.96.0.20 http:80/tcp     Service with a cluster IP and a port
//! svc default/db None notready               headless, publishNotReadyAddresses
//! svc default/out external=example.com       ExternalName
//! eps default/db-1 db 10.244.1.2/a 10.244.1.3! http:8080/tcp
//!                                            slice db-1 of Service db: an endpoint with
//!                                            hostname a, one that is not ready, a port
//! ```

use cluster_dns::table::Table;
use hickory_proto::rr::Name;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

/// The domain of all tests.
pub fn domain() -> Name {
    Name::from_ascii("cluster.local.").unwrap()
}

/// An object of either kind.
#[derive(Clone, Debug)]
pub enum Object {
    Service(Box<Service>),
    Slice(Box<EndpointSlice>),
}

/// A table holding these lines.
pub fn table(lines: &str) -> Table {
    let mut table = Table::new(1);
    for object in objects(lines) {
        apply(&mut table, object);
    }
    table
}

pub fn apply(table: &mut Table, object: Object) {
    match object {
        Object::Service(service) => table.apply_service(*service),
        Object::Slice(slice) => table.apply_slice(*slice),
    }
}

pub fn objects(lines: &str) -> Vec<Object> {
    let lines = lines.lines().map(str::trim);
    lines.filter(|line| !line.is_empty()).map(object).collect()
}

/// Reads one line.
pub fn object(line: &str) -> Object {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (namespace, name) = words[1].split_once('/').expect(line);
    match words[0] {
        "svc" => Object::Service(Box::new(service(namespace, name, &words[2..]))),
        "eps" => Object::Slice(Box::new(slice(namespace, name, words[2], &words[3..]))),
        _ => panic!("neither svc nor eps: {line}"),
    }
}

fn service(namespace: &str, name: &str, words: &[&str]) -> Service {
    let mut spec = json!({});
    let mut ports = Vec::new();
    let mut addresses = Vec::new();
    for word in words {
        if let Some(external) = word.strip_prefix("external=") {
            spec["type"] = json!("ExternalName");
            spec["externalName"] = json!(external);
        } else if *word == "notready" {
            spec["publishNotReadyAddresses"] = json!(true);
        } else if let Some(port) = port(word) {
            ports.push(port);
        } else {
            addresses.push(*word);
        }
    }
    if let Some(first) = addresses.first() {
        spec["clusterIP"] = json!(first);
        spec["clusterIPs"] = json!(addresses);
    }
    spec["ports"] = json!(ports);
    let metadata = json!({"namespace": namespace, "name": name});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

fn slice(namespace: &str, name: &str, owner: &str, words: &[&str]) -> EndpointSlice {
    let mut ports = Vec::new();
    let mut endpoints = Vec::new();
    for word in words {
        if let Some(port) = port(word) {
            ports.push(port);
            continue;
        }
        let ready = !word.ends_with('!');
        let word = word.trim_end_matches('!');
        let (address, hostname) = match word.split_once('/') {
            Some((address, hostname)) => (address, Some(hostname)),
            None => (word, None),
        };
        endpoints.push(json!({
            "addresses": [address], "hostname": hostname, "conditions": {"ready": ready},
        }));
    }
    serde_json::from_value(json!({
        "metadata": {
            "namespace": namespace, "name": name,
            "labels": {"kubernetes.io/service-name": owner},
        },
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    }))
    .unwrap()
}

/// `http:80/tcp` or `:80/tcp`.
fn port(word: &str) -> Option<Value> {
    let (rest, protocol) = word.split_once('/')?;
    let (name, number) = rest.split_once(':')?;
    let number: u16 = number.parse().ok()?;
    let name = (!name.is_empty()).then_some(name);
    Some(json!({"name": name, "port": number, "protocol": protocol.to_uppercase()}))
}
