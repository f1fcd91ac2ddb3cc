//! DaemonSets: one pod a node that fits, followed through a rollout and to the end.

use std::collections::BTreeSet;

use crate::{Client, Cluster, Namespace, wait_for};

fn manifest(word: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: agent
spec:
  selector:
    matchLabels: {{app: agent}}
  template:
    metadata:
      labels: {{app: agent}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: agent
        image: coracle.local/tools
        env: [{{name: WORD, value: {word}}}]
"
    )
}

/// Nodes and names of the set's pods.
fn pods(ns: &Namespace) -> (Vec<String>, BTreeSet<String>) {
    let list = ns.get(&["pods", "-l", "app=agent"]);
    let text = |pod: &serde_json::Value, path: &str| {
        let value = pod.pointer(path).and_then(serde_json::Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let all = list["items"].as_array().cloned().unwrap_or_default();
    let mut nodes: Vec<String> = all.iter().map(|pod| text(pod, "/spec/nodeName")).collect();
    nodes.sort();
    (nodes, all.iter().map(|pod| text(pod, "/metadata/name")).collect())
}

pub fn one_pod_a_node(_lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("daemon");
    ns.apply(&manifest("one"));
    let rolled_out = ["rollout", "status", "ds/agent", "--timeout=90s"];
    let said = ns.run(&rolled_out).ok();
    assert!(said.contains("daemon set \"agent\" successfully rolled out"), "{said}");
    // The control plane's taint is not tolerated.
    let (nodes, first) = pods(&ns);
    assert_eq!(nodes, ["worker-1", "worker-2"]);
    let line = ns.run(&["get", "ds", "agent", "--no-headers"]).ok();
    let columns: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(columns[..7], ["agent", "2", "2", "2", "2", "2", "<none>"]);

    ns.apply(&manifest("two"));
    ns.run(&rolled_out).ok();
    let (nodes, second) = pods(&ns);
    assert_eq!(nodes, ["worker-1", "worker-2"]);
    assert!(second.is_disjoint(&first), "{first:?} {second:?}");

    let victim = second.first().expect("two pods").clone();
    ns.run(&["delete", "pod", &victim]).ok();
    wait_for("another pod in its place", || {
        let (nodes, names) = pods(&ns);
        if nodes == ["worker-1", "worker-2"] && !names.contains(&victim) {
            Ok(())
        } else {
            Err(format!("{nodes:?} {names:?}"))
        }
    });
    ns.run(&["delete", "ds", "agent"]).ok();
    wait_for("its pods to go with it", || match pods(&ns) {
        (nodes, _) if nodes.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    });
}
