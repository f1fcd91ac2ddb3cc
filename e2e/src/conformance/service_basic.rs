//! Services from their first endpoint to their end.

use serde_json::json;

use super::{
    Test,
    bench::{Bench, place, pod},
    objects::{UDP_PORT, port, server, server_on, service, service_with},
    site::{Site, kubernetes_service, workers},
};
use crate::{Answer, Client, wait_for};

/// The tests of this file.
pub const TESTS: &[(&str, Test)] = &[
    ("service_kubernetes_is_there_and_secure", kubernetes),
    ("service_found_in_a_list_of_all_namespaces", listed),
    ("service_basic_endpoint_from_pods", basic),
    ("service_multiport_endpoints_from_pods", multiport),
    ("service_one_port_number_two_protocols", two_protocols),
    ("service_follows_added_and_deleted_ports", changed_ports),
    ("service_up_and_down_beside_others", up_and_down),
    ("service_works_after_it_was_made_again", made_again),
    ("service_named_target_port_differs_among_pods", named_ports),
    ("service_leads_to_a_sidecars_port", sidecar),
    ("service_of_sctp_is_taken_and_has_endpoints", sctp),
    ("service_endpoints_come_soon_for_many", many),
];

fn kubernetes(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-kubernetes");
    bench.make_ready(&[super::objects::client("client")]);
    let service = kubernetes_service(client);
    let spec = &service["spec"];
    assert_eq!(spec["type"], "ClusterIP", "{service}");
    let port = &spec["ports"][0];
    assert_eq!((&port["name"], &port["port"]), (&json!("https"), &json!(443)));
    for host in ["kubernetes.default.svc", "kubernetes.default"] {
        let url = format!("https://{host}/version");
        let curl = bench.ns.exec("client", &["curl", "-sSk", "--max-time", "5", &url]);
        assert!(curl.stdout.contains("gitVersion"), "{curl:?}");
    }
}

fn listed(_site: &Site, client: &Client) {
    let text = client.run(&["get", "services", "-A", "-o", "json"]).ok();
    let list: serde_json::Value = serde_json::from_str(&text).expect("a list");
    let found = list["items"].as_array().into_iter().flatten();
    let mut named = found.filter(|it| it["metadata"]["name"] == "kubernetes");
    assert!(named.any(|it| it["metadata"]["namespace"] == "default"), "{text}");
}

fn basic(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-basic");
    bench.make_ready(&[service("basic"), super::objects::client("client")]);
    let ip = bench.ns.cluster_ip("basic");
    bench.expect_endpoints("basic", &[]);
    bench.make_ready(&[server("one", "basic")]);
    bench.expect_endpoints("basic", &[("one", 80)]);
    bench.expect_pods(&pod("client"), &ip, &["one"]);
    bench.make_ready(&[server("two", "basic")]);
    bench.expect_endpoints("basic", &[("one", 80), ("two", 80)]);
    bench.expect_pods(&pod("client"), &ip, &["one", "two"]);
    bench.delete("pod", &["one"]);
    bench.expect_endpoints("basic", &[("two", 80)]);
    bench.expect_pods(&pod("client"), &ip, &["two"]);
    bench.delete("pod", &["two"]);
    bench.expect_endpoints("basic", &[]);
    bench.expect_refused(&pod("client"), &ip);
}

fn multiport(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-multiport");
    let ports = [port("one", 80, "p1", "TCP"), port("two", 81, "p2", "TCP")];
    bench.make_ready(&[
        service_with("multi", json!({ "ports": ports })),
        super::objects::client("client"),
    ]);
    let ip = bench.ns.cluster_ip("multi");
    let (to_one, to_two) = (format!("{ip}:80"), format!("{ip}:81"));
    bench.expect_endpoints("multi", &[]);
    let named = |name: &str, port_name: &str, number| {
        let mut pod = server_on(name, "multi", number);
        pod["spec"]["containers"][0]["ports"][0]["name"] = json!(port_name);
        pod
    };
    bench.make_ready(&[named("one", "p1", 100)]);
    bench.expect_endpoints("multi", &[("one", 100)]);
    bench.expect_pods(&pod("client"), &to_one, &["one"]);
    bench.expect_refused(&pod("client"), &to_two);
    bench.make_ready(&[named("two", "p2", 101)]);
    bench.expect_endpoints("multi", &[("one", 100), ("two", 101)]);
    bench.expect_pods(&pod("client"), &to_one, &["one"]);
    bench.expect_pods(&pod("client"), &to_two, &["two"]);
    bench.delete("pod", &["one"]);
    bench.expect_endpoints("multi", &[("two", 101)]);
    bench.expect_refused(&pod("client"), &to_one);
    bench.delete("pod", &["two"]);
    bench.expect_endpoints("multi", &[]);
    bench.expect_refused(&pod("client"), &to_two);
}

fn two_protocols(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-protocols");
    let (tcp, udp) = (port("tcp", 80, 80, "TCP"), port("udp", 80, UDP_PORT, "UDP"));
    let ports = json!({ "ports": [tcp, udp] });
    bench.make_ready(&[
        service_with("both", ports),
        server("one", "both"),
        super::objects::client("client"),
    ]);
    let ip = bench.ns.cluster_ip("both");
    let to = format!("{ip}:80");
    let from = pod("client");
    bench.expect_pods(&from, &to, &["one"]);
    bench.expect_datagrams(&from, &to, &["one"]);
    bench.patch_service("both", json!({ "ports": [port("tcp", 80, 80, "TCP")] }));
    bench.expect_datagrams(&from, &to, &["refused"]);
    bench.expect_pods(&from, &to, &["one"]);
    let udp = port("udp", 80, UDP_PORT, "UDP");
    bench.patch_service("both", json!({ "ports": [udp] }));
    bench.expect_datagrams(&from, &to, &["one"]);
    bench.expect_refused(&from, &to);
}

fn changed_ports(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-ports");
    let mut both = server("one", "ports");
    let mut second = both["spec"]["containers"][0].clone();
    second["name"] = json!("other");
    second["args"] = json!(["--port", "8080"]);
    second["ports"] = json!([{"name": "other", "containerPort": 8080}]);
    second["readinessProbe"]["httpGet"]["port"] = json!(8080);
    both["spec"]["containers"].as_array_mut().expect("containers").push(second);
    bench.make_ready(&[service("ports"), both, super::objects::client("client")]);
    let ip = bench.ns.cluster_ip("ports");
    let from = pod("client");
    bench.expect_endpoints("ports", &[("one", 80)]);
    bench.expect_pods(&from, &format!("{ip}:80"), &["one"]);
    let (http, other) = (port("http", 80, 80, "TCP"), port("other", 81, 8080, "TCP"));
    bench.patch_service("ports", json!({ "ports": [http, other] }));
    bench.expect_endpoints("ports", &[("one", 80), ("one", 8080)]);
    bench.expect_pods(&from, &format!("{ip}:81"), &["one"]);
    let other = port("other", 81, 8080, "TCP");
    bench.patch_service("ports", json!({ "ports": [other] }));
    bench.expect_endpoints("ports", &[("one", 8080)]);
    bench.expect_pods(&from, &format!("{ip}:81"), &["one"]);
    bench.expect_refused(&from, &format!("{ip}:80"));
}

fn up_and_down(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-updown");
    let from = place(&workers(site)[0].0);
    let pair = |name: &str| [service(name), server(&format!("{name}-pod"), name)];
    bench.make_ready(&[pair("one"), pair("two")].concat());
    let (one, two) = (bench.ns.cluster_ip("one"), bench.ns.cluster_ip("two"));
    bench.expect_pods(&from, &one, &["one-pod"]);
    bench.expect_pods(&from, &two, &["two-pod"]);
    bench.delete("service", &["one"]);
    wait_for("the deleted Service to answer no more", || {
        match bench.get(&from, &format!("{one}/")) {
            Answer::Http(code, _) => Err(code.to_string()),
            _ => Ok(()),
        }
    });
    bench.expect_pods(&from, &two, &["two-pod"]);
    bench.make_ready(&pair("three"));
    let three = bench.ns.cluster_ip("three");
    bench.expect_pods(&from, &three, &["three-pod"]);
    bench.expect_pods(&from, &two, &["two-pod"]);
    assert_ne!(two, three);
}

fn made_again(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-again");
    bench.make_ready(&[service("again"), server("one", "again")]);
    let from = place(&workers(site)[0].0);
    let ip = bench.ns.cluster_ip("again");
    bench.expect_pods(&from, &ip, &["one"]);
    bench.delete("service", &["again"]);
    bench.make(&[service_with("again", json!({ "clusterIP": ip }))]);
    bench.expect_endpoints("again", &[("one", 80)]);
    bench.expect_pods(&from, &ip, &["one"]);
    bench.expect_pods(&place(&workers(site)[1].0), &ip, &["one"]);
}

fn named_ports(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-named");
    let ports = json!({ "ports": [port("web", 80, "http", "TCP")] });
    bench.make_ready(&[
        service_with("named", ports),
        server_on("one", "named", 80),
        server_on("two", "named", 8080),
    ]);
    bench.expect_endpoints("named", &[("one", 80), ("two", 8080)]);
    let ip = bench.ns.cluster_ip("named");
    bench.expect_pods(&place(&workers(site)[0].0), &ip, &["one", "two"]);
}

fn sidecar(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-sidecar");
    let mut pod = super::objects::client("one");
    pod["metadata"]["labels"] = json!({"app": "side"});
    let mut side = server_on("x", "side", 8080)["spec"]["containers"][0].clone();
    side["name"] = json!("side");
    side["restartPolicy"] = json!("Always");
    pod["spec"]["initContainers"] = json!([side]);
    let ports = json!({ "ports": [port("web", 80, "http", "TCP")] });
    bench.make_ready(&[service_with("side", ports), pod]);
    bench.expect_endpoints("side", &[("one", 8080)]);
    let ip = bench.ns.cluster_ip("side");
    bench.expect_pods(&place(&workers(site)[0].0), &ip, &["one"]);
}

fn sctp(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-sctp");
    let mut pod = server("one", "sctp");
    pod["spec"]["containers"][0]["ports"] =
        json!([{"name": "sctp", "containerPort": 5060, "protocol": "SCTP"}]);
    let ports = json!({ "ports": [port("sctp", 5060, "sctp", "SCTP")] });
    bench.make_ready(&[service_with("sctp", ports), pod]);
    bench.expect_endpoints("sctp", &[("one", 5060)]);
    let slices = bench.slices("sctp");
    assert_eq!(slices[0]["ports"][0]["protocol"], "SCTP", "{slices:?}");
    let service = bench.ns.get(&["service", "sctp"]);
    assert_eq!(service["spec"]["ports"][0]["protocol"], "SCTP");
}

/// Upstream measures how long each takes; here each must come within the longest wait.
fn many(site: &Site, client: &Client) {
    const SERVICES: usize = 100;
    let bench = Bench::new(site, client, "svc-many");
    bench.make_ready(&[server("one", "many")]);
    let services: Vec<_> = (0..SERVICES)
        .map(|n| {
            let mut service = service("many");
            service["metadata"]["name"] = json!(format!("many-{n}"));
            service
        })
        .collect();
    bench.make(&services);
    wait_for("an endpoint of each Service", || {
        let list = bench.ns.get(&["endpointslices"]);
        let slices = list["items"].as_array().into_iter().flatten();
        let count =
            slices.filter(|slice| slice["endpoints"][0]["conditions"]["ready"] == true).count();
        if count == SERVICES { Ok(()) } else { Err(format!("{count} have one")) }
    });
    let last = bench.ns.cluster_ip(&format!("many-{}", SERVICES - 1));
    bench.expect_pods(&place(&workers(site)[0].0), &last, &["one"]);
}
