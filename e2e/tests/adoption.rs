//! A node agent that is killed ends no container, and its successor takes the pods over; what
//! others say of its pods' readiness does not last.

use std::collections::BTreeMap;

use e2e::{Cluster, Lab, LabOptions, Namespace, wait_for};

const NODE: &str = "worker-1";
const PODS: usize = 3;

/// Process ids (in the lab's own numbering) of the node agent in this node's network namespace.
const FIND_AGENT: &str = r#"mine=$(readlink /proc/self/ns/net)
for p in /proc/[0-9]*; do
  [ "$(readlink $p/ns/net 2>/dev/null)" = "$mine" ] || continue
  case "$(tr '\0' ' ' <$p/cmdline 2>/dev/null)" in "coracle node-agent "*) echo ${p#/proc/};; esac
done"#;

const MANIFEST: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeName: worker-1
      containers:
      - {name: web, image: coracle.local/demo}
";

/// By pod: UID, address, container and restarts.
fn pods(ns: &Namespace) -> BTreeMap<String, [String; 4]> {
    let list = ns.get(&["pods", "-l", "app=web"]);
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let read = |pod: &serde_json::Value| {
        let container = &pod["status"]["containerStatuses"][0];
        let facts = [
            &pod["metadata"]["uid"],
            &pod["status"]["podIP"],
            &container["containerID"],
            &container["restartCount"],
        ];
        let name = pod["metadata"]["name"].to_string();
        (name.trim_matches('"').to_owned(), facts.map(ToString::to_string))
    };
    items.iter().map(read).collect()
}

#[test]
fn a_killed_node_agent_ends_no_container_and_its_successor_adopts_them() {
    let lab = Lab::start(LabOptions::default());
    let ns = Namespace { client: lab.lite(), name: "default".into() };
    let agent = || lab.exec(NODE, &["sh", "-c", FIND_AGENT]).ok_lines();
    ns.apply(MANIFEST);
    ns.run(&["rollout", "status", "deployment/web", "--timeout=90s"]).ok();
    let before = pods(&ns);
    assert_eq!(before.len(), PODS, "{before:?}");
    let old = agent();
    assert_eq!(old.len(), 1, "{old:?}");
    lab.exec(NODE, &["kill", "-9", &old[0]]).ok();
    wait_for("another agent", || {
        let new = agent();
        if new.len() == 1 && new != old { Ok(()) } else { Err(format!("{new:?}, before {old:?}")) }
    });
    // Only an agent that has adopted the pod can run something in it.
    for pod in before.keys() {
        let seen = wait_for("the new agent to run a command", || {
            let output = ns.exec(pod, &["/bin/coracle", "--version"]);
            (output.code == 0).then(|| output.stdout.clone()).ok_or(format!("{output:?}"))
        });
        assert!(seen.starts_with("coracle"), "{seen}");
    }
    assert_eq!(pods(&ns), before, "the same containers, never started again");
    ns.run(&["scale", "deployment/web", "--replicas=0"]).ok();
    wait_for("the new agent to end the pods", || {
        let left = pods(&ns);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

#[test]
fn a_static_pod_that_others_call_not_ready_is_ready_again() {
    let lab = Lab::start(LabOptions::default());
    let ns = Namespace { client: lab.lite(), name: "kube-system".into() };
    ns.wait_endpoints("kube-dns", 1, 0);
    let not_ready = r#"{"status":{"conditions":[{"type":"Ready","status":"False"}]}}"#;
    let pod = "cluster-dns-control-plane";
    let patch = ["patch", "pod", pod, "--subresource=status", "-p", not_ready];
    ns.run(&patch).ok();
    let ready = r"jsonpath={.status.conditions[?(@.type=='Ready')].status}";
    wait_for("the node agent to say it is ready", || {
        let seen = ns.run(&["get", "pod", pod, "-o", ready]).ok();
        if seen.trim() == "True" { Ok(()) } else { Err(seen) }
    });
}
