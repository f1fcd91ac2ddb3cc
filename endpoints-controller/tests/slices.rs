//! Services and pods in, EndpointSlices out. Never names a function below `reconcile`.

mod text;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use proptest::prelude::*;
use text::{apply, plan, same, scene, show};

const MAX: usize = 3;

/// The slices of a scene from nothing; a second round must find nothing to do.
#[track_caller]
fn check(objects: &str, expected: &str) -> Vec<Arc<EndpointSlice>> {
    let scene = scene(objects);
    let slices = apply(plan(&scene, &[], MAX), &[]);
    let lines: Vec<String> = slices.iter().map(|slice| show(slice)).collect();
    same(&lines.join("\n"), expected);
    assert!(plan(&scene, &slices, MAX).is_empty(), "a second round has nothing to do");
    slices
}

/// From one scene to the next: the slices, and how many were written.
#[track_caller]
fn check_step(before: &str, after: &str, expected: &str, writes: usize) {
    let slices = apply(plan(&scene(before), &[], MAX), &[]);
    let step = plan(&scene(after), &slices, MAX);
    assert_eq!(step.create.len() + step.update.len() + step.delete.len(), writes, "{step:?}");
    let lines: Vec<String> = apply(step, &slices).iter().map(|slice| show(slice)).collect();
    same(&lines.join("\n"), expected);
}

#[test]
fn readiness_decides_the_conditions() {
    check(
        "svc web http:80>8080
         node n1 z1
         node n2
         pod a 10.0.0.1 n1 ready
         pod b 10.0.0.2 n2
         pod c 10.0.0.3 n1 ready leaving",
        "web-0 IPv4 [http:8080] 10.0.0.1(rs)@n1/z1 10.0.0.2()@n2 10.0.0.3(st)@n1/z1",
    );
}

#[test]
fn publish_not_ready_makes_everything_ready() {
    check(
        "svc web http:80>8080 publish
         node n1
         pod a 10.0.0.1 n1
         pod b 10.0.0.2 n1 ready leaving",
        "web-0 IPv4 [http:8080] 10.0.0.1(r)@n1 10.0.0.2(rst)@n1",
    );
}

#[test]
fn finished_pods_and_pods_without_address_do_not_count() {
    check(
        "svc web http:80>8080
         node n1
         pod a 10.0.0.1 n1 ready done
         pod b - n1 ready",
        "web-0 IPv4 []",
    );
}

#[test]
fn a_pod_on_a_node_that_is_gone_does_not_count_unless_published() {
    check("svc web http:80>8080\n pod a 10.0.0.1 n1 ready", "web-0 IPv4 []");
    check(
        "svc web http:80>8080 publish\n pod a 10.0.0.1 n1",
        "web-0 IPv4 [http:8080] 10.0.0.1(r)@n1",
    );
}

#[test]
fn named_ports_that_differ_make_slices_of_their_own() {
    check(
        "svc web http:80>http
         node n1
         pod a 10.0.0.1 n1 ready http=8080
         pod b 10.0.0.2 n1 ready http=9090
         pod c 10.0.0.3 n1 ready http=8080
         pod d 10.0.0.4 n1 ready",
        "web-0 IPv4 [] 10.0.0.4(rs)@n1
         web-1 IPv4 [http:8080] 10.0.0.1(rs)@n1 10.0.0.3(rs)@n1
         web-2 IPv4 [http:9090] 10.0.0.2(rs)@n1",
    );
}

#[test]
fn headless_services_may_have_no_ports_and_give_names() {
    let slices = check(
        "svc web headless labels=team:blue
         node n1
         pod a 10.0.0.1 n1 ready host=first",
        "web-0 IPv4 [] 10.0.0.1(rs)@n1 named first",
    );
    let labels: BTreeMap<String, String> = slices[0].metadata.labels.clone().unwrap_or_default();
    let expected = [
        ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io"),
        ("kubernetes.io/service-name", "web"),
        ("service.kubernetes.io/headless", ""),
        ("team", "blue"),
    ];
    assert_eq!(labels, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    assert_eq!(slices[0].metadata.generate_name.as_deref(), Some("web-"));
    let owner = &slices[0].metadata.owner_references.as_deref().unwrap_or_default()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.uid.as_str(), owner.controller),
        ("Service", "service-uid", Some(true))
    );
}

#[test]
fn each_family_has_slices_of_its_own() {
    check(
        "svc web http:80>8080 dual
         node n1
         pod a 10.0.0.1,fd00::1 n1 ready
         pod b 10.0.0.2 n1 ready",
        "web-0 IPv4 [http:8080] 10.0.0.1(rs)@n1 10.0.0.2(rs)@n1
         web-1 IPv6 [http:8080] fd00::1(rs)@n1",
    );
}

const FIVE: &str = "svc web http:80>8080
    node n1
    pod a 10.0.0.1 n1 ready
    pod b 10.0.0.2 n1 ready
    pod c 10.0.0.3 n1 ready
    pod d 10.0.0.4 n1 ready
    pod e 10.0.0.5 n1 ready";

#[test]
fn a_flip_rewrites_its_own_slice_only() {
    let after = FIVE.replace("pod b 10.0.0.2 n1 ready", "pod b 10.0.0.2 n1");
    check_step(
        FIVE,
        &after,
        "web-0 IPv4 [http:8080] 10.0.0.1(rs)@n1 10.0.0.2()@n1 10.0.0.3(rs)@n1
         web-1 IPv4 [http:8080] 10.0.0.4(rs)@n1 10.0.0.5(rs)@n1",
        1,
    );
}

#[test]
fn a_new_pod_takes_the_room_that_is_left() {
    let after = format!("{FIVE}\n pod f 10.0.0.6 n1 ready");
    check_step(
        FIVE,
        &after,
        "web-0 IPv4 [http:8080] 10.0.0.1(rs)@n1 10.0.0.2(rs)@n1 10.0.0.3(rs)@n1
         web-1 IPv4 [http:8080] 10.0.0.4(rs)@n1 10.0.0.5(rs)@n1 10.0.0.6(rs)@n1",
        1,
    );
}

#[test]
fn a_replaced_pod_is_one_write() {
    let after = FIVE.replace("pod a 10.0.0.1", "pod z 10.0.0.9");
    check_step(
        FIVE,
        &after,
        "web-0 IPv4 [http:8080] 10.0.0.2(rs)@n1 10.0.0.3(rs)@n1 10.0.0.9(rs)@n1
         web-1 IPv4 [http:8080] 10.0.0.4(rs)@n1 10.0.0.5(rs)@n1",
        1,
    );
}

#[test]
fn changed_ports_reuse_the_slice() {
    check_step(
        "svc web http:80>8080\n node n1\n pod a 10.0.0.1 n1 ready",
        "svc web http:80>9090\n node n1\n pod a 10.0.0.1 n1 ready",
        "web-0 IPv4 [http:9090] 10.0.0.1(rs)@n1",
        1,
    );
}

#[test]
fn the_last_pod_leaves_an_empty_slice() {
    check_step(
        "svc web http:80>8080\n node n1\n pod a 10.0.0.1 n1 ready",
        "svc web http:80>8080\n node n1",
        "web-0 IPv4 []",
        1,
    );
}

#[test]
fn slices_of_an_earlier_life_of_the_service_are_replaced() {
    let now = scene("svc web http:80>8080\n node n1\n pod a 10.0.0.1 n1 ready");
    let mut before = apply(plan(&now, &[], MAX), &[]);
    let mut old = EndpointSlice::clone(&before[0]);
    old.metadata
        .owner_references
        .iter_mut()
        .flatten()
        .for_each(|owner| owner.uid = "former".to_owned());
    before[0] = Arc::new(old);
    let step = plan(&now, &before, MAX);
    assert_eq!((step.create.len(), step.update.len(), step.delete.len()), (1, 0, 1));
}

/// Pods by number: present, ready, and which of two port numbers they name.
fn pods() -> impl Strategy<Value = BTreeMap<u8, (bool, bool)>> {
    prop::collection::btree_map(0..40_u8, (any::<bool>(), any::<bool>()), 0..25)
}

fn objects(pods: &BTreeMap<u8, (bool, bool)>) -> String {
    let mut text = "svc web http:80>http\n node n1\n".to_owned();
    for (number, (ready, other)) in pods {
        let (port, flag) = (if *other { 9090 } else { 8080 }, if *ready { "ready" } else { "" });
        text += &format!("pod p{number} 10.0.0.{number} n1 {flag} http={port}\n");
    }
    text
}

proptest! {
    /// After any history: every pod is in exactly one slice, of its own port and state,
    /// no slice is over-full, and another round has nothing to do.
    #[test]
    fn every_history_ends_in_the_wanted_state(history in prop::collection::vec(pods(), 1..8)) {
        let mut slices = Vec::new();
        for pods in &history {
            let scene = scene(&objects(pods));
            slices = apply(plan(&scene, &slices, MAX), &slices);
            prop_assert!(plan(&scene, &slices, MAX).is_empty());
            let mut found = BTreeMap::new();
            for slice in &slices {
                let endpoints = slice.endpoints.as_deref().unwrap_or_default();
                prop_assert!(endpoints.len() <= MAX);
                let port = slice.ports.iter().flatten().next().and_then(|port| port.port);
                for endpoint in endpoints {
                    let number: u8 = endpoint.addresses[0].rsplit('.').next().unwrap_or_default().parse().unwrap_or(255);
                    let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(true);
                    prop_assert!(found.insert(number, (ready, port == Some(9090))).is_none(), "{number} is in two slices");
                }
            }
            prop_assert_eq!(&found, pods);
        }
    }

    /// One pod that flips, comes or goes costs at most one write.
    #[test]
    fn one_change_is_one_write(mut pods in pods(), number in 0..40_u8, ready: bool) {
        let before = scene(&objects(&pods));
        let slices = apply(plan(&before, &[], MAX), &[]);
        match pods.get(&number).copied() {
            Some((was, _)) if was == ready => { pods.remove(&number); }
            Some((_, port)) => { pods.insert(number, (ready, port)); }
            None => { pods.insert(number, (ready, false)); }
        }
        let step = plan(&scene(&objects(&pods)), &slices, MAX);
        prop_assert!(step.create.len() + step.update.len() + step.delete.len() <= 1, "{:?}", step);
    }
}
