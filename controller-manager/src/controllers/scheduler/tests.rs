//! Pods and nodes in, a node's name or the reason for none out. Never talks to an API server.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use super::{Candidate, choose};

/// A ready node with labels and a `spec`, running `pods` pods of which `kin` are of the same group.
fn node(name: &str, labels: Value, spec: Value, pods: usize, kin: usize) -> Candidate {
    let node = json!({
        "metadata": {"name": name, "labels": labels}, "spec": spec,
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    });
    let node: Node = serde_json::from_value(node).expect("the node is well formed");
    Candidate { node: Arc::new(node), pods, kin, taken: BTreeSet::new() }
}

fn plain(name: &str, pods: usize, kin: usize) -> Candidate {
    node(name, Value::Null, json!({}), pods, kin)
}

#[track_caller]
fn check(spec: Value, nodes: &[Candidate], expected: &str) {
    let mut whole = json!({"containers": []});
    whole
        .as_object_mut()
        .expect("it is an object")
        .extend(spec.as_object().cloned().unwrap_or_default());
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": whole}))
        .expect("the pod is well formed");
    let choice = choose(&pod, nodes).unwrap_or_else(|reason| format!("none: {reason}"));
    assert_eq!(choice, expected);
}

#[test]
fn pods_are_spread_by_group_then_by_number_then_by_name() {
    check(json!({}), &[plain("a", 1, 1), plain("b", 9, 0)], "b");
    check(json!({}), &[plain("a", 5, 1), plain("b", 4, 1)], "b");
    check(json!({}), &[plain("b", 4, 1), plain("a", 4, 1)], "a");
}

#[test]
fn the_reasons_against_each_node_are_counted() {
    let taint = json!({"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]});
    let mut silent = plain("e", 0, 0);
    Arc::make_mut(&mut silent.node).status = None;
    check(
        json!({}),
        &[
            node("a", Value::Null, taint, 0, 0),
            node("b", Value::Null, json!({"unschedulable": true}), 0, 0),
            node("c", Value::Null, json!({"unschedulable": true}), 0, 0),
            silent,
        ],
        "none: 0/4 nodes are available: \
         1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, \
         1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }, \
         2 node(s) were unschedulable.",
    );
    check(json!({}), &[], "none: no nodes available to schedule pods");
    check(
        json!({"nodeSelector": {"disk": "ssd"}}),
        &[plain("a", 0, 0)],
        "none: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
    );
}

#[test]
fn tolerations_selectors_and_affinity_open_nodes() {
    let tainted = || {
        node(
            "a",
            json!({"disk": "ssd"}),
            json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}),
            0,
            0,
        )
    };
    check(
        json!({"tolerations": [{"key": "k", "value": "v"}], "nodeSelector": {"disk": "ssd"}}),
        &[tainted(), plain("b", 0, 0)],
        "a",
    );
    check(json!({"tolerations": [{"operator": "Exists"}]}), &[tainted()], "a");
    check(
        json!({"tolerations": [{"key": "k", "value": "other"}]}),
        &[tainted()],
        "none: 0/1 nodes are available: 1 node(s) had untolerated taint {k: v}.",
    );
    let affinity = |operator: &str| {
        let term =
            json!({"matchExpressions": [{"key": "disk", "operator": operator, "values": ["ssd"]}]});
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}})
    };
    let nodes = [node("a", json!({"disk": "ssd"}), json!({}), 0, 0), plain("b", 0, 0)];
    check(affinity("In"), &nodes, "a");
    check(affinity("NotIn"), &nodes, "b");
}

#[test]
fn a_host_port_is_taken_once_a_node() {
    let mut busy = plain("a", 0, 0);
    busy.taken.insert(("127.0.0.1".to_owned(), "TCP".to_owned(), 80));
    let wants = |port: i32| json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": port}]}]});
    check(
        wants(80),
        std::slice::from_ref(&busy),
        "none: 0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.",
    );
    check(wants(81), &[busy], "a");
}
