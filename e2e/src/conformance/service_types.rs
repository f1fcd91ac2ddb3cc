//! Node ports, external addresses, and Services that change their type.

use serde_json::json;

use super::{
    Test,
    bench::{Bench, place, pod},
    objects::{UDP_PORT, port, server, service, service_with},
    site::{DOMAIN, Site, dns_address, workers},
};
use crate::{Answer, Client, OUTSIDE, wait_for};

/// The tests of this file.
pub const TESTS: &[(&str, Test)] = &[
    ("service_node_port_answers_everywhere", node_port),
    ("service_external_name_becomes_cluster_ip", to_cluster_ip),
    ("service_external_name_becomes_node_port", to_node_port),
    ("service_cluster_ip_becomes_external_name", from_cluster_ip),
    ("service_node_port_becomes_external_name", from_node_port),
    ("service_external_ip_of_no_node", external_ip),
    ("service_node_port_of_two_protocols", two_protocols),
    ("service_node_port_moves", moved),
    ("service_node_port_is_given_once", collision),
    ("service_node_port_out_of_range_is_refused", out_of_range),
    ("service_node_port_is_free_after_delete", released),
];

/// An address that is for documentation, so nobody's.
const EXTERNAL_IP: &str = "203.0.113.250";

fn node_ports(name: &str) -> serde_json::Value {
    service_with(name, json!({"type": "NodePort"}))
}

/// Every node's address with this port.
fn on_all_nodes(site: &Site, port: u16) -> Vec<String> {
    let nodes = site.nodes().into_iter();
    nodes.map(|(_, ip)| format!("{ip}:{port}")).collect()
}

fn node_port(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-nodeport");
    bench.make_ready(&[node_ports("web"), server("one", "web"), super::objects::client("client")]);
    let ip = bench.ns.cluster_ip("web");
    bench.expect_pod(&pod("client"), "web", "one");
    bench.expect_pod(&pod("client"), &ip, "one");
    let mut observers = bench.places();
    observers.push(pod("client"));
    for to in on_all_nodes(site, bench.node_port("web", 0)) {
        for from in &observers {
            bench.expect_pod(from, &to, "one");
        }
    }
}

fn external_name(target: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"type": "ExternalName", "externalName": target},
    })
}

fn to_cluster_ip(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-name2ip");
    bench.make_ready(&[
        external_name("www.example.test"),
        server("one", "web"),
        super::objects::client("client"),
    ]);
    assert!(bench.ns.get(&["service", "web"])["spec"]["clusterIP"].is_null());
    let http = port("http", 80, 80, "TCP");
    let fields = json!({"type": "ClusterIP", "externalName": null, "selector": {"app": "web"}, "ports": [http]});
    bench.patch_service("web", fields);
    let ip = bench.ns.cluster_ip("web");
    assert!(!ip.is_empty(), "a cluster IP was assigned");
    bench.expect_endpoints("web", &[("one", 80)]);
    bench.expect_pod(&pod("client"), &ip, "one");
    bench.expect_pod(&pod("client"), "web", "one");
}

fn to_node_port(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-name2port");
    bench.make_ready(&[
        external_name("www.example.test"),
        server("one", "web"),
        super::objects::client("client"),
    ]);
    let http = port("http", 80, 80, "TCP");
    let fields = json!({"type": "NodePort", "externalName": null, "selector": {"app": "web"}, "ports": [http]});
    bench.patch_service("web", fields);
    let ip = bench.ns.cluster_ip("web");
    bench.expect_pod(&pod("client"), &ip, "one");
    bench.expect_pod(&pod("client"), "web", "one");
    for to in on_all_nodes(site, bench.node_port("web", 0)) {
        bench.expect_pod(&pod("client"), &to, "one");
        bench.expect_pod(&place(OUTSIDE), &to, "one");
    }
}

/// Makes `web` an external name for the Service `other`, and asks the DNS for it.
#[track_caller]
fn become_external_name(bench: &Bench<'_>, client: &Client) {
    let target = format!("other.{}.svc.{DOMAIN}", bench.ns.name);
    let fields = json!({"type": "ExternalName", "externalName": target, "clusterIP": null, "clusterIPs": null});
    bench.patch_service("web", fields);
    let service = bench.ns.get(&["service", "web"]);
    assert!(service["spec"]["clusterIP"].is_null(), "{service}");
    assert!(service["spec"]["ports"][0]["nodePort"].is_null(), "{service}");
    let other = bench.ns.cluster_ip("other");
    let dig = format!(
        "dig +short +time=2 +tries=1 web.{}.svc.{DOMAIN} @{}",
        bench.ns.name,
        dns_address(client)
    );
    wait_for("the external name's address", || {
        let lines = bench.shell(&pod("client"), &dig).ok_lines();
        if lines == [format!("{target}."), other.clone()] {
            Ok(())
        } else {
            Err(format!("{lines:?}"))
        }
    });
}

fn from_cluster_ip(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-ip2name");
    bench.make_ready(&[
        service("web"),
        service("other"),
        server("one", "web"),
        server("two", "other"),
        super::objects::client("client"),
    ]);
    let ip = bench.ns.cluster_ip("web");
    bench.expect_pod(&pod("client"), &ip, "one");
    become_external_name(&bench, client);
    wait_for("the former cluster IP to answer no more", || {
        match bench.get(&pod("client"), &format!("{ip}/")) {
            Answer::Http(code, _) => Err(code.to_string()),
            _ => Ok(()),
        }
    });
}

fn from_node_port(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-port2name");
    bench.make_ready(&[
        node_ports("web"),
        service("other"),
        server("one", "web"),
        server("two", "other"),
        super::objects::client("client"),
    ]);
    let port = bench.node_port("web", 0);
    let to = on_all_nodes(site, port).remove(0);
    bench.expect_pod(&place(OUTSIDE), &to, "one");
    become_external_name(&bench, client);
    bench.expect_refused(&place(OUTSIDE), &to);
    // The port is free for another.
    let ports = json!([{"name": "http", "port": 80, "nodePort": port}]);
    bench.make(&[service_with("next", json!({"type": "NodePort", "ports": ports}))]);
}

fn external_ip(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-external");
    bench.make_ready(&[
        service_with("web", json!({"externalIPs": [EXTERNAL_IP]})),
        server("one", "web"),
        super::objects::client("client"),
    ]);
    bench.expect_pod(&pod("client"), EXTERNAL_IP, "one");
    for (node, _) in workers(site) {
        bench.expect_pod(&place(&node), EXTERNAL_IP, "one");
    }
}

fn two_protocols(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-protoports");
    bench.make_ready(&[service("web"), server("one", "web"), super::objects::client("client")]);
    let mut ports = [port("tcp", 80, 80, "TCP"), port("udp", 80, UDP_PORT, "UDP")];
    for port in &mut ports {
        port["nodePort"] = json!(30_040);
    }
    bench.patch_service("web", json!({"type": "NodePort", "ports": ports}));
    for to in on_all_nodes(site, 30_040) {
        for from in [pod("client"), place(OUTSIDE)] {
            bench.expect_pod(&from, &to, "one");
            bench.expect_datagrams(&from, &to, &["one"]);
        }
    }
}

fn moved(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-moved");
    let udp = port("udp", 90, UDP_PORT, "UDP");
    let fields = json!({"type": "NodePort", "ports": [port("tcp", 80, 80, "TCP"), udp]});
    bench.make_ready(&[service_with("web", fields), server("one", "web")]);
    let from = place(OUTSIDE);
    let node = &workers(site)[0].1;
    let old = [0, 1].map(|index| format!("{node}:{}", bench.node_port("web", index)));
    bench.expect_pod(&from, &old[0], "one");
    bench.expect_datagrams(&from, &old[1], &["one"]);
    let (mut tcp, mut udp) = (port("tcp", 80, 80, "TCP"), port("udp", 90, UDP_PORT, "UDP"));
    (tcp["nodePort"], udp["nodePort"]) = (json!(30_041), json!(30_042));
    bench.patch_service("web", json!({ "ports": [tcp, udp] }));
    bench.expect_pod(&from, &format!("{node}:30041"), "one");
    bench.expect_datagrams(&from, &format!("{node}:30042"), &["one"]);
    bench.expect_refused(&from, &old[0]);
    bench.expect_datagrams(&from, &old[1], &["refused"]);
}

/// What creating a Service with this node port says, if it fails.
fn refusal(bench: &Bench<'_>, name: &str, port: u16) -> Option<String> {
    let ports = json!([{"name": "http", "port": 80, "nodePort": port}]);
    let service = service_with(name, json!({"type": "NodePort", "ports": ports}));
    let output = bench.ns.run_with_input(&["create", "-f", "-"], &service.to_string());
    (output.code != 0).then_some(output.stderr)
}

fn collision(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-collision");
    bench.make(&[node_ports("first")]);
    let port = bench.node_port("first", 0);
    let error = refusal(&bench, "second", port).expect("the port is taken");
    assert!(error.contains("already allocated"), "{error}");
    bench.delete("service", &["first"]);
    assert_eq!(refusal(&bench, "second", port), None);
}

fn out_of_range(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-range");
    bench.make(&[node_ports("web")]);
    let error = refusal(&bench, "low", 29_999).expect("it is out of range");
    assert!(error.contains("30000-32767"), "{error}");
    let ports = json!([{"name": "http", "port": 80, "nodePort": 32_768}]);
    let patch = json!({"spec": {"ports": ports}}).to_string();
    let words = ["patch", "service", "web", "--type=merge", "-p", &patch];
    let error = bench.ns.run(&words).failed();
    assert!(error.contains("30000-32767"), "{error}");
}

fn released(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-released");
    bench.make_ready(&[node_ports("web"), server("one", "web")]);
    let port = bench.node_port("web", 0);
    let to = format!("{}:{port}", workers(site)[0].1);
    bench.expect_pod(&place(OUTSIDE), &to, "one");
    bench.delete("service", &["web"]);
    bench.expect_refused(&place(OUTSIDE), &to);
    assert_eq!(refusal(&bench, "web", port), None);
    bench.expect_pod(&place(OUTSIDE), &to, "one");
}
