//! S6: node ports, from outside the cluster, from nodes, and from the host.
//!
//! Never leaves the lab but for the lab's own loopback address on the host.

use crate::{Answer, Client, Cluster, Request, wait_for};

use super::manifests::{at, deployment, service};

/// Each client's tests run at the same time, and each mode's leave their Services there, so
/// each has a port of its own.
fn port(client: &Client) -> u16 {
    match client.name {
        "lite" => 31002,
        "iptables" => 31003,
        "userspace" => 31004,
        _ => 30010,
    }
}

fn node_port(port: u16) -> String {
    format!("type: NodePort\nports: [{{name: http, port: 80, targetPort: 80, nodePort: {port}}}]")
}

/// A Service whose only port is that of `more`.
fn service_with(name: &str, more: &str) -> String {
    service(name, more).replace("  ports:\n  - {name: http, port: 80, targetPort: 80}\n", "")
}

/// S6: the node port answers on every node, for every observer, and on the host.
pub fn every_node(lab: &dyn Cluster, client: &Client) {
    let (ns, port) = (client.namespace("s06"), port(client));
    ns.apply(&(deployment("web", 1, "/index.html") + &service_with("web", &node_port(port))));
    ns.wait_endpoints("web", 1, 0);
    let line = ns.run(&["get", "svc", "web", "--no-headers"]).ok();
    assert!(line.contains(&format!("80:{port}/TCP")), "{line}");
    let pod = ns.pods("app=web").remove(0);
    let places = lab.places();
    for (node, address) in lab.nodes() {
        for place in &places {
            wait_for(&format!("{place} to reach the pod through {node}"), || {
                match lab.get(place, at(&address, port), "/hostname.html") {
                    Answer::Http(200, name) if name == pod => Ok(()),
                    other => Err(other.to_string()),
                }
            });
        }
    }
    let Some(host) = lab.host_address() else {
        return;
    };
    assert!(host.starts_with("127."), "{host} is not loopback");
    let request = Request { to: at(&host, port), path: "/hostname.html".into(), timeout_ms: 2_000 };
    wait_for("the host to reach the pod on the lab's loopback address", || match request.send() {
        Answer::Http(200, name) if name == pod => Ok(()),
        other => Err(other.to_string()),
    });
}

/// S6: a port in use or out of range is a 422 that says so.
pub fn bad_ports(_lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("s06b");
    let taken = if client.name == "lite" { 32124 } else { 32123 };
    ns.apply(&service_with("first", &node_port(taken)));
    let apply =
        |port| ns.run_with_input(&["create", "-f", "-"], &service_with("second", &node_port(port)));
    let error = apply(taken).failed();
    assert!(
        error.contains("spec.ports[0].nodePort") && error.contains("already allocated"),
        "{error}"
    );
    let error = apply(80).failed();
    assert!(error.contains("spec.ports[0].nodePort") && error.contains("30000-32767"), "{error}");
    assert!(ns.run(&["get", "service", "second"]).failed().contains("NotFound"));
}
