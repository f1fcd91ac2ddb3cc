//! `/healthz`, `/livez`, `/metrics`, `/proxyMode`, and what the own Node does to them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::network::in_namespaces;
use super::api::Api;
use super::process::{Agent, get, set_up_loopback};

fn node() -> Value {
    json!({"metadata": {"name": "node-1"}, "spec": {}})
}

fn service() -> Value {
    json!({
        "metadata": {"namespace": "default", "name": "near"},
        "spec": {
            "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"],
            "internalTrafficPolicy": "Local", "ports": [{"port": 80, "protocol": "TCP"}],
        },
    })
}

fn slice() -> Value {
    json!({
        "metadata": {
            "namespace": "default", "name": "near-1",
            "labels": {"kubernetes.io/service-name": "near"},
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["10.244.2.5"], "nodeName": "node-2"}],
    })
}

#[test]
fn a_node_that_leaves_is_no_place_for_traffic() {
    const NAME: &str = "operations::probes::a_node_that_leaves_is_no_place_for_traffic";
    in_namespaces(NAME, || {
        set_up_loopback();
        let api = Api::start();
        api.put("nodes", node());
        let agent = Agent::start(&api, &[]);
        agent.wait_until_ready();
        let check = |change: Value, expected: u16| {
            let mut changed = node();
            for field in ["metadata", "spec"] {
                for (key, value) in change[field].as_object().into_iter().flatten() {
                    changed[field][key] = value.clone();
                }
            }
            api.put("nodes", changed);
            let answer = agent.wait(&format!("{expected} after {change}"), || {
                get(agent.health, "/healthz", "").filter(|answer| answer.status == expected)
            });
            let body: Value = serde_json::from_str(&answer.body).expect("JSON");
            assert_eq!(body["nodeEligible"], json!(expected == 200), "{change}");
            assert!(answer.headers.contains("content-type: application/json"));
            assert!(answer.headers.contains("x-content-type-options: nosniff"));
            // The agent itself is well all the while.
            let live = get(agent.health, "/livez", "").expect("an answer");
            assert_eq!(live.status, 200, "{change}");
            let body: Value = serde_json::from_str(&live.body).expect("JSON");
            assert_eq!(body["nodeEligible"], Value::Null);
        };
        let taint = |key: &str| json!({"spec": {"taints": [{"key": key, "effect": "NoSchedule"}]}});
        check(taint("ToBeDeletedByClusterAutoscaler"), 503);
        check(taint("node.kubernetes.io/unschedulable"), 200);
        check(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), 503);
        check(json!({}), 200);
    });
}

/// Type, name and labels of each series, without `le` and the buckets.
fn series(text: &str) -> BTreeSet<String> {
    let mut kinds = Vec::new();
    let mut found = BTreeSet::new();
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            kinds.push(described.split_once(' ').expect("a type"));
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let series = line.rsplit_once(' ').expect("a value").0;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        if name.ends_with("_bucket") || name.ends_with("_sum") {
            continue;
        }
        let (described, kind) = kinds.last().expect("a description before its samples");
        let name = match *kind {
            "histogram" => name.strip_suffix("_count").expect("a count"),
            _ => name,
        };
        assert_eq!(name, *described, "described under another name");
        let labels: Vec<&str> = labels
            .trim_end_matches('}')
            .split(',')
            .filter_map(|label| label.split_once('=').map(|(key, _)| key))
            .collect();
        found.insert(format!("{kind} {name} {}", labels.join(",")).trim_end().to_owned());
    }
    found
}

/// Those of upstream's list of metrics that this mode has, and two of our own.
const NFTABLES: &str = "
    counter kubeproxy_conntrack_reconciler_deleted_entries_total ip_family
    counter kubeproxy_events_left_out_total
    counter kubeproxy_proxy_healthz_total code
    counter kubeproxy_proxy_livez_total code
    counter kubeproxy_sync_proxy_rules_endpoint_changes_total
    counter kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total ip_family
    counter kubeproxy_sync_proxy_rules_nftables_sync_failures_total ip_family
    counter kubeproxy_sync_proxy_rules_service_changes_total
    gauge kubeproxy_sync_proxy_rules_endpoint_changes_pending
    gauge kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds ip_family
    gauge kubeproxy_sync_proxy_rules_last_timestamp_seconds ip_family
    gauge kubeproxy_sync_proxy_rules_no_local_endpoints_total ip_family,traffic_policy
    gauge kubeproxy_sync_proxy_rules_service_changes_pending
    gauge kubeproxy_unsupported_services
    histogram kubeproxy_conntrack_reconciler_sync_duration_seconds ip_family
    histogram kubeproxy_network_programming_duration_seconds ip_family
    histogram kubeproxy_sync_full_proxy_rules_duration_seconds ip_family
    histogram kubeproxy_sync_partial_proxy_rules_duration_seconds ip_family
    histogram kubeproxy_sync_proxy_rules_duration_seconds ip_family
";

#[test]
fn metrics_have_upstreams_names_and_labels() {
    const NAME: &str = "operations::probes::metrics_have_upstreams_names_and_labels";
    in_namespaces(NAME, || {
        set_up_loopback();
        let api = Api::start();
        api.put("nodes", node());
        let agent = Agent::start(&api, &[]);
        agent.wait_until_ready();
        get(agent.health, "/livez", "").expect("an answer");
        api.put("services", service());
        let mut udp = service();
        udp["metadata"]["name"] = json!("udp");
        udp["spec"]["clusterIP"] = json!("10.96.0.11");
        udp["spec"]["clusterIPs"] = json!(["10.96.0.11"]);
        udp["spec"]["ports"][0]["protocol"] = json!("UDP");
        api.put("services", udp);
        api.put("endpointslices", slice());
        let metrics = || get(agent.metrics, "/metrics", "").expect("metrics").body;
        for line in [
            "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"} 1",
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family=\"IPv4\",traffic_policy=\"internal\"} 2",
            "kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family=\"IPv4\"} 0",
        ] {
            agent.wait(line, || metrics().contains(line).then_some(()));
        }
        let text = metrics();
        let expected: BTreeSet<String> = NFTABLES
            .lines()
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect();
        assert_eq!(series(&text), expected, "{text}");
        for line in [
            "kubeproxy_sync_proxy_rules_service_changes_total 2",
            "kubeproxy_sync_proxy_rules_endpoint_changes_total 1",
            "kubeproxy_sync_proxy_rules_endpoint_changes_pending 0",
            "kubeproxy_proxy_livez_total{code=\"200\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }

        // Both formats say which they are, and only the newer one has an end.
        let check = |accept: &str, content_type: &str, has_end: bool| {
            let answer = get(agent.metrics, "/metrics", accept).expect("metrics");
            let header = format!("content-type: {content_type}");
            assert!(answer.headers.contains(&header), "{}", answer.headers);
            assert_eq!(answer.body.ends_with("# EOF\n"), has_end, "{accept}");
        };
        check("", "text/plain; version=0.0.4; charset=utf-8", false);
        check("*/*", "text/plain; version=0.0.4; charset=utf-8", false);
        check(
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            true,
        );

        // Each listener has its own paths, as upstream's.
        let status = |at, path| get(at, path, "").expect("an answer").status;
        assert_eq!(get(agent.metrics, "/proxyMode", "").expect("a mode").body, "nftables");
        assert_eq!(status(agent.metrics, "/healthz"), 200);
        assert_eq!(status(agent.health, "/metrics"), 404);
        assert_eq!(status(agent.health, "/"), 404);
    });
}

/// What the cluster role `system:node-proxier` of a stock cluster permits.
#[test]
fn nothing_is_asked_that_a_node_proxier_may_not() {
    const NAME: &str = "operations::probes::nothing_is_asked_that_a_node_proxier_may_not";
    in_namespaces(NAME, || {
        set_up_loopback();
        let api = Api::start();
        api.put("nodes", node());
        api.put("services", service());
        let agent = Agent::start(&api, &[]);
        agent.wait_until_ready();
        let asked = agent.wait("three watches", || {
            let asked = api.requests();
            let watches = asked.iter().filter(|request| request.contains("watch=true"));
            (watches.count() >= 3).then_some(asked)
        });
        for request in asked {
            let lists = ["/api/v1/services?", "/apis/discovery.k8s.io/v1/endpointslices?"];
            let node = "/api/v1/nodes?";
            let target = request.strip_prefix("GET ").unwrap_or_else(|| panic!("{request}"));
            let is_own_node =
                target.starts_with(node) && target.contains("fieldSelector=metadata.name%3Dnode-1");
            assert!(is_own_node || lists.iter().any(|path| target.starts_with(path)), "{request}");
            // Streaming lists are an option of newer servers only.
            assert!(!request.contains("sendInitialEvents"), "{request}");
        }
    });
}

#[test]
fn a_node_is_waited_for_and_another_network_is_begun_anew_with() {
    const NAME: &str =
        "operations::probes::a_node_is_waited_for_and_another_network_is_begun_anew_with";
    in_namespaces(NAME, || {
        set_up_loopback();
        let api = Api::start();
        api.put("nodes", node());
        let mut agent = Agent::start(&api, &["--detect-local-mode=NodeCIDR"]);
        agent.wait("it to say what it waits for", || {
            agent.log().contains("waiting for the Node's spec.podCIDRs").then_some(())
        });
        assert_eq!(get(agent.health, "/healthz", "").expect("an answer").status, 503);
        let with = |network: &str| {
            let mut node = node();
            node["spec"]["podCIDR"] = json!(network);
            node["spec"]["podCIDRs"] = json!([network]);
            node
        };
        api.put("nodes", with("10.244.1.0/24"));
        agent.wait_until_ready();
        api.put("nodes", with("10.244.3.0/24"));
        let status = agent.wait_for_end();
        assert!(!status.success());
        let log = agent.log();
        assert!(log.contains("from 10.244.1.0/24 to 10.244.3.0/24"), "{log}");
    });
}
