//! A rolling restart under load: clients on nodes and in a pod ask through the cluster IP all the
//! while, and none is refused.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Child;
use std::thread::{self, JoinHandle};

use crate::{Client, Cluster, Namespace, Request, wait_for};

use super::manifests::{at, deployment, service};

const ROLLOUTS: usize = 3;
/// More than the rollouts can take; the clients are ended when those are over.
const REQUESTS: usize = 1_000_000;
const PAUSE_MS: u64 = 3;
/// So that one client in a hundred would be seen to fail.
const ANSWERS_MIN: usize = 100;
const PLACES: [&str; 2] = ["worker-1", "worker-2"];

/// A pod that runs the probe and nothing else; its log has a line a request. The probe comes
/// by a volume: a pod has a `/tmp` of its own, where the host's may have the sources.
fn asking_pod(words: &[String]) -> String {
    let (probe, rest) = words.split_first().expect("a program");
    let (folder, name) = probe.rsplit_once('/').expect("an absolute path");
    let mut inside = vec![format!("/probe/{name}")];
    inside.extend_from_slice(rest);
    let command = serde_json::to_string(&inside).expect("words are JSON");
    format!(
        "apiVersion: v1
kind: Pod
metadata:
  name: asking
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: tools
    image: coracle.local/tools
    command: {command}
    volumeMounts:
    - {{name: probe, mountPath: /probe, readOnly: true}}
  volumes:
  - {{name: probe, hostPath: {{path: {folder}}}}}
---
"
    )
}

/// Reads a client's lines until it is killed.
fn read_lines(client: &mut Child) -> JoinHandle<Vec<String>> {
    let stdout = client.stdout.take().expect("a pipe was asked for");
    thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).collect())
}

/// Restarts the Deployment and waits until none of its former pods is left.
fn roll(ns: &Namespace) {
    let before: BTreeSet<String> = ns.pods("app=web").into_iter().collect();
    ns.run(&["rollout", "restart", "deployment/web"]).ok();
    ns.run(&["rollout", "status", "deployment/web", "--timeout=90s"]).ok();
    wait_for("the former pods to be gone", || {
        let left = ns.run(&["get", "pods", "-l", "app=web", "-o", "name"]).ok();
        let left: Vec<&str> =
            left.lines().filter(|pod| before.contains(pod.trim_start_matches("pod/"))).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

pub fn loses_no_request(lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("rolling");
    ns.apply(&(deployment("web", 3, "/index.html") + &service("web", "")));
    ns.wait_endpoints("web", 3, 0);
    let request = Request {
        to: at(&ns.cluster_ip("web"), 80),
        path: "/hostname.html".into(),
        timeout_ms: 10_000,
    };
    for place in PLACES {
        wait_for("the rules to be there", || match lab.get_with(place, &request, 1).remove(0) {
            crate::Answer::Http(200, _) => Ok(()),
            other => Err(other.to_string()),
        });
    }
    let words = lab.probe_get(&request, REQUESTS, PAUSE_MS);
    ns.apply(&asking_pod(&words));
    wait_for("the pod to ask", || {
        let log = ns.run(&["logs", "asking"]).stdout;
        log.lines().next().map(drop).ok_or(log)
    });
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut clients: Vec<Child> = PLACES.map(|place| lab.spawn(place, &words)).into();
    let readers: Vec<_> = clients.iter_mut().map(read_lines).collect();
    for _ in 0..ROLLOUTS {
        roll(&ns);
    }
    for client in &mut clients {
        let _ = client.kill();
        let _ = client.wait();
    }
    let mut told: Vec<(&str, Vec<String>)> = Vec::new();
    for (place, reader) in PLACES.into_iter().zip(readers) {
        told.push((place, reader.join().expect("the reader ends")));
    }
    told.push(("a pod", ns.run(&["logs", "asking"]).ok_lines()));
    for (place, lines) in told {
        let failures: Vec<&String> =
            lines.iter().filter(|line| !line.starts_with("200 ")).collect();
        let count = lines.len();
        assert!(failures.is_empty(), "from {place}, of {count}: {failures:?}");
        assert!(count >= ANSWERS_MIN, "from {place}: only {count} requests");
    }
}
