//! `sessionAffinity: ClientIP`: kept, switched, and forgotten in time.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

use super::{
    Test,
    bench::{Bench, Observer, REQUESTS, place, pod},
    objects::{server, service_with},
    site::{Site, workers},
};
use crate::{Client, OUTSIDE, wait_at_pace, wait_for};

/// The tests of this file.
pub const TESTS: &[(&str, Test)] = &[
    ("service_affinity_of_a_cluster_ip", cluster_ip),
    ("service_affinity_of_a_node_port", node_port),
    ("service_affinity_of_a_cluster_ip_switched", switched),
    ("service_affinity_of_a_node_port_switched", port_switched),
    ("service_affinity_of_a_cluster_ip_ends_in_time", timeout),
    ("service_affinity_of_a_node_port_ends_in_time", port_timeout),
    ("service_affinity_of_a_headless_service_is_kept_in_the_api", headless),
];

/// The short timeout, in seconds.
const TIMEOUT_S: u64 = 2;
const PODS: [&str; 3] = ["one", "two", "three"];

/// A bench with a Service of three pods, and a client.
fn bench<'a>(site: &'a Site, client: &Client, name: &str, fields: Value) -> Bench<'a> {
    let bench = Bench::new(site, client, name);
    let mut objects = vec![service_with("web", fields), super::objects::client("client")];
    objects.extend(PODS.map(|pod| server(pod, "web")));
    bench.make_ready(&objects);
    bench.expect_endpoints("web", &PODS.map(|pod| (pod, 80)));
    bench
}

/// Waits until all of an observer's requests meet one pod, and that it stays with it.
#[track_caller]
fn expect_sticky(bench: &Bench<'_>, from: &Observer, to: &str) {
    let first = wait_for(&format!("{from} to stay with one pod"), || {
        let seen = bench.answering(from, to, REQUESTS);
        match seen.first() {
            Some(only) if seen.len() == 1 && PODS.contains(&only.as_str()) => Ok(seen),
            _ => Err(format!("{seen:?}")),
        }
    });
    assert_eq!(bench.answering(from, to, REQUESTS), first, "{from} → {to}");
}

/// A node's address with the Service's port.
fn through_node(bench: &Bench<'_>) -> String {
    let port = bench.node_port("web", 0);
    format!("{}:{port}", workers(bench.site)[0].1)
}

fn cluster_ip(site: &Site, client: &Client) {
    let bench = bench(site, client, "aff-ip", json!({"sessionAffinity": "ClientIP"}));
    let ip = bench.ns.cluster_ip("web");
    expect_sticky(&bench, &pod("client"), &ip);
    expect_sticky(&bench, &pod("client"), "web");
    expect_sticky(&bench, &place(&workers(site)[1].0), &ip);
}

fn node_port(site: &Site, client: &Client) {
    let fields = json!({"type": "NodePort", "sessionAffinity": "ClientIP"});
    let bench = bench(site, client, "aff-port", fields);
    let to = through_node(&bench);
    expect_sticky(&bench, &pod("client"), &to);
    expect_sticky(&bench, &place(OUTSIDE), &to);
    expect_sticky(&bench, &pod("client"), &bench.ns.cluster_ip("web"));
}

fn switch(bench: &Bench<'_>, from: &Observer, to: &str) {
    bench.expect_pods(from, to, &PODS);
    bench.patch_service("web", json!({"sessionAffinity": "ClientIP"}));
    expect_sticky(bench, from, to);
    bench.patch_service("web", json!({"sessionAffinity": "None"}));
    bench.expect_pods(from, to, &PODS);
    bench.patch_service("web", json!({"sessionAffinity": "ClientIP"}));
    expect_sticky(bench, from, to);
}

fn switched(site: &Site, client: &Client) {
    let bench = bench(site, client, "aff-switch", json!({}));
    switch(&bench, &pod("client"), &bench.ns.cluster_ip("web"));
}

fn port_switched(site: &Site, client: &Client) {
    let bench = bench(site, client, "aff-portswitch", json!({"type": "NodePort"}));
    switch(&bench, &place(OUTSIDE), &through_node(&bench));
}

fn forget(bench: &Bench<'_>, from: &Observer, to: &str) {
    let mut met = BTreeSet::new();
    let unused = Duration::from_secs(TIMEOUT_S + 1);
    wait_at_pace("the choice to be forgotten and another pod met", unused, || {
        let seen = bench.answering(from, to, 10);
        if seen.len() != 1 {
            return Err(format!("{seen:?}"));
        }
        met.extend(seen);
        if met.len() > 1 { Ok(()) } else { Err(format!("{met:?}")) }
    });
}

fn short(kind: &str) -> Value {
    json!({
        "type": kind, "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": TIMEOUT_S}},
    })
}

fn timeout(site: &Site, client: &Client) {
    let bench = bench(site, client, "aff-time", short("ClusterIP"));
    let ip = bench.ns.cluster_ip("web");
    forget(&bench, &pod("client"), &ip);
}

fn port_timeout(site: &Site, client: &Client) {
    let bench = bench(site, client, "aff-porttime", short("NodePort"));
    let to = through_node(&bench);
    forget(&bench, &place(OUTSIDE), &to);
}

/// There is no address to be sticky at: names lead to every pod.
fn headless(site: &Site, client: &Client) {
    let fields = json!({"clusterIP": "None", "sessionAffinity": "ClientIP"});
    let bench = bench(site, client, "aff-headless", fields);
    let service = bench.ns.get(&["service", "web"]);
    assert_eq!(service["spec"]["clusterIP"], "None");
    assert_eq!(service["spec"]["sessionAffinity"], "ClientIP");
    let seconds = &service["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
    assert_eq!(seconds, 10_800);
    let seen = bench.answering(&pod("client"), "web", 1);
    assert!(seen.iter().all(|name| PODS.contains(&name.as_str())), "{seen:?}");
}
