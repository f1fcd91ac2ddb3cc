//! Objects from lines of text, and slices and Endpoints as lines of text.
//!
//! Never decides anything: a line is an object, an object is a line.

#![allow(dead_code, reason = "each test file uses its part of the notation")]

use std::collections::BTreeMap;
use std::sync::Arc;

use endpoints_controller::desired::{Observed, reconcile};
use endpoints_controller::pack::Plan;
use k8s_openapi::api::core::v1::{Endpoints, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

/// What the lines describe.
pub struct Scene {
    pub service: Service,
    pub pods: Vec<Arc<Pod>>,
    pub nodes: BTreeMap<String, Arc<Node>>,
}

/// Reads lines of
/// `svc NAME PORT... [headless] [publish] [dual] [labels=k:v]` with `PORT` = `name:80>8080` or `name:80>portname`,
/// `pod NAME IP[,IP6] NODE [ready] [leaving] [done] [portname=8080]... [host=NAME]`,
/// `node NAME [zone]`.
pub fn scene(text: &str) -> Scene {
    let mut service = None;
    let (mut pods, mut nodes) = (Vec::new(), BTreeMap::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "svc" => service = Some(parse_service(&words)),
            "pod" => pods.push(Arc::new(parse_pod(&words))),
            "node" => {
                let zone = words.get(2).map(|zone| json!({"topology.kubernetes.io/zone": zone}));
                let node = json!({"metadata": {"name": words[1], "labels": zone}});
                nodes.insert(words[1].to_owned(), Arc::new(from(node)));
            }
            other => panic!("no such object: {other}"),
        }
    }
    Scene { service: service.expect("a line begins with svc"), pods, nodes }
}

fn from<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("the object is well formed")
}

fn parse_service(words: &[&str]) -> Service {
    let has = |flag: &str| words.contains(&flag);
    let port = |word: &&str| {
        let (name, rest) = word.split_once(':')?;
        let (port, target) = rest.split_once('>')?;
        let target = target.parse::<i32>().map_or_else(|_| json!(target), |number| json!(number));
        Some(
            json!({"name": name, "port": port.parse::<i32>().ok()?, "targetPort": target, "protocol": "TCP"}),
        )
    };
    let ports: Vec<Value> = words[2..].iter().filter_map(port).collect();
    let labels: BTreeMap<&str, &str> =
        words.iter().filter_map(|word| word.strip_prefix("labels=")?.split_once(':')).collect();
    let families = if has("dual") { json!(["IPv4", "IPv6"]) } else { json!(["IPv4"]) };
    from(json!({
        "metadata": {"name": words[1], "namespace": "default", "uid": "service-uid", "labels": labels},
        "spec": {
            "selector": {"app": "web"},
            "ports": ports,
            "clusterIP": if has("headless") { "None" } else { "10.96.0.10" },
            "ipFamilies": families,
            "publishNotReadyAddresses": has("publish"),
        },
    }))
}

fn parse_pod(words: &[&str]) -> Pod {
    let has = |flag: &str| words.contains(&flag);
    let ports: Vec<Value> = words[4..]
        .iter()
        .filter_map(|word| word.split_once('='))
        .filter_map(|(name, port)| {
            Some(json!({"name": name, "containerPort": port.parse::<i32>().ok()?}))
        })
        .collect();
    let hostname = words.iter().find_map(|word| word.strip_prefix("host="));
    let ips: Vec<Value> =
        words[2].split(',').filter(|ip| *ip != "-").map(|ip| json!({"ip": ip})).collect();
    from(json!({
        "metadata": {
            "name": words[1], "namespace": "default", "uid": format!("uid-{}", words[1]), "labels": {"app": "web"},
            "deletionTimestamp": has("leaving").then_some("2026-01-01T00:00:00Z"),
        },
        "spec": {
            "nodeName": words[3], "containers": [{"name": "c", "ports": ports}],
            "hostname": hostname, "subdomain": hostname.map(|_| "web"),
        },
        "status": {
            "phase": if has("done") { "Succeeded" } else { "Running" },
            "podIPs": ips,
            "conditions": [{"type": "Ready", "status": if has("ready") { "True" } else { "False" }}],
        },
    }))
}

/// Plans for a scene.
pub fn plan(scene: &Scene, slices: &[Arc<EndpointSlice>], max: usize) -> Plan {
    let Scene { service, pods, nodes } = scene;
    reconcile(&Observed { service, pods, nodes, slices, trigger_time: None }, max)
}

/// What the API server holds after a plan; new slices are named by their number.
pub fn apply(plan: Plan, slices: &[Arc<EndpointSlice>]) -> Vec<Arc<EndpointSlice>> {
    let name =
        |slice: &EndpointSlice| slice.metadata.name.clone().expect("a stored slice has a name");
    let mut held: BTreeMap<String, Arc<EndpointSlice>> =
        slices.iter().map(|slice| (name(slice), slice.clone())).collect();
    for gone in &plan.delete {
        assert!(held.remove(&name(gone)).is_some(), "a deleted slice existed");
    }
    for changed in plan.update {
        let key = name(&changed);
        assert!(held.insert(key, Arc::new(changed)).is_some(), "an updated slice existed");
    }
    for mut slice in plan.create {
        let number = (0..)
            .find(|number| !held.contains_key(&format!("web-{number}")))
            .expect("names never run out");
        slice.metadata.name = Some(format!("web-{number}"));
        held.insert(format!("web-{number}"), Arc::new(slice));
    }
    held.into_values().collect()
}

/// A slice as a line: `NAME TYPE [ports] address(flags)@node/zone ...`, flags r s t.
pub fn show(slice: &EndpointSlice) -> String {
    let ports: Vec<String> = slice
        .ports
        .iter()
        .flatten()
        .map(|port| format!("{}:{}", port.name.as_deref().unwrap_or("-"), port.port.unwrap_or(0)))
        .collect();
    let mut line = format!(
        "{} {} [{}]",
        slice.metadata.name.as_deref().unwrap_or("-"),
        slice.address_type,
        ports.join(" ")
    );
    for endpoint in slice.endpoints.iter().flatten() {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        let flag = |set: Option<bool>, letter: &str| {
            if set == Some(true) { letter.to_owned() } else { String::new() }
        };
        let flags = flag(conditions.ready, "r")
            + &flag(conditions.serving, "s")
            + &flag(conditions.terminating, "t");
        line += &format!(" {}({flags})", endpoint.addresses.join(","));
        line += &endpoint.node_name.as_ref().map(|node| format!("@{node}")).unwrap_or_default();
        line += &endpoint.zone.as_ref().map(|zone| format!("/{zone}")).unwrap_or_default();
        line +=
            &endpoint.hostname.as_ref().map(|name| format!(" named {name}")).unwrap_or_default();
    }
    line
}

/// The subsets of Endpoints, a line each: `[ports] ready... | not ready...`.
pub fn show_endpoints(endpoints: &Endpoints) -> String {
    let line = |subset: &k8s_openapi::api::core::v1::EndpointSubset| {
        let ports: Vec<String> = subset
            .ports
            .iter()
            .flatten()
            .map(|port| format!("{}:{}", port.name.as_deref().unwrap_or("-"), port.port))
            .collect();
        let ips = |list: &Option<Vec<k8s_openapi::api::core::v1::EndpointAddress>>| {
            list.iter().flatten().map(|address| address.ip.clone()).collect::<Vec<_>>().join(" ")
        };
        format!(
            "[{}] {} | {}",
            ports.join(" "),
            ips(&subset.addresses),
            ips(&subset.not_ready_addresses)
        )
    };
    endpoints.subsets.iter().flatten().map(line).collect::<Vec<_>>().join("\n")
}

/// Compares texts line by line, blind to indentation.
#[track_caller]
pub fn same(actual: &str, expected: &str) {
    let lines = |text: &str| {
        text.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(lines(actual), lines(expected), "\nactual:\n{actual}\n");
}
