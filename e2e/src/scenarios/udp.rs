//! S13 for UDP: a client that goes on asking from one port follows the endpoints.
//!
//! Never lets the client take another port: a new one would hide what is remembered of the old.

use crate::{Client, Cluster, wait_for};

use super::background::Background;

/// Answers in a row that must come from the endpoint that is left.
const ANSWERS: usize = 20;

/// A Service whose one endpoint is this port of `outside`.
fn objects(address: &str, port: u16) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata:
  name: echo
spec:
  ports:
  - {{name: echo, port: 7, protocol: UDP}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: echo-1
  labels: {{kubernetes.io/service-name: echo}}
addressType: IPv4
ports:
- {{name: echo, port: {port}, protocol: UDP}}
endpoints:
- addresses: [{address}]
  conditions: {{ready: true}}
"
    )
}

pub fn failover(lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("s13u");
    // Each client's tests run at the same time, in one place.
    let first = if client.name == "lite" { 9_203 } else { 9_201 };
    let outside = lab.outside_address();
    let serve = |port: u16, name: &str| {
        let at = format!("{outside}:{port}");
        Background::start(lab, "outside", &[&lab.probe(), "serve-udp", &at, name])
    };
    let _servers = [serve(first, "one"), serve(first + 1, "two")];
    ns.apply(&objects(&outside, first));
    let to = format!("{}:7", ns.cluster_ip("echo"));
    let asking = [&lab.probe(), "ask-udp", &to, "10"];
    let mut asking = Background::start(lab, "worker-1", &asking);
    let mut answers = asking.lines();
    let mut until = |wanted: &str| {
        wait_for(&format!("{wanted} to answer"), || match answers.next() {
            Some(answer) if answer == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        });
    };
    until("one");
    ns.apply(&objects(&outside, first + 1));
    until("two");
    let then: Vec<String> = answers.take(ANSWERS).collect();
    assert_eq!(then, vec!["two"; ANSWERS]);
}
