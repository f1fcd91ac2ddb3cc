//! Health checks and counts over objects in text. Never looks at a route.

use serde_json::{Value, json};

use crate::catalog::{Catalog, Change, ServiceName};
use crate::routes::Family;

fn name() -> ServiceName {
    ServiceName { namespace: "default".to_owned(), name: "edge".to_owned() }
}

/// A Service of both families, and a slice for each that has endpoints: one a word,
/// `ADDRESS@NODE`, with `!` behind where it terminates.
fn catalog(spec: &Value, endpoints: &str) -> Catalog {
    let mut service = json!({
        "metadata": {"namespace": "default", "name": "edge"},
        "spec": {
            "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd00::10"],
            "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}],
        },
    });
    for (key, value) in spec.as_object().expect("fields") {
        service["spec"][key] = value.clone();
    }
    let mut catalog = Catalog::new("node-1");
    let object = serde_json::from_value(service).expect("a Service");
    catalog.apply(Change::Service(Box::new(object)));
    for (family, is_v6) in [("IPv4", false), ("IPv6", true)] {
        let endpoints: Vec<Value> = endpoints
            .split_whitespace()
            .filter(|word| word.contains(':') == is_v6)
            .map(|word| {
                let (address, node) = word.trim_end_matches('!').split_once('@').expect("@");
                let leaves = word.ends_with('!');
                json!({
                    "addresses": [address], "nodeName": node,
                    "conditions": {"ready": !leaves, "serving": true, "terminating": leaves},
                })
            })
            .collect();
        let slice = json!({
            "metadata": {
                "namespace": "default", "name": format!("edge-{family}"),
                "labels": {"kubernetes.io/service-name": "edge"},
            },
            "addressType": family,
            "ports": [{"name": "a", "port": 8080}, {"name": "b", "port": 8081}],
            "endpoints": endpoints,
        });
        let slice = serde_json::from_value(slice).expect("a slice");
        catalog.apply(Change::Slice(Box::new(slice)));
    }
    catalog.take_dirty();
    catalog
}

#[test]
fn health_checks_count_ready_pods_of_this_node() {
    let check = |endpoints: &str, expected: usize| {
        let spec = json!({
            "type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32100,
        });
        let answer = catalog(&spec, endpoints).health_check(&name());
        assert_eq!(answer, Some((32_100, expected)), "{endpoints}");
    };
    check("", 0);
    check("10.244.1.5@node-1", 1);
    check("10.244.1.5@node-1 10.244.1.6@node-1 10.244.2.5@node-2", 2);
    // Who terminates serves to the end, and new connections go elsewhere.
    check("10.244.1.5@node-1 10.244.1.6@node-1!", 1);
    check("10.244.1.5@node-1!", 0);
    // One pod with an address of each family is one.
    check("10.244.1.5@node-1 fd01::5@node-1", 1);
    check("10.244.1.5@node-1 fd01::5@node-1 fd01::6@node-1", 2);
}

#[test]
fn other_services_have_no_health_check() {
    let check = |spec: Value| {
        assert_eq!(catalog(&spec, "").health_check(&name()), None, "{spec}");
    };
    check(json!({}));
    check(json!({"type": "LoadBalancer", "healthCheckNodePort": 32100}));
    check(json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 32100}));
}

#[test]
fn policies_that_find_nobody_here_are_named() {
    use Family::{V4, V6};
    let check = |spec: Value, endpoints: &str, expected: &[(Family, &str)]| {
        let found = catalog(&spec, endpoints).without_local_endpoints(&name());
        assert_eq!(found, expected, "{spec} {endpoints}");
    };
    let internal = || json!({"internalTrafficPolicy": "Local"});
    check(json!({}), "", &[]);
    let all = [(V4, "internal"), (V6, "internal")].repeat(2);
    check(internal(), "", &all);
    check(internal(), "10.244.2.5@node-2 fd02::5@node-2", &all);
    check(internal(), "10.244.1.5@node-1", &[(V6, "internal"), (V6, "internal")]);
    check(internal(), "10.244.1.5@node-1! fd01::5@node-1", &[]);
    check(
        json!({"externalTrafficPolicy": "Local", "clusterIPs": ["10.96.0.10"], "ports": [{"name": "a", "port": 80}]}),
        "",
        &[(V4, "external")],
    );
}
