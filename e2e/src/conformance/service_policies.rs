//! Traffic policies, and whose address arrives at a pod.

use serde_json::json;

use super::{
    Test,
    bench::{Bench, Observer, place, pod},
    objects::{client as client_pod, host_network, on, server, service, service_with},
    site::{Site, workers},
};
use crate::{Answer, Client, OUTSIDE, wait_for};

/// The tests of this file.
pub const TESTS: &[(&str, Test)] = &[
    ("service_of_internal_policy_local_from_pods", internal_pods),
    ("service_of_internal_policy_local_from_nodes", internal_nodes),
    ("service_of_internal_policy_local_to_host_network", internal_host_network),
    ("service_of_external_policy_local_keeps_the_client", external),
    ("service_health_check_port_follows_the_external_policy", health_check_port),
    ("service_keeps_the_source_pods_address", source_address),
    ("service_leads_a_pod_back_to_itself", hairpin),
];

fn internal_pods(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "pol-pods");
    let [(with, _), (without, _)] = workers(site);
    bench.make_ready(&[
        service_with("web", json!({"internalTrafficPolicy": "Local"})),
        on(&with, server("one", "web")),
        on(&with, client_pod("near")),
        on(&without, client_pod("far")),
    ]);
    let ip = bench.ns.cluster_ip("web");
    bench.expect_pods(&pod("near"), &ip, &["one"]);
    bench.expect_dropped(&pod("far"), &ip);
    // With one on each node, each client has its own.
    bench.make_ready(&[on(&without, server("two", "web"))]);
    bench.expect_pods(&pod("far"), &ip, &["two"]);
    bench.expect_pods(&pod("near"), &ip, &["one"]);
}

fn internal_nodes(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "pol-nodes");
    let [(with, _), (without, _)] = workers(site);
    bench.make_ready(&[
        service_with("web", json!({"internalTrafficPolicy": "Local"})),
        on(&with, server("one", "web")),
    ]);
    let ip = bench.ns.cluster_ip("web");
    bench.expect_pods(&place(&with), &ip, &["one"]);
    bench.expect_dropped(&place(&without), &ip);
}

fn internal_host_network(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "pol-host");
    let [(with, _), (without, _)] = workers(site);
    let ports = json!([{"name": "http", "port": 80, "targetPort": 18_180}]);
    bench.make_ready(&[
        service_with("web", json!({"internalTrafficPolicy": "Local", "ports": ports})),
        on(&with, host_network("one", "web", 18_180)),
        on(&with, client_pod("near")),
        on(&without, client_pod("far")),
    ]);
    let ip = bench.ns.cluster_ip("web");
    for from in [pod("near"), place(&with)] {
        wait_for(&format!("{from} to reach its node's pod"), || {
            match bench.get(&from, &format!("{ip}/")) {
                Answer::Http(200, _) => Ok(()),
                other => Err(other.to_string()),
            }
        });
    }
    bench.expect_dropped(&pod("far"), &ip);
    bench.expect_dropped(&place(&without), &ip);
}

fn external(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "pol-external");
    let [(with, with_ip), (_, without_ip)] = workers(site);
    bench.make_ready(&[
        service_with("web", json!({"type": "NodePort", "externalTrafficPolicy": "Local"})),
        on(&with, server("one", "web")),
    ]);
    let port = bench.node_port("web", 0);
    let client_seen = Answer::Http(200, site.outside_address());
    let from = place(OUTSIDE);
    bench.expect(&from, &format!("{with_ip}:{port}/client.html"), &client_seen);
    bench.expect_dropped(&from, &format!("{without_ip}:{port}"));
    bench.patch_service("web", json!({"externalTrafficPolicy": "Cluster"}));
    bench.expect_pod(&from, &format!("{without_ip}:{port}"), "one");
}

fn health_check_port(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "pol-health");
    let [(with, with_ip), (_, without_ip)] = workers(site);
    bench.make_ready(&[
        service_with("web", json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"})),
        on(&with, server("one", "web")),
    ]);
    let health_port = || bench.ns.get(&["service", "web"])["spec"]["healthCheckNodePort"].clone();
    let port = health_port();
    assert!(port.is_u64(), "a port is given: {port}");
    let expect = |ip: &str, wanted: &dyn Fn(&Answer) -> bool| {
        wait_for(&format!("the health check on {ip}"), || {
            let answer = bench.get(&place(OUTSIDE), &format!("{ip}:{port}/healthz"));
            if wanted(&answer) { Ok(()) } else { Err(answer.to_string()) }
        });
    };
    expect(&with_ip, &|answer| matches!(answer, Answer::Http(200, _)));
    expect(&without_ip, &|answer| matches!(answer, Answer::Http(503, _)));
    bench.patch_service("web", json!({"externalTrafficPolicy": "Cluster"}));
    let after = health_port();
    assert!(after.is_null() || after == 0, "it is given back: {after}");
    expect(&with_ip, &|answer| matches!(answer, Answer::Refused));
    bench.patch_service("web", json!({"externalTrafficPolicy": "Local"}));
    assert!(health_port().is_u64(), "a port is given again");
}

fn source_address(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "pol-source");
    let [(with, _), (without, _)] = workers(site);
    bench.make_ready(&[
        service("web"),
        on(&with, server("one", "web")),
        on(&with, client_pod("near")),
        on(&without, client_pod("far")),
    ]);
    let url = format!("{}/client.html", bench.ns.cluster_ip("web"));
    for name in ["near", "far"] {
        let own = Answer::Http(200, bench.pod_ip(name));
        bench.expect(&pod(name), &url, &own);
    }
}

fn hairpin(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "pol-hairpin");
    let mut both = client_pod("one");
    both["metadata"]["labels"] = json!({"app": "web"});
    let web = server("one", "web")["spec"]["containers"][0].clone();
    both["spec"]["containers"].as_array_mut().expect("containers").push(web);
    let ask = json!({"name": "ask", "port": 90, "protocol": "UDP", "targetPort": "ask"});
    let ports = json!([{"name": "http", "port": 80}, ask]);
    bench.make_ready(&[service_with("web", json!({ "ports": ports })), both]);
    let ip = bench.ns.cluster_ip("web");
    let from: Observer = pod("one");
    bench.expect_pod(&from, &ip, "one");
    bench.expect_pod(&from, "web", "one");
    bench.expect_datagrams(&from, &format!("{ip}:90"), &["one"]);
}
