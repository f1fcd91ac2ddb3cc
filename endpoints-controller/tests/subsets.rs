//! Services and pods in, Endpoints out. Never names a function below `reconcile`.

mod text;

use endpoints_controller::subsets::reconcile;
use k8s_openapi::api::core::v1::Endpoints;
use text::{same, scene, show_endpoints};

/// The Endpoints of a scene from nothing; a second round must find nothing to do.
#[track_caller]
fn check(objects: &str, expected: &str) -> Endpoints {
    let scene = scene(objects);
    let written =
        reconcile(&scene.service, &scene.pods, None, None).expect("there is something to write");
    same(&show_endpoints(&written), expected);
    assert_eq!(
        reconcile(&scene.service, &scene.pods, Some(&written), None),
        None,
        "a second round has nothing to do"
    );
    written
}

#[test]
fn pods_that_are_not_ready_are_listed_apart() {
    check(
        "svc web http:80>8080
         pod a 10.0.0.3 n1
         pod b 10.0.0.1 n1
         pod c 10.0.0.2 n1",
        "[http:8080]  | 10.0.0.1 10.0.0.2 10.0.0.3",
    );
}

#[test]
fn leaving_pods_are_in_only_where_not_ready_ones_are_published() {
    let pods = "pod a 10.0.0.1 n1 ready\n pod b 10.0.0.2 n1 ready leaving\n pod c 10.0.0.3 n1";
    check(&format!("svc web http:80>8080\n{pods}"), "[http:8080] 10.0.0.1 | 10.0.0.3");
    check(
        &format!("svc web http:80>8080 publish\n{pods}"),
        "[http:8080] 10.0.0.1 10.0.0.2 10.0.0.3 |",
    );
}

#[test]
fn subsets_are_repacked_by_their_ports() {
    check(
        "svc web http:80>http admin:81>8081
         pod a 10.0.0.1 n1 ready http=8080
         pod b 10.0.0.2 n1 http=8080
         pod c 10.0.0.3 n1 ready http=9090
         pod d 10.0.0.4 n1 ready",
        "[admin:8081] 10.0.0.4 |
         [admin:8081 http:8080] 10.0.0.1 | 10.0.0.2
         [admin:8081 http:9090] 10.0.0.3 |",
    );
}

#[test]
fn without_a_matching_port_only_headless_services_have_endpoints() {
    check("svc web http:80>http\n pod a 10.0.0.1 n1 ready", "");
    let endpoints = check("svc web headless\n pod a 10.0.0.1 n1 ready", "[] 10.0.0.1 |");
    let labels = endpoints.metadata.labels.unwrap_or_default();
    assert_eq!(labels.get("service.kubernetes.io/headless").map(String::as_str), Some(""));
    assert_eq!(
        labels.get("endpoints.kubernetes.io/managed-by").map(String::as_str),
        Some("endpoint-controller")
    );
}

#[test]
fn a_thousand_addresses_are_enough() {
    let over = "endpoints.kubernetes.io/over-capacity";
    let mut objects = "svc web http:80>8080\n".to_owned();
    for number in 0..1100 {
        let flag = if number < 900 { "ready" } else { "" };
        objects += &format!("pod p{number} 10.0.{}.{} n1 {flag}\n", number / 250, number % 250);
    }
    let scene = scene(&objects);
    let cut =
        reconcile(&scene.service, &scene.pods, None, None).expect("there is something to write");
    let subset = &cut.subsets.as_deref().unwrap_or_default()[0];
    let count = |list: &Option<Vec<_>>| list.as_ref().map_or(0, Vec::len);
    assert_eq!((count(&subset.addresses), count(&subset.not_ready_addresses)), (900, 100));
    assert_eq!(
        cut.metadata.annotations.as_ref().and_then(|all| all.get(over)).map(String::as_str),
        Some("truncated")
    );
    assert_eq!(reconcile(&scene.service, &scene.pods, Some(&cut), None), None);
    // With fewer pods the annotation goes.
    let whole = reconcile(&scene.service, &scene.pods[..1000], Some(&cut), None)
        .expect("there is something to write");
    assert_eq!(whole.metadata.annotations.unwrap_or_default().get(over), None);
}
