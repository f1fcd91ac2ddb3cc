//! S1, S2, S12, S13: traffic follows readiness.

use std::collections::BTreeSet;

use crate::{Answer, Client, Cluster, Namespace, wait_for};

use super::manifests::{at, client_pod, deployment, service};

/// Requests within which every pod of three must have answered: a miss is one in 10^10.
const REQUESTS: usize = 60;

fn refused(lab: &dyn Cluster, ns: &Namespace, service: &str) {
    let to = at(&ns.cluster_ip(service), 80);
    wait_for("every node to refuse the connection", || {
        let seen: Vec<_> = lab.nodes().iter().map(|(node, _)| lab.get(node, to, "/")).collect();
        if seen.iter().all(|answer| *answer == Answer::Refused) {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
}

/// The names that answer from a place, once all of them are 200.
fn names(lab: &dyn Cluster, place: &str, ns: &Namespace, service: &str) -> BTreeSet<String> {
    let answers = lab.get_many(place, at(&ns.cluster_ip(service), 80), "/hostname.html", REQUESTS);
    let name = |answer: &Answer| match answer {
        Answer::Http(200, body) => body.clone(),
        other => panic!("{place} got {other} in {answers:?}"),
    };
    answers.iter().map(name).collect()
}

/// S1: pods that are not ready get no traffic, and the connection is refused at once.
pub fn not_ready(lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("s01");
    ns.apply(&(deployment("web", 3, "/index1.html") + &service("web", "") + &client_pod()));
    ns.wait_endpoints("web", 0, 3);
    let pods = ns.run(&["get", "pods", "-l", "app=web", "--no-headers"]).ok();
    assert_eq!(pods.lines().count(), 3, "{pods}");
    for pod in pods.lines() {
        let columns: Vec<&str> = pod.split_whitespace().collect();
        assert_eq!(columns[1..3], ["0/1", "Running"], "{pods}");
    }
    refused(lab, &ns, "web");
    ns.wait_ready("client");
    let url = format!("http://{}/", ns.cluster_ip("web"));
    let curl = ns.exec("client", &["curl", "-sS", "--max-time", "5", &url]);
    // curl's exit code 7: the connection was refused; 28 would be the timeout.
    assert_eq!(curl.code, 7, "{curl:?}");
}

/// S2: a mended probe rolls out, and all pods answer.
pub fn mended(lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("s02");
    ns.apply(&(deployment("web", 3, "/index1.html") + &service("web", "") + &client_pod()));
    ns.wait_endpoints("web", 0, 3);
    let before = ns.pods("app=web");
    ns.edit("deployment/web", "index1.html", "index.html").ok();
    ns.run(&["rollout", "status", "deployment/web", "--timeout=90s"]).ok();
    ns.wait_endpoints("web", 3, 0);
    let after: BTreeSet<String> = wait_for("three new pods", || {
        let pods = ns.pods("app=web");
        if pods.len() == 3 && pods.iter().all(|pod| !before.contains(pod)) {
            Ok(pods.into_iter().collect())
        } else {
            Err(format!("{pods:?}"))
        }
    });
    for node in &lab.node_names() {
        assert_eq!(names(lab, node, &ns, "web"), after, "from {node}");
    }
    ns.wait_ready("client");
    // What goes wrong stands in the place of the answer.
    let script = format!(
        "for i in $(seq {REQUESTS}); do curl -sS http://{}/hostname.html 2>&1 || echo at $(date +%T.%N); done",
        ns.cluster_ip("web")
    );
    let seen = ns.exec("client", &["sh", "-c", &script]).ok_lines();
    assert_eq!(seen.len(), REQUESTS, "{seen:?}");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), after, "from a pod");
}

/// S12: `publishNotReadyAddresses`, on and off.
pub fn publish_not_ready(lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("s12");
    ns.apply(&(deployment("web", 1, "/index1.html") + &service("web", "")));
    ns.wait_endpoints("web", 0, 1);
    refused(lab, &ns, "web");
    ns.run(&["patch", "service", "web", "-p", r#"{"spec":{"publishNotReadyAddresses": true}}"#])
        .ok();
    ns.wait_endpoints("web", 1, 0);
    let pod = ns.pods("app=web").remove(0);
    let to = at(&ns.cluster_ip("web"), 80);
    wait_for("the pod to answer", || match lab.get("worker-1", to, "/hostname.html") {
        Answer::Http(200, name) if name == pod => Ok(()),
        other => Err(other.to_string()),
    });
    ns.run(&["patch", "service", "web", "-p", r#"{"spec":{"publishNotReadyAddresses": false}}"#])
        .ok();
    ns.wait_endpoints("web", 0, 1);
    refused(lab, &ns, "web");
}

/// S13: traffic follows when all pods are deleted.
pub fn deleted_pods(lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("s13");
    ns.apply(&(deployment("web", 3, "/index.html") + &service("web", "")));
    let old_addresses = ns.wait_endpoints("web", 3, 0);
    let old: BTreeSet<String> = ns.pods("app=web").into_iter().collect();
    wait_for("all pods to answer", || {
        let seen = names(lab, "worker-1", &ns, "web");
        if seen == old { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    ns.run(&["delete", "pod", "-l", "app=web"]).ok();
    let new = wait_for("three other endpoints", || {
        let (ready, _) = ns.endpoints("web");
        let pods: BTreeSet<String> = ns.pods("app=web").into_iter().collect();
        if ready.len() == 3 && pods.is_disjoint(&old) {
            Ok(pods)
        } else {
            Err(format!("{ready:?} {pods:?}"))
        }
    });
    assert_ne!(ns.endpoints("web").0, old_addresses, "new pods have new addresses");
    let nodes = lab.node_names();
    wait_for("every node to meet only the new pods", || {
        for node in &nodes {
            let answers =
                lab.get_many(node, at(&ns.cluster_ip("web"), 80), "/hostname.html", REQUESTS);
            let seen: BTreeSet<String> = answers.iter().map(ToString::to_string).collect();
            let wanted: BTreeSet<String> = new.iter().map(|name| format!("200 {name}")).collect();
            if seen != wanted {
                return Err(format!("from {node}: {seen:?}, wanted {wanted:?}"));
            }
        }
        Ok(())
    });
}
