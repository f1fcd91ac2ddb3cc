//! Cluster IPs and node ports: given, refused, kept, and given back.

mod support;

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};
use store::{Embedded, Op, Store};
use support::{Api, service};

const SERVICES: &str = "/api/v1/namespaces/default/services";

async fn refused(api: &Api, name: &str, spec: Value) -> String {
    api.post(SERVICES, service(name, spec)).await.error()
}

#[tokio::test]
async fn addresses_come_from_above_the_static_band() {
    let api = Api::start().await;
    let kubernetes = api.get(&format!("{SERVICES}/kubernetes")).await.ok();
    assert_eq!(kubernetes["spec"]["clusterIP"], "10.96.0.1");
    let created = api.post(SERVICES, service("web", json!({}))).await.ok();
    let spec = &created["spec"];
    let ip: std::net::Ipv4Addr = spec["clusterIP"].as_str().unwrap().parse().unwrap();
    assert!(ip > std::net::Ipv4Addr::new(10, 96, 1, 0), "{ip}");
    assert_eq!(spec["clusterIPs"], json!([spec["clusterIP"]]));
    assert_eq!(spec["ipFamilies"], json!(["IPv4"]));
    assert_eq!(spec["ipFamilyPolicy"], "SingleStack");
}

#[tokio::test]
async fn taken_and_out_of_range_name_the_field() {
    let api = Api::start().await;
    let dns = json!({ "clusterIP": "10.96.0.10", "type": "NodePort", "ports": [{ "port": 53, "nodePort": 30010 }] });
    api.post(SERVICES, service("dns", dns)).await.ok();
    for (spec, want) in [
        (
            json!({ "clusterIP": "10.96.0.10" }),
            "spec.clusterIPs: Invalid value: [\"10.96.0.10\"]: failed to allocate IP 10.96.0.10: provided IP is already allocated",
        ),
        (
            json!({ "clusterIP": "::1" }),
            "spec.clusterIPs[0]: Invalid value: \"::1\": IPv6 is not configured on this cluster",
        ),
        (
            json!({ "clusterIP": "10.96.0.11", "clusterIPs": ["10.96.0.12"] }),
            "spec.clusterIPs: Invalid value: [\"10.96.0.12\"]: first value must match `clusterIP`",
        ),
        (
            json!({ "clusterIP": "10.97.0.1" }),
            "spec.clusterIPs: Invalid value: [\"10.97.0.1\"]: failed to allocate IP 10.97.0.1: the provided IP (10.97.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/16",
        ),
        (
            json!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30010 }] }),
            "spec.ports[0].nodePort: Invalid value: 30010: provided port is already allocated",
        ),
        (
            json!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": 80 }] }),
            "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
    ] {
        let error = refused(&api, "web", spec).await;
        assert_eq!(error, format!("422 Invalid: Service \"web\" is invalid: {want}"));
    }
    // A refused Service holds nothing.
    api.delete(&format!("{SERVICES}/dns")).await.ok();
    let spec = json!({ "clusterIP": "10.96.0.10", "type": "NodePort", "ports": [{ "port": 53, "nodePort": 30010 }] });
    api.post(SERVICES, service("dns", spec)).await.ok();
}

#[tokio::test]
async fn a_change_of_type_takes_and_gives_back() {
    let api = Api::start().await;
    let path = format!("{SERVICES}/web");
    let created = api.post(SERVICES, service("web", json!({}))).await.ok();
    let ip = created["spec"]["clusterIP"].clone();
    let exposed = api.merge(&path, json!({ "spec": { "type": "NodePort" } })).await.ok();
    let port = exposed["spec"]["ports"][0]["nodePort"].as_i64().unwrap();
    assert!((30_000..=32_767).contains(&port));
    assert_eq!(exposed["spec"]["clusterIP"], ip);
    // What an update leaves out stays.
    let mut whole = service("web", json!({ "type": "NodePort" }));
    whole["metadata"]["labels"] = json!({ "a": "b" });
    let kept = api.put(&path, whole).await.ok();
    assert_eq!(kept["spec"]["ports"][0]["nodePort"], port);
    assert_eq!(kept["spec"]["clusterIP"], ip);
    let inner = api.merge(&path, json!({ "spec": { "type": "ClusterIP" } })).await.ok();
    assert_eq!(inner["spec"]["ports"][0].get("nodePort"), None);
    let reused = json!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": port }] });
    api.post(SERVICES, service("other", reused)).await.ok();
    let named = json!({ "spec": { "type": "ExternalName", "externalName": "example.com" } });
    let named = api.merge(&path, named).await.ok();
    assert_eq!(named["spec"].get("clusterIP"), None);
    api.post(SERVICES, service("third", json!({ "clusterIP": ip }))).await.ok();
}

#[tokio::test]
async fn tcp_and_udp_share_a_node_port() {
    let api = Api::start().await;
    let ports = json!([
        { "name": "a", "port": 53, "protocol": "TCP", "nodePort": 30053 },
        { "name": "b", "port": 53, "protocol": "UDP", "nodePort": 30053 },
    ]);
    let created = api
        .post(SERVICES, service("dns", json!({ "type": "NodePort", "ports": ports })))
        .await
        .ok();
    assert_eq!(created["spec"]["ports"][1]["nodePort"], 30053);
}

#[tokio::test]
async fn headless_services_have_no_address_and_balancers_a_health_port() {
    let api = Api::start().await;
    let headless = json!({ "clusterIP": "None", "selector": { "a": "b" } });
    let headless = api.post(SERVICES, service("headless", headless)).await.ok();
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    let balanced = json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local" });
    let balanced = api.post(SERVICES, service("balanced", balanced)).await.ok();
    assert!(balanced["spec"]["healthCheckNodePort"].as_i64().unwrap() >= 30_000);
    assert!(balanced["spec"]["ports"][0]["nodePort"].is_i64());
}

#[tokio::test]
async fn a_restart_knows_what_is_taken() {
    let store = Arc::new(Embedded::in_memory().unwrap());
    // Six addresses, one of them for `kubernetes`.
    let api = Api::with_range(store.clone(), "10.96.0.0/29").await;
    for at in 0..4 {
        api.post(SERVICES, service(&format!("s{at}"), json!({}))).await.ok();
    }
    let again = Api::with_range(store, "10.96.0.0/29").await;
    again.post(SERVICES, service("s4", json!({}))).await.ok();
    let full = refused(&again, "s5", json!({})).await;
    assert!(full.starts_with("500 InternalError") && full.contains("range is full"), "{full}");
    again.delete(&format!("{SERVICES}/s2")).await.ok();
    // The freed address is known once the cache has seen the delete.
    again.get(SERVICES).await.ok();
    again.post(SERVICES, service("s5", json!({}))).await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_on_one_store_never_give_one_address_twice() {
    let store = Arc::new(Embedded::in_memory().unwrap());
    let range = "10.96.0.0/26";
    let servers =
        [Api::with_range(store.clone(), range).await, Api::with_range(store, range).await];
    let creates: Vec<_> = (0..60)
        .map(|at| {
            let api = servers[at % 2].clone();
            tokio::spawn(async move {
                let spec = json!({ "type": "NodePort" });
                let created = api.post(SERVICES, service(&format!("s{at}"), spec)).await.ok();
                let spec = &created["spec"];
                (spec["clusterIP"].to_string(), spec["ports"][0]["nodePort"].to_string())
            })
        })
        .collect();
    let (mut ips, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for create in creates {
        let (ip, port) = create.await.unwrap();
        assert!(ips.insert(ip) && ports.insert(port));
    }
}

/// A store in which a key is left of a Service that is gone, and a Service whose keys are gone.
#[tokio::test]
async fn a_start_makes_keys_and_services_fit_again() {
    let store = Arc::new(Embedded::in_memory().unwrap());
    let before = Api::over(store.clone()).await;
    let spec = json!({ "clusterIP": "10.96.0.20", "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30020 }] });
    before.post(SERVICES, service("web", spec)).await.ok();
    before.server.stop.cancel();
    let put = |key: &str| Op::Put { key: key.to_owned(), value: "{}".into(), lease: 0 };
    let delete = |key: &str| Op::Delete { key: key.to_owned() };
    let edits = vec![
        put("/registry/ranges/serviceips/10.96.0.30"),
        put("/registry/ranges/servicenodeports/30030"),
        delete("/registry/ranges/serviceips/10.96.0.20"),
        delete("/registry/ranges/servicenodeports/30020"),
    ];
    store.txn(Vec::new(), edits).await.unwrap();
    let api = Api::over(store).await;
    let spec = |ip: &str, port: u16| json!({ "clusterIP": ip, "type": "NodePort", "ports": [{ "port": 80, "nodePort": port }] });
    let error = refused(&api, "thief", spec("10.96.0.20", 30_020)).await;
    assert!(error.contains("provided IP is already allocated"), "{error}");
    assert!(error.contains("provided port is already allocated"), "{error}");
    let free = service("heir", spec("10.96.0.30", 30_030));
    api.post(SERVICES, free).await.ok();
}
