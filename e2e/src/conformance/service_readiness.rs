//! Who is served while pods are not ready, end, have failed or are not there, and which proxy
//! serves at all.

use serde_json::json;

use super::{
    Test,
    bench::{Bench, place, pod},
    objects::{client as client_pod, lingering, on, server, service, service_with, unready},
    site::{Site, workers},
};
use crate::{Answer, Client, OUTSIDE, wait_for};

/// The tests of this file.
pub const TESTS: &[(&str, Test)] = &[
    ("service_without_endpoints_refuses", none),
    ("service_of_a_failed_pod_refuses", failed),
    ("service_has_endpoints_for_unready_pods_if_asked", tolerated),
    ("service_reaches_ending_unready_pods_if_asked", published),
    ("service_never_reaches_ending_unready_pods_else", unpublished),
    ("service_falls_back_to_ending_pods", ending),
    ("service_of_internal_policy_local_falls_back_to_ending_pods", ending_internal_local),
    ("service_node_port_falls_back_to_ending_pods", ending_node_port),
    ("service_of_external_policy_local_falls_back_to_ending_pods", ending_external_local),
    ("service_health_check_fails_when_all_local_pods_end", ending_health),
    ("service_of_another_proxys_name_is_left_alone", proxy_name),
    ("service_labelled_headless_is_left_alone", headless_label),
];

const EXTERNAL_IP: &str = "203.0.113.251";

fn none(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-none");
    let fields = json!({"type": "NodePort", "externalIPs": [EXTERNAL_IP]});
    bench.make_ready(&[service_with("web", fields), client_pod("client")]);
    let ip = bench.ns.cluster_ip("web");
    let [(node, address), _] = workers(site);
    let through_node = format!("{address}:{}", bench.node_port("web", 0));
    for from in [pod("client"), place(&node)] {
        for to in [&ip, EXTERNAL_IP, &through_node] {
            bench.expect_refused(&from, to);
        }
    }
    bench.expect_refused(&place(OUTSIDE), &through_node);
}

fn failed(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-failed");
    let mut failing = client_pod("one");
    failing["metadata"]["labels"] = json!({"app": "web"});
    failing["spec"]["restartPolicy"] = json!("Never");
    failing["spec"]["containers"][0]["command"] = json!(["sh", "-c", "exit 1"]);
    bench.make(&[service("web"), failing, client_pod("client")]);
    bench.ns.wait_ready("client");
    wait_for("the pod to fail", || {
        let phase = bench.ns.get(&["pod", "one"])["status"]["phase"].clone();
        if phase == "Failed" { Ok(()) } else { Err(phase.to_string()) }
    });
    bench.expect_endpoints("web", &[]);
    let (_, not_ready) = bench.ns.endpoints("web");
    assert!(not_ready.is_empty(), "{not_ready:?}");
    bench.expect_refused(&pod("client"), &bench.ns.cluster_ip("web"));
    bench.expect_refused(&place(&workers(site)[0].0), &bench.ns.cluster_ip("web"));
}

fn tolerated(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-tolerated");
    let fields = json!({"publishNotReadyAddresses": true});
    bench.make(&[service_with("web", fields), unready("one", "web"), client_pod("client")]);
    bench.ns.wait_ready("client");
    bench.expect_endpoints("web", &[("one", 80)]);
    bench.expect_pod(&pod("client"), "web", "one");
    bench.delete("pod", &["one"]);
    bench.expect_endpoints("web", &[]);
    bench.expect_refused(&pod("client"), &bench.ns.cluster_ip("web"));
}

/// Tells a pod to end, and waits until its endpoint is said to end.
#[track_caller]
fn end(bench: &Bench<'_>, name: &str, ready: bool, serving: bool) {
    bench.ns.run(&["delete", "pod", name, "--wait=false"]).ok();
    bench.expect_conditions("web", name, [ready, serving, true]);
}

fn published(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-published");
    let fields = json!({"type": "NodePort", "publishNotReadyAddresses": true});
    bench.make(&[
        service_with("web", fields),
        lingering(unready("one", "web")),
        client_pod("client"),
    ]);
    bench.ns.wait_ready("client");
    let ip = bench.ns.cluster_ip("web");
    let through_node = format!("{}:{}", workers(site)[0].1, bench.node_port("web", 0));
    bench.expect_pod(&pod("client"), &ip, "one");
    end(&bench, "one", true, false);
    bench.expect_pod(&pod("client"), &ip, "one");
    bench.expect_pod(&place(OUTSIDE), &through_node, "one");
}

fn unpublished(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-unpublished");
    bench.make(&[
        service_with("web", json!({"type": "NodePort"})),
        lingering(unready("one", "web")),
        client_pod("client"),
    ]);
    bench.ns.wait_ready("client");
    let ip = bench.ns.cluster_ip("web");
    let through_node = format!("{}:{}", workers(site)[0].1, bench.node_port("web", 0));
    let refused = || {
        bench.expect_refused(&pod("client"), &ip);
        bench.expect_refused(&place(OUTSIDE), &through_node);
    };
    bench.expect_conditions("web", "one", [false, false, false]);
    refused();
    end(&bench, "one", false, false);
    refused();
}

/// A Service whose only pod, on the first of two nodes, is about to end; a client on each.
fn with_ending<'a>(
    site: &'a Site,
    client: &Client,
    name: &str,
    fields: serde_json::Value,
) -> Bench<'a> {
    let bench = Bench::new(site, client, name);
    let [(with, _), (without, _)] = workers(site);
    bench.make_ready(&[
        service_with("web", fields),
        on(&with, lingering(server("one", "web"))),
        on(&with, client_pod("near")),
        on(&without, client_pod("far")),
    ]);
    bench.expect_endpoints("web", &[("one", 80)]);
    bench
}

fn ending(site: &Site, client: &Client) {
    let bench = with_ending(site, client, "svc-ending", json!({}));
    let ip = bench.ns.cluster_ip("web");
    bench.expect_pod(&pod("far"), &ip, "one");
    end(&bench, "one", false, true);
    bench.expect_pod(&pod("far"), &ip, "one");
    bench.expect_pod(&pod("near"), &ip, "one");
    // One that does not end has all requests.
    bench.make_ready(&[server("two", "web")]);
    bench.expect_pods(&pod("far"), &ip, &["two"]);
}

fn ending_internal_local(site: &Site, client: &Client) {
    let fields = json!({"internalTrafficPolicy": "Local"});
    let bench = with_ending(site, client, "svc-endinternal", fields);
    let ip = bench.ns.cluster_ip("web");
    bench.expect_pod(&pod("near"), &ip, "one");
    end(&bench, "one", false, true);
    bench.expect_pod(&pod("near"), &ip, "one");
    bench.expect_dropped(&pod("far"), &ip);
}

fn ending_node_port(site: &Site, client: &Client) {
    let bench = with_ending(site, client, "svc-endport", json!({"type": "NodePort"}));
    let port = bench.node_port("web", 0);
    end(&bench, "one", false, true);
    for (_, address) in workers(site) {
        bench.expect_pod(&place(OUTSIDE), &format!("{address}:{port}"), "one");
        bench.expect_pod(&pod("far"), &format!("{address}:{port}"), "one");
    }
}

fn ending_external_local(site: &Site, client: &Client) {
    let fields = json!({"type": "NodePort", "externalTrafficPolicy": "Local"});
    let bench = with_ending(site, client, "svc-endlocal", fields);
    let port = bench.node_port("web", 0);
    end(&bench, "one", false, true);
    let [(_, with), (_, without)] = workers(site);
    bench.expect_pod(&place(OUTSIDE), &format!("{with}:{port}"), "one");
    bench.expect_dropped(&place(OUTSIDE), &format!("{without}:{port}"));
}

fn ending_health(site: &Site, client: &Client) {
    let fields = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"});
    let bench = with_ending(site, client, "svc-endhealth", fields);
    let port = &bench.ns.get(&["service", "web"])["spec"]["healthCheckNodePort"];
    let url = format!("{}:{port}/healthz", workers(site)[0].1);
    let expect = |wanted: u16| {
        wait_for(&format!("the health check to be {wanted}"), || {
            match bench.get(&place(OUTSIDE), &url) {
                Answer::Http(code, _) if code == wanted => Ok(()),
                other => Err(other.to_string()),
            }
        });
    };
    expect(200);
    end(&bench, "one", false, true);
    expect(503);
}

fn proxy_name(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-proxyname");
    left_alone(&bench, "service.kubernetes.io/service-proxy-name", "another");
}

fn headless_label(site: &Site, client: &Client) {
    let bench = Bench::new(site, client, "svc-headlesslabel");
    left_alone(&bench, "service.kubernetes.io/headless", "");
}

/// A label on one of two Services: it is served no more, until the label goes.
fn left_alone(bench: &Bench<'_>, label: &str, value: &str) {
    let mut labelled = service("web");
    labelled["metadata"]["labels"] = json!({label: value});
    bench.make_ready(&[labelled, service("other"), server("one", "web"), server("two", "other")]);
    let (ip, other) = (bench.ns.cluster_ip("web"), bench.ns.cluster_ip("other"));
    let from = place(&workers(bench.site)[0].0);
    let unserved = || {
        wait_for("the labelled Service not to be served", || {
            match bench.get(&from, &format!("{ip}/")) {
                Answer::Http(code, _) => Err(code.to_string()),
                _ => Ok(()),
            }
        });
    };
    bench.expect_pod(&from, &other, "two");
    unserved();
    let set = |value: serde_json::Value| {
        bench.patch("service/web", json!({"metadata": {"labels": {label: value}}}));
    };
    set(json!(null));
    bench.expect_pod(&from, &ip, "one");
    set(json!(value));
    unserved();
    bench.expect_pod(&from, &other, "two");
}
