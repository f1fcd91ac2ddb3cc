//! A node and its pods in, what to write out. Never talks to an API server.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::plan::{Limits, Observed, reconcile};

const LIMITS: Limits =
    Limits { grace: Duration::from_secs(40), default_toleration: Duration::from_secs(300) };

fn node(ready: &str, taints: Value) -> Node {
    let node = json!({
        "metadata": {"name": "n"}, "spec": {"taints": taints},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    });
    serde_json::from_value(node).expect("the node is well formed")
}

fn pod(name: &str, tolerations: Value, annotations: Value) -> Arc<Pod> {
    let pod = json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"containers": [], "nodeName": "n", "tolerations": tolerations},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    Arc::new(serde_json::from_value(pod).expect("the pod is well formed"))
}

fn unreachable() -> Value {
    json!([
        {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"},
        {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"},
    ])
}

/// Silence and age of the taint in seconds; what is written as a line.
#[track_caller]
fn check(
    node: &Node,
    pods: &[Arc<Pod>],
    silent_for: u64,
    tainted_for: u64,
    all_nodes_lost: bool,
    expected: &str,
) {
    let tainted_for =
        [("node.kubernetes.io/unreachable".to_owned(), Duration::from_secs(tainted_for))];
    let observed = Observed {
        node,
        pods,
        silent_for: Duration::from_secs(silent_for),
        tainted_for: &tainted_for,
        all_nodes_lost,
    };
    let plan = reconcile(&observed, LIMITS, Timestamp::UNIX_EPOCH);
    let names = |pods: &[Arc<Pod>]| {
        pods.iter().filter_map(|pod| pod.metadata.name.clone()).collect::<Vec<_>>().join(" ")
    };
    let mut said = Vec::new();
    let mut say =
        |verb: &str, what: String| (!what.is_empty()).then(|| said.push(format!("{verb} {what}")));
    say(
        "unknown",
        plan.conditions
            .iter()
            .filter(|condition| condition.type_ == "Ready")
            .map(|_| "Ready".to_owned())
            .collect(),
    );
    let taints = plan.taints.map(|taints| {
        let shown: Vec<String> = taints
            .iter()
            .map(|taint| {
                format!("{}:{}", taint.key.trim_start_matches("node.kubernetes.io/"), taint.effect)
            })
            .collect();
        if shown.is_empty() { "none".to_owned() } else { shown.join(" ") }
    });
    say("taints", taints.unwrap_or_default());
    say("not ready", names(&plan.not_ready));
    say("evict", names(&plan.evict));
    say(
        "again in",
        plan.again_after.map(|left| format!("{}s", left.as_secs())).unwrap_or_default(),
    );
    assert_eq!(said.join("; "), expected);
}

#[test]
fn silence_shorter_than_the_grace_period_changes_nothing() {
    let pods = [pod("a", Value::Null, Value::Null)];
    check(&node("True", Value::Null), &pods, 0, 0, false, "again in 40s");
    check(&node("True", Value::Null), &pods, 39, 0, false, "again in 1s");
}

#[test]
fn a_lost_node_is_tainted_and_its_pods_are_out_of_service_at_once() {
    let pods = [pod("a", Value::Null, Value::Null)];
    check(
        &node("True", Value::Null),
        &pods,
        40,
        0,
        false,
        "unknown Ready; taints unreachable:NoSchedule unreachable:NoExecute; not ready a",
    );
}

#[test]
fn pods_stay_as_long_as_they_tolerate() {
    let toleration = |seconds: Value| json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": seconds}]);
    let pods = [
        pod("default", Value::Null, Value::Null),
        pod("short", toleration(json!(10)), Value::Null),
        pod("forever", toleration(Value::Null), Value::Null),
        pod("mirror", toleration(json!(0)), json!({"kubernetes.io/config.mirror": "x"})),
    ];
    let lost = node("Unknown", unreachable());
    let all = "not ready default short forever mirror";
    check(&lost, &pods, 60, 4, false, &format!("{all}; again in 6s"));
    check(&lost, &pods, 60, 10, false, &format!("{all}; evict short; again in 290s"));
    check(&lost, &pods, 600, 300, false, &format!("{all}; evict default short"));
    // Where no node is heard, the fault is more likely here.
    check(&lost, &pods, 600, 300, true, all);
}

#[test]
fn a_node_that_returns_loses_its_taints() {
    check(&node("True", unreachable()), &[], 0, 0, false, "taints none; again in 40s");
    check(
        &node("False", unreachable()),
        &[],
        0,
        0,
        false,
        "taints not-ready:NoSchedule not-ready:NoExecute; again in 40s",
    );
}

#[test]
fn a_node_that_speaks_for_itself_speaks_for_its_pods() {
    let pods = [pod("a", Value::Null, Value::Null)];
    check(
        &node("False", Value::Null),
        &pods,
        0,
        0,
        true,
        "taints not-ready:NoSchedule not-ready:NoExecute; again in 40s",
    );
}

#[test]
fn foreign_taints_stay_and_cordoning_is_shown() {
    let mut cordoned = node("True", json!([{"key": "mine", "effect": "NoSchedule"}]));
    cordoned.spec.get_or_insert_default().unschedulable = Some(true);
    check(
        &cordoned,
        &[],
        0,
        0,
        false,
        "taints mine:NoSchedule unschedulable:NoSchedule; again in 40s",
    );
}
