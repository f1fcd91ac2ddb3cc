//! Pods, nodes and Services reach each other, by HTTP and by UDP.

use serde_json::json;

use super::{
    Test,
    bench::{Bench, Observer, place, pod},
    objects::{UDP_PORT, client as client_pod, host_network, on, port, server, service_with},
    site::{Site, workers},
};
use crate::{Answer, Client, OUTSIDE, wait_for};

/// The tests of this file.
pub const TESTS: &[(&str, Test)] = &[
    ("networking_pod_to_pod_http", pod_http),
    ("networking_pod_to_pod_udp", pod_udp),
    ("networking_node_to_pod_http", node_http),
    ("networking_node_to_pod_udp", node_udp),
    ("networking_pod_to_service", pod_service),
    ("networking_node_to_service", node_service),
    ("networking_endpoint_to_service", endpoint_service),
    ("networking_two_services_over_the_same_pods", same_selector),
    ("networking_service_follows_a_deleted_endpoint", deleted_endpoint),
    ("networking_large_requests", large),
    ("networking_service_of_host_network_pods", of_host_network),
    ("networking_to_and_from_a_pod_that_ends", ending),
];

/// A server and a client on each of two nodes, behind a Service with a node port.
fn bench<'a>(site: &'a Site, client: &Client, name: &str) -> Bench<'a> {
    let bench = Bench::new(site, client, name);
    let [(first, _), (second, _)] = workers(site);
    let ports = [port("http", 80, 80, "TCP"), port("ask", 90, UDP_PORT, "UDP")];
    let fields = json!({"type": "NodePort", "ports": ports});
    bench.make_ready(&[
        service_with("web", fields),
        on(&first, server("one", "web")),
        on(&second, server("two", "web")),
        on(&first, client_pod("client-1")),
        on(&second, client_pod("client-2")),
    ]);
    bench.expect_endpoints("web", &[("one", 80), ("two", 80), ("one", 90), ("two", 90)]);
    bench
}

fn clients() -> [Observer; 2] {
    [pod("client-1"), pod("client-2")]
}

fn nodes(site: &Site) -> [Observer; 2] {
    workers(site).map(|(name, _)| place(&name))
}

fn direct(bench: &Bench<'_>, observers: &[Observer], udp: bool) {
    for target in ["one", "two"] {
        let ip = bench.pod_ip(target);
        for from in observers {
            if udp {
                bench.expect_datagrams(from, &format!("{ip}:{UDP_PORT}"), &[target]);
            } else {
                bench.expect_pod(from, &ip, target);
            }
        }
    }
}

fn pod_http(site: &Site, client: &Client) {
    direct(&bench(site, client, "net-podhttp"), &clients(), false);
}

fn pod_udp(site: &Site, client: &Client) {
    direct(&bench(site, client, "net-podudp"), &clients(), true);
}

fn node_http(site: &Site, client: &Client) {
    direct(&bench(site, client, "net-nodehttp"), &nodes(site), false);
}

fn node_udp(site: &Site, client: &Client) {
    direct(&bench(site, client, "net-nodeudp"), &nodes(site), true);
}

/// By its cluster IP and by a node port, HTTP and UDP: both pods answer.
fn through_service(bench: &Bench<'_>, observers: &[Observer]) {
    let ip = bench.ns.cluster_ip("web");
    let node = &workers(bench.site)[1].1;
    let [http, ask] = [0, 1].map(|index| bench.node_port("web", index));
    for from in observers {
        bench.expect_pods(from, &ip, &["one", "two"]);
        bench.expect_datagrams(from, &format!("{ip}:90"), &["one", "two"]);
        bench.expect_pods(from, &format!("{node}:{http}"), &["one", "two"]);
        bench.expect_datagrams(from, &format!("{node}:{ask}"), &["one", "two"]);
    }
}

fn pod_service(site: &Site, client: &Client) {
    through_service(&bench(site, client, "net-podsvc"), &clients()[..1]);
}

fn node_service(site: &Site, client: &Client) {
    through_service(&bench(site, client, "net-nodesvc"), &nodes(site)[..1]);
}

fn endpoint_service(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "net-endsvc");
    let mut objects = vec![service_with("web", json!({"type": "NodePort"}))];
    for (name, (node, _)) in ["one", "two"].into_iter().zip(workers(site)) {
        let mut both = on(&node, client_pod(name));
        both["metadata"]["labels"] = json!({"app": "web"});
        let web = server(name, "web")["spec"]["containers"][0].clone();
        let containers = both["spec"]["containers"].as_array_mut();
        containers.expect("containers").push(web);
        objects.push(both);
    }
    bench.make_ready(&objects);
    let ip = bench.ns.cluster_ip("web");
    let through_node = format!("{}:{}", workers(site)[0].1, bench.node_port("web", 0));
    for from in [pod("one"), pod("two")] {
        bench.expect_pods(&from, &ip, &["one", "two"]);
        bench.expect_pods(&from, &through_node, &["one", "two"]);
    }
}

fn same_selector(site: &Site, client: &Client) {
    let bench = bench(site, client, "net-same");
    let mut second = service_with("second", json!({}));
    second["spec"]["selector"] = json!({"app": "web"});
    bench.make(&[second]);
    bench.expect_endpoints("second", &[("one", 80), ("two", 80)]);
    for service in ["web", "second"] {
        let ip = bench.ns.cluster_ip(service);
        bench.expect_pods(&pod("client-1"), &ip, &["one", "two"]);
    }
    bench.delete("service", &["second"]);
    let ip = bench.ns.cluster_ip("web");
    bench.expect_pods(&pod("client-1"), &ip, &["one", "two"]);
}

fn deleted_endpoint(site: &Site, client: &Client) {
    let bench = bench(site, client, "net-deleted");
    let ip = bench.ns.cluster_ip("web");
    bench.expect_pods(&pod("client-1"), &ip, &["one", "two"]);
    bench.delete("pod", &["two"]);
    for from in clients() {
        bench.expect_pods(&from, &ip, &["one"]);
        bench.expect_datagrams(&from, &format!("{ip}:90"), &["one"]);
    }
}

fn large(site: &Site, client: &Client) {
    const BYTES: usize = 2_000;
    let bench = bench(site, client, "net-large");
    let ip = bench.ns.cluster_ip("web");
    let padding = "x".repeat(BYTES);
    bench.delete("pod", &["two"]);
    bench.expect_pods(&pod("client-2"), &ip, &["one"]);
    let wanted = Answer::Http(200, "one".to_owned());
    let url = format!("{ip}/hostname.html?{padding}");
    bench.expect(&pod("client-2"), &url, &wanted);
    // More than a packet holds: it comes in fragments.
    let script =
        format!("exec 3<>/dev/udp/{ip}/90; printf '%s' {padding} >&3; timeout 1 head -n1 <&3");
    wait_for("an answer to a large datagram", || {
        let output = bench.shell(&pod("client-2"), &script);
        if output.stdout.starts_with("one ") { Ok(()) } else { Err(format!("{output:?}")) }
    });
}

fn of_host_network(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "net-host");
    let [(first, _), (second, _)] = workers(site);
    let ports = json!([{"name": "http", "port": 80, "targetPort": 18_181}]);
    bench.make_ready(&[
        service_with("web", json!({"type": "NodePort", "ports": ports})),
        on(&first, host_network("one", "web", 18_181)),
        on(&second, host_network("two", "web", 18_181)),
        on(&first, client_pod("client")),
    ]);
    bench.expect_endpoints("web", &[("one", 18_181), ("two", 18_181)]);
    let ip = bench.ns.cluster_ip("web");
    // In the node's network a pod has the node's name.
    let names = [first.as_str(), second.as_str()];
    for from in [pod("client"), place(&first), place(&second)] {
        bench.expect_pods(&from, &ip, &names);
    }
    let through_node = format!("{}:{}", workers(site)[0].1, bench.node_port("web", 0));
    bench.expect_pods(&place(OUTSIDE), &through_node, &names);
}

/// A pod that ends has its network until it has ended.
fn ending(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "net-ending");
    let [(first, _), (second, _)] = workers(site);
    let mut leaving = on(&first, super::objects::lingering(server("leaving", "web")));
    // The shell goes on for as long as the server does.
    let mut tools = client_pod("x")["spec"]["containers"][0].clone();
    tools["command"] = json!(["sh", "-c", "trap '' TERM; sleep 1000 & wait; wait"]);
    let containers = leaving["spec"]["containers"].as_array_mut();
    containers.expect("containers").insert(0, tools);
    bench.make_ready(&[
        leaving,
        on(&second, server("other", "other")),
        on(&second, client_pod("client")),
    ]);
    let (ip, other) = (bench.pod_ip("leaving"), bench.pod_ip("other"));
    bench.expect_pod(&pod("client"), &ip, "leaving");
    bench.ns.run(&["delete", "pod", "leaving", "--wait=false"]).ok();
    bench.expect_pod(&pod("client"), &ip, "leaving");
    bench.expect_pod(&pod("leaving"), &other, "other");
}
