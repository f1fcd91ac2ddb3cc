//! What the endpoints controllers make of Services, pods and hand-written Endpoints.

use serde_json::{Value, json};

use super::{
    Test,
    bench::{Bench, place, pod},
    objects::{port, server, server_on, service, service_with},
    site::{Site, workers},
};
use crate::{Client, wait_for};

/// The tests of this file.
pub const TESTS: &[(&str, Test)] = &[
    ("endpointslice_and_endpoints_of_the_api_server", api_server),
    ("endpointslice_and_endpoints_come_and_go_with_a_service", come_and_go),
    ("endpointslice_and_endpoints_of_matching_pods", matching),
    ("endpointslice_several_ports_in_several_slices", several_ports),
    ("endpointslice_several_addresses_in_several_slices", several_addresses),
    ("endpointslice_mirrors_endpoints_through_their_life", mirror),
    ("endpointslice_mirrors_subsets_of_one_address", mirror_subsets),
];

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn sorted<'a>(texts: impl Iterator<Item = &'a Value>) -> Vec<String> {
    let mut texts: Vec<String> =
        texts.map(|text| text.as_str().unwrap_or_default().to_owned()).collect();
    texts.sort();
    texts
}

fn api_server(site: &Site, client: &Client) {
    let get = |words: &[&str]| -> Value {
        let text = client.run(&[&["-n", "default", "get", "-o", "json"], words].concat());
        serde_json::from_str(&text.ok()).expect("JSON")
    };
    let endpoints = get(&["endpoints", "kubernetes"]);
    let slices = get(&["endpointslices", "-l", &format!("{SERVICE_NAME}=kubernetes")]);
    let subset = &endpoints["subsets"][0];
    let port = &subset["ports"][0]["port"];
    let addresses = sorted(array(&subset["addresses"]).iter().map(|it| &it["ip"]));
    assert!(!addresses.is_empty(), "{endpoints}");
    let each = array(&slices["items"]).iter().flat_map(|slice| array(&slice["endpoints"]));
    let sliced = sorted(each.map(|endpoint| &endpoint["addresses"][0]));
    assert_eq!(addresses, sliced);
    assert_eq!(slices["items"][0]["ports"][0]["port"], *port, "{slices}");
    for node in site.node_names() {
        for address in &addresses {
            let url = format!("https://{address}:{port}/version");
            let curl = site.exec(&node, &["curl", "-sSk", "--max-time", "5", &url]);
            assert!(curl.stdout.contains("gitVersion"), "{node}: {curl:?}");
        }
    }
}

fn come_and_go(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "slice-comego");
    bench.make(&[service("web")]);
    bench.expect_endpoints("web", &[]);
    let slice = bench.slices("web").remove(0);
    let labels = &slice["metadata"]["labels"];
    assert_eq!(labels[MANAGED_BY], "endpointslice-controller.k8s.io");
    let owner = &slice["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["name"]), (&json!("Service"), &json!("web")));
    assert_eq!(owner["controller"], true, "{owner}");
    bench.delete("service", &["web"]);
    wait_for("Endpoints and EndpointSlices to go", || {
        let endpoints = bench.ns.run(&["get", "endpoints", "web"]);
        let slices = bench.slices("web");
        if endpoints.code != 0 && slices.is_empty() {
            Ok(())
        } else {
            Err(format!("{endpoints:?} {slices:?}"))
        }
    });
}

fn matching(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "slice-matching");
    let mut all = service("all");
    all["spec"]["selector"] = json!({"app": "web"});
    all["spec"]["ports"] = json!([port("first", 80, "http", "TCP"), port("second", 81, 90, "UDP")]);
    let mut some = service("some");
    some["spec"]["selector"] = json!({"app": "web", "part": "a"});
    let mut one = server("one", "web");
    one["metadata"]["labels"]["part"] = json!("a");
    let two = server_on("two", "web", 8080);
    bench.make_ready(&[all, some, one, two, server("not", "other")]);
    bench.expect_endpoints("all", &[("one", 80), ("one", 90), ("two", 8080), ("two", 90)]);
    bench.expect_endpoints("some", &[("one", 80)]);
    for endpoint in bench.slice_endpoints("all") {
        let name = endpoint["targetRef"]["name"].as_str().unwrap_or_default();
        let pod = bench.ns.get(&["pod", name]);
        assert_eq!(endpoint["addresses"], json!([pod["status"]["podIP"]]));
        assert_eq!(endpoint["nodeName"], pod["spec"]["nodeName"]);
        assert_eq!(endpoint["targetRef"]["uid"], pod["metadata"]["uid"]);
        assert_eq!(endpoint["targetRef"]["kind"], "Pod");
        let conditions = &endpoint["conditions"];
        assert_eq!(*conditions, json!({"ready": true, "serving": true, "terminating": false}));
    }
    for slice in bench.slices("all") {
        let ports = sorted(array(&slice["ports"]).iter().map(|port| &port["name"]));
        assert_eq!(ports, ["first", "second"], "{slice}");
    }
    // A pod that stops to match goes.
    bench.patch("pod/one", json!({"metadata": {"labels": {"part": "b"}}}));
    bench.expect_endpoints("some", &[]);
}

/// A slice of a Service that nobody manages but the test.
fn slice(name: &str, ports: Value, addresses: &[String]) -> Value {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}}))
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "labels": {SERVICE_NAME: "web", MANAGED_BY: "a-test"}},
        "endpoints": endpoints, "ports": ports,
    })
}

/// A Service without a selector.
fn without_selector(ports: Value) -> Value {
    let mut service = service_with("web", json!({ "ports": ports }));
    service["spec"]["selector"].take();
    service
}

fn several_ports(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "slice-ports");
    let ports = json!([port("a", 80, 80, "TCP"), port("b", 81, 8080, "TCP")]);
    let (one, two) = (server("one", "x"), server_on("two", "x", 8080));
    bench.make_ready(&[without_selector(ports), one, two, super::objects::client("client")]);
    bench.make(&[
        slice("first", json!([{"name": "a", "port": 80}]), &[bench.pod_ip("one")]),
        slice("second", json!([{"name": "b", "port": 8080}]), &[bench.pod_ip("two")]),
    ]);
    let ip = bench.ns.cluster_ip("web");
    bench.expect_pods(&pod("client"), &format!("{ip}:80"), &["one"]);
    bench.expect_pods(&pod("client"), &format!("{ip}:81"), &["two"]);
}

fn several_addresses(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "slice-addresses");
    let ports = json!([port("a", 80, 80, "TCP")]);
    let pods = [server("one", "x"), server("two", "x")];
    bench.make_ready(
        &[&[without_selector(ports), super::objects::client("client")], &pods[..]].concat(),
    );
    let port = json!([{"name": "a", "port": 80}]);
    bench.make(&[
        slice("first", port.clone(), &[bench.pod_ip("one")]),
        slice("second", port.clone(), &[bench.pod_ip("two")]),
    ]);
    let ip = bench.ns.cluster_ip("web");
    bench.expect_pods(&pod("client"), &ip, &["one", "two"]);
    // The same address in both counts once; one slice less is one endpoint less.
    bench.make(&[slice("first", port, &[bench.pod_ip("one"), bench.pod_ip("two")])]);
    bench.delete("endpointslice", &["second"]);
    bench.expect_pods(&pod("client"), &ip, &["one", "two"]);
    bench.delete("endpointslice", &["first"]);
    bench.expect_refused(&pod("client"), &ip);
}

fn endpoints(subsets: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web"}, "subsets": subsets})
}

/// Waits until the mirrored slices have exactly these addresses and ports.
#[track_caller]
fn expect_mirrored(bench: &Bench<'_>, wanted: &[(&str, u16)]) {
    wait_for(&format!("{wanted:?} to be mirrored"), || {
        let slices = bench.slices("web");
        let mut seen = Vec::new();
        for slice in &slices {
            let by = &slice["metadata"]["labels"][MANAGED_BY];
            assert_eq!(by, "endpointslicemirroring-controller.k8s.io");
            for endpoint in array(&slice["endpoints"]) {
                let port = slice["ports"][0]["port"].as_u64().unwrap_or_default();
                let address = endpoint["addresses"][0].as_str().unwrap_or_default();
                seen.push((address.to_owned(), port));
            }
        }
        seen.sort();
        let wanted: Vec<_> =
            wanted.iter().map(|(ip, port)| ((*ip).to_owned(), u64::from(*port))).collect();
        if seen == wanted { Ok(()) } else { Err(format!("{slices:?}")) }
    });
}

fn mirror(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "slice-mirror");
    let ports = json!([port("http", 80, 80, "TCP")]);
    bench.make(&[without_selector(ports)]);
    let subsets = |ip: &str, port: u16| json!([{"addresses": [{"ip": ip}], "ports": [{"name": "http", "port": port}]}]);
    bench.make(&[endpoints(subsets("192.0.2.1", 80))]);
    expect_mirrored(&bench, &[("192.0.2.1", 80)]);
    bench.make(&[endpoints(subsets("192.0.2.2", 81))]);
    expect_mirrored(&bench, &[("192.0.2.2", 81)]);
    bench.delete("endpoints", &["web"]);
    expect_mirrored(&bench, &[]);
}

fn mirror_subsets(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "slice-subsets");
    let ports = json!([port("a", 80, 80, "TCP"), port("b", 81, 8080, "TCP")]);
    let mut both = server("one", "x");
    let mut second = server_on("one", "x", 8080)["spec"]["containers"][0].clone();
    second["name"] = json!("second");
    second["args"] = json!(["--port", "8080"]);
    second["ports"] = json!([]);
    let containers = both["spec"]["containers"].as_array_mut();
    containers.expect("containers").push(second);
    bench.make_ready(&[without_selector(ports), both]);
    let pod_ip = bench.pod_ip("one");
    let subset = |name: &str, port: u16| json!({"addresses": [{"ip": pod_ip}], "ports": [{"name": name, "port": port}]});
    bench.make(&[endpoints(json!([subset("a", 80), subset("b", 8080)]))]);
    expect_mirrored(&bench, &[(&pod_ip, 80), (&pod_ip, 8080)]);
    let ip = bench.ns.cluster_ip("web");
    for (node, _) in workers(site) {
        bench.expect_pods(&place(&node), &format!("{ip}:80"), &["one"]);
        bench.expect_pods(&place(&node), &format!("{ip}:81"), &["one"]);
    }
}
