//! A DaemonSet, nodes and pods in, actions and status out. Never talks to an API server.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::fit::{LABEL_GENERATION, LABEL_HASH, new_pod, target_node};
use super::plan::plan;
use super::status::{next_available, status};
use super::view::{Mine, View};
use crate::controllers::scheduler::filter::refusal;

const NOW: i64 = 1_000_000;
/// The hash of the present template.
const HASH: &str = "new";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("the time is in range")
}

/// A set with `strategy` and more fields of the template's pod.
fn set(strategy: Value, pod: Value) -> DaemonSet {
    let mut spec = json!({"containers": []});
    let fields = spec.as_object_mut().expect("it is an object");
    fields.extend(pod.as_object().cloned().unwrap_or_default());
    let set = json!({
        "metadata": {
            "name": "agent", "namespace": "default", "uid": "set", "generation": 1,
            "annotations": {"deprecated.daemonset.template.generation": "2"},
        },
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "updateStrategy": strategy,
            "template": {"metadata": {"labels": {"app": "agent"}}, "spec": spec},
        },
    });
    serde_json::from_value(set).expect("the DaemonSet is well formed")
}

fn rolling(unavailable: Value, surge: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}})
}

fn plain() -> DaemonSet {
    set(rolling(json!(1), json!(0)), json!({}))
}

/// `NAME [label=VALUE] [KEY:EFFECT]…`: a node with a label `disk` and taints.
fn node(line: &str) -> Arc<Node> {
    let mut words = line.split_whitespace();
    let name = words.next().expect("a node has a name");
    let (mut labels, mut taints) = (json!({}), Vec::new());
    for word in words {
        if let Some((key, effect)) = word.split_once(':') {
            taints.push(json!({"key": key, "effect": effect}));
        } else if let Some((key, value)) = word.split_once('=') {
            labels[key] = json!(value);
        }
    }
    let node = json!({
        "metadata": {"name": name, "labels": labels}, "spec": {"taints": taints},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    });
    Arc::new(serde_json::from_value(node).expect("the node is well formed"))
}

/// `NAME node=N|pinned=N [old] [old-hash] [ready=SECONDS_AGO] [age=N] [Failed] [leaving]`.
fn mine(line: &str) -> Mine {
    let words: Vec<&str> = line.split_whitespace().collect();
    let has = |flag: &str| words.contains(&flag);
    let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let number = |key: &str| value(key).and_then(|text| text.parse::<i64>().ok());
    let ready = number("ready");
    let phase = ["Failed", "Succeeded"].into_iter().find(|phase| has(phase)).unwrap_or("Running");
    let pinned = value("pinned")
        .map(|name| new_pod(&plain(), name, HASH).spec.and_then(|spec| spec.affinity));
    let old = has("old");
    let pod = json!({
        "metadata": {
            "name": words[0], "namespace": "default", "uid": words[0],
            "labels": {
                "app": "agent",
                LABEL_HASH: if old || has("old-hash") { "old" } else { HASH },
                LABEL_GENERATION: if old { "1" } else { "2" },
            },
            "creationTimestamp": at(NOW - number("age").unwrap_or(100)).to_string(),
        },
        "spec": {"containers": [], "nodeName": value("node"), "affinity": pinned},
        "status": {"phase": phase, "conditions": [{
            "type": "Ready", "status": if ready.is_some() { "True" } else { "False" },
            "lastTransitionTime": at(NOW - ready.unwrap_or(0)).to_string(),
        }]},
    });
    Mine {
        pod: Arc::new(serde_json::from_value(pod).expect("the pod is well formed")),
        leaving: has("leaving"),
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').map(str::trim).filter(|line| !line.is_empty())
}

/// `DESIRED/CURRENT/READY/UPDATED/AVAILABLE+MISSCHEDULED; create N…; delete P…; ended P…; again in S`.
#[track_caller]
fn check(set: &DaemonSet, nodes: &str, pods: &str, expected: &str) {
    let nodes: Vec<Arc<Node>> = lines(nodes).map(node).collect();
    let pods: Vec<Mine> = lines(pods).map(mine).collect();
    let view = View::new(set, HASH, &nodes, pods, at(NOW));
    let (actions, status) = (plan(&view), status(&view));
    let name = |pod: &Arc<Pod>| pod.metadata.name.clone().unwrap_or_default();
    let mut said = vec![format!(
        "{}/{}/{}/{}/{}+{}",
        status.desired_number_scheduled,
        status.current_number_scheduled,
        status.number_ready,
        status.updated_number_scheduled.unwrap_or(0),
        status.number_available.unwrap_or(0),
        status.number_misscheduled,
    )];
    assert_eq!(
        status.number_unavailable.unwrap_or(0),
        status.desired_number_scheduled - status.number_available.unwrap_or(0)
    );
    let mut say = |verb: &str, what: Vec<String>| {
        if !what.is_empty() {
            said.push(format!("{verb} {}", what.join(" ")));
        }
    };
    say("create", actions.create);
    say("delete", actions.delete.iter().map(name).collect());
    say("ended", actions.ended.iter().map(|(_, pod)| name(pod)).collect());
    let again = next_available(&view).map(|left| format!("{}s", left.as_secs()));
    say("again in", again.into_iter().collect());
    assert_eq!(said.join("; "), expected);
}

#[test]
fn every_node_gets_one_pod() {
    check(&plain(), "a\nb", "", "2/0/0/0/0+0; create a b");
    check(&plain(), "a\nb\nc", "p node=a ready=5\n q pinned=b", "3/2/1/2/1+0; create c");
    // The oldest stays; a bound one comes before one that is not.
    check(
        &plain(),
        "a",
        "p node=a age=5\n q node=a age=9\n r pinned=a age=20",
        "1/1/0/1/0+0; delete p r",
    );
}

#[test]
fn a_pod_that_leaves_holds_its_place_until_it_is_gone() {
    check(&plain(), "a", "p node=a ready=5 leaving", "1/1/1/1/1+0");
    check(&plain(), "a", "p node=a Failed leaving", "1/0/0/0/0+0; create a");
}

#[test]
fn ended_pods_are_replaced() {
    check(&plain(), "a\nb", "p node=a Failed\n q node=b Succeeded", "2/2/0/2/0+0; ended p q");
}

#[test]
fn pods_of_nodes_that_are_gone() {
    // One that was never bound would wait for ever.
    check(&plain(), "a", "p node=a\n q pinned=b", "1/1/0/1/0+0; delete q");
    check(&plain(), "a", "p node=a\n q node=b", "1/1/0/1/0+0");
}

#[test]
fn selectors_and_affinity_choose_nodes() {
    let ssd = set(json!({}), json!({"nodeSelector": {"disk": "ssd"}}));
    check(&ssd, "a disk=ssd\nb\nc disk=hdd", "p node=b", "1/0/0/0/0+1; create a; delete p");
    let pinned = set(json!({}), json!({"nodeName": "b"}));
    check(&pinned, "a\nb", "", "1/0/0/0/0+0; create b");
    let term =
        json!({"matchExpressions": [{"key": "disk", "operator": "NotIn", "values": ["ssd"]}]});
    let affinity = json!({"affinity": {"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}});
    check(&set(json!({}), affinity), "a disk=ssd\nb", "", "1/0/0/0/0+0; create b");
}

#[test]
fn taints_keep_pods_away_or_end_them() {
    check(
        &plain(),
        "a k:NoSchedule\nb k:NoExecute\nc k:PreferNoSchedule",
        "p node=a ready=5\n q node=b",
        "1/0/0/0/0+2; create c; delete q",
    );
    let tolerant = set(json!({}), json!({"tolerations": [{"operator": "Exists"}]}));
    check(&tolerant, "a k:NoSchedule\nb k:NoExecute", "", "2/0/0/0/0+0; create a b");
    let everywhere = "a node.kubernetes.io/not-ready:NoExecute
        b node.kubernetes.io/unreachable:NoExecute
        c node.kubernetes.io/unschedulable:NoSchedule
        d node.kubernetes.io/network-unavailable:NoSchedule";
    check(&plain(), everywhere, "", "3/0/0/0/0+0; create a b c");
    let on_host = set(json!({}), json!({"hostNetwork": true}));
    check(&on_host, everywhere, "", "4/0/0/0/0+0; create a b c d");
}

#[test]
fn a_rolling_update_keeps_its_promise() {
    let nodes = "a\nb\nc";
    let old = "p node=a ready=5 old\n q node=b ready=5 old\n r node=c ready=5 old";
    check(&plain(), nodes, old, "3/3/3/0/3+0; delete p");
    let two = set(rolling(json!("50%"), json!(0)), json!({}));
    check(&two, nodes, old, "3/3/3/0/3+0; delete p q");
    let on_delete = set(json!({"type": "OnDelete"}), json!({}));
    check(&on_delete, nodes, old, "3/3/3/0/3+0");
    // One is on its way: the others wait.
    let waiting = "p node=a ready=5 old leaving\n q node=b ready=5 old\n r node=c ready=5 old";
    check(&plain(), nodes, waiting, "3/3/3/0/3+0");
    let starting = "p node=a\n q node=b ready=5 old\n r node=c ready=5 old";
    check(&plain(), nodes, starting, "3/3/2/1/2+0");
    let ready = "p node=a ready=5\n q node=b ready=5 old\n r node=c ready=5 old";
    check(&plain(), nodes, ready, "3/3/3/1/3+0; delete q");
    // What does not work is replaced at once.
    let broken = "p node=a old\n q node=b old\n r node=c ready=5 old";
    check(&plain(), nodes, broken, "3/3/1/0/1+0; delete p q");
    // The number alone tells a pod of the present template.
    let same = "p node=a ready=5 old-hash\n q node=b ready=5\n r node=c ready=5";
    check(&plain(), nodes, same, "3/3/3/3/3+0");
}

#[test]
fn a_surge_brings_the_new_pod_first() {
    let surge = set(rolling(json!(0), json!(1)), json!({}));
    let nodes = "a\nb";
    check(&surge, nodes, "p node=a ready=5 old\n q node=b ready=5 old", "2/2/2/0/2+0; create a");
    check(
        &surge,
        nodes,
        "p node=a ready=5 old\n n node=a age=1\n q node=b ready=5 old",
        "2/2/2/0/2+0",
    );
    check(
        &surge,
        nodes,
        "p node=a ready=5 old\n n node=a age=1 ready=1\n q node=b ready=5 old",
        "2/2/2/0/2+0; delete p",
    );
    // An old one that is not ready has nothing to wait for.
    check(
        &surge,
        nodes,
        "p node=a old\n n node=a age=1\n q node=b ready=5 old",
        "2/2/1/0/1+0; delete p",
    );
}

#[test]
fn availability_comes_by_waiting() {
    let mut slow = plain();
    if let Some(spec) = &mut slow.spec {
        spec.min_ready_seconds = Some(10);
    }
    check(&slow, "a\nb", "p node=a ready=10\n q node=b ready=4", "2/2/2/2/1+0; again in 6s");
}

#[test]
fn a_pod_is_pinned_to_its_node() {
    let affinity = json!({"affinity": {"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]}}}});
    let pod = new_pod(&set(json!({}), affinity), "b", HASH);
    assert_eq!(target_node(&pod), Some("b"));
    let none = Default::default();
    assert_eq!(refusal(&pod, &node("b"), &none), None);
    assert_eq!(
        refusal(&pod, &node("a disk=ssd"), &none).as_deref(),
        Some("node(s) didn't match Pod's node affinity/selector")
    );
    let labels = pod.metadata.labels.unwrap_or_default();
    assert_eq!(labels[LABEL_HASH], HASH);
    assert_eq!(labels[LABEL_GENERATION], "2");
    assert_eq!(pod.metadata.generate_name.as_deref(), Some("agent-"));
}
