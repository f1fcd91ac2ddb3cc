//! A ReplicaSet and pods in, actions out. Never talks to an API server.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::reconcile::{Observed, reconcile};

const NOW: i64 = 1_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("the time is in range")
}

fn replica_set(replicas: i32, min_ready_seconds: i32) -> ReplicaSet {
    let set = json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "set", "generation": 1},
        "spec": {
            "replicas": replicas, "minReadySeconds": min_ready_seconds,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web", "extra": "yes"}}},
        },
    });
    serde_json::from_value(set).expect("the ReplicaSet is well formed")
}

/// `NAME [node=N] [phase] [ready=SECONDS_AGO] [restarts=N] [age=N] [cost=N] [orphan] [alien] [other] [leaving]`.
fn pod(line: &str) -> Arc<Pod> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let has = |flag: &str| words.contains(&flag);
    let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let number = |key: &str| value(key).and_then(|text| text.parse::<i64>().ok());
    let owner = |uid: &str| json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": uid, "controller": true}]);
    let owners = if has("orphan") {
        json!(null)
    } else {
        owner(if has("alien") { "another" } else { "set" })
    };
    let ready = number("ready");
    let phase = ["Pending", "Failed", "Succeeded"]
        .into_iter()
        .find(|phase| has(phase))
        .unwrap_or("Running");
    let pod = json!({
        "metadata": {
            "name": words[0], "namespace": "default", "uid": words[0],
            "labels": {"app": if has("other") { "other" } else { "web" }},
            "ownerReferences": owners,
            "creationTimestamp": at(NOW - number("age").unwrap_or(100)).to_string(),
            "deletionTimestamp": has("leaving").then(|| at(NOW).to_string()),
            "annotations": number("cost").map(|cost| json!({"controller.kubernetes.io/pod-deletion-cost": cost.to_string()})),
        },
        "spec": {"containers": [], "nodeName": value("node")},
        "status": {
            "phase": phase,
            "conditions": [{
                "type": "Ready", "status": if ready.is_some() { "True" } else { "False" },
                "lastTransitionTime": at(NOW - ready.unwrap_or(0)).to_string(),
            }],
            "containerStatuses": number("restarts").map(|restarts| json!([{
                "name": "c", "image": "", "imageID": "", "ready": true, "restartCount": restarts,
            }])),
        },
    });
    Arc::new(serde_json::from_value(pod).expect("the pod is well formed"))
}

#[track_caller]
fn check(set: &ReplicaSet, pods: &str, doomed: usize, expected: &str) {
    let pods: Vec<Arc<Pod>> =
        pods.lines().map(str::trim).filter(|line| !line.is_empty()).map(pod).collect();
    let related = pods.clone();
    let actions =
        reconcile(Observed { replica_set: set, pods, doomed, related: &related }, at(NOW));
    let names = |pods: &[Arc<Pod>]| {
        pods.iter().filter_map(|pod| pod.metadata.name.clone()).collect::<Vec<_>>().join(" ")
    };
    let count = |number: Option<i32>| number.unwrap_or(0);
    let status = &actions.status;
    let mut said = vec![format!(
        "{} replicas, {} ready, {} available, {} leaving",
        status.replicas,
        count(status.ready_replicas),
        count(status.available_replicas),
        count(status.terminating_replicas),
    )];
    let mut say =
        |verb: &str, what: String| (!what.is_empty()).then(|| said.push(format!("{verb} {what}")));
    say("adopt", names(&actions.adopt));
    say("release", names(&actions.release));
    say("create", if actions.create > 0 { actions.create.to_string() } else { String::new() });
    say("delete", names(&actions.delete));
    say(
        "again in",
        actions.again_after.map(|left| format!("{}s", left.as_secs())).unwrap_or_default(),
    );
    assert_eq!(said.join("; "), expected);
}

#[test]
fn missing_pods_are_created_and_only_active_ones_count() {
    check(&replica_set(3, 0), "", 0, "0 replicas, 0 ready, 0 available, 0 leaving; create 3");
    check(
        &replica_set(3, 0),
        "a node=n ready=5\n b node=n Failed\n c node=n ready=5 leaving\n d node=n alien",
        0,
        "1 replicas, 1 ready, 1 available, 1 leaving; create 2",
    );
}

#[test]
fn a_pod_deleted_a_moment_ago_is_leaving_though_the_watch_lags() {
    check(&replica_set(1, 0), "a node=n ready=5", 1, "1 replicas, 1 ready, 1 available, 1 leaving");
}

#[test]
fn a_set_that_is_being_deleted_creates_and_adopts_nothing() {
    let mut set = replica_set(3, 0);
    set.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(NOW)));
    check(&set, "a node=n\n b node=n orphan", 0, "1 replicas, 0 ready, 0 available, 0 leaving");
}

#[test]
fn orphans_are_adopted_and_strangers_released() {
    check(
        &replica_set(2, 0),
        "a node=n orphan\n b node=n other\n c node=n orphan other",
        0,
        "1 replicas, 0 ready, 0 available, 0 leaving; adopt a; release b; create 1",
    );
}

#[test]
fn the_least_useful_pods_go_first() {
    let order = [
        "unassigned",
        "pending node=n1 Pending",
        "unready node=n1",
        "cheap node=n1 ready=50 cost=-5",
        "crowded node=n1 ready=50",
        "late node=n2 ready=5",
        "restarted node=n2 ready=50 restarts=3",
        "young node=n2 ready=50 age=60",
        "old node=n2 ready=50 age=600",
    ];
    // n1 is the crowded node only as long as it has more pods than n2.
    let filler = "x1 node=n1 ready=900 alien\n x2 node=n1 ready=900 alien";
    for keep in 0..order.len() {
        let mut lines = order.to_vec();
        lines.reverse();
        let replicas = i32::try_from(order.len() - keep).expect("the number is small");
        let set = replica_set(replicas, 0);
        let text = format!("{}\n{filler}", lines.join("\n"));
        let pods: Vec<Arc<Pod>> = text.lines().map(str::trim).map(pod).collect();
        let related = pods.clone();
        let actions =
            reconcile(Observed { replica_set: &set, pods, doomed: 0, related: &related }, at(NOW));
        let gone: Vec<&str> =
            actions.delete.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
        let expected: Vec<&str> =
            order[..keep].iter().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(gone, expected);
    }
}

#[test]
fn availability_comes_by_waiting() {
    check(
        &replica_set(3, 10),
        "a node=n ready=10\n b node=n ready=4\n c node=n",
        0,
        "3 replicas, 2 ready, 1 available, 0 leaving; again in 6s",
    );
}
