//! S11, S23: Services without a selector, over Endpoints that somebody wrote by hand.
//!
//! Never uses an address outside the lab: `outside` stands for the rest of the world.

use crate::{Answer, Client, Cluster, Request, wait_for};

use super::background::Background;
use super::manifests::{at, hand_written};

/// A server in `outside`.
fn serve(lab: &dyn Cluster, port: u16) -> Background {
    let own = lab.outside_address();
    let at = format!("{own}:{port}");
    let server = Background::start(lab, "outside", &[&lab.probe(), "serve", &at, "elsewhere"]);
    wait_for("the outside server", || match lab.get("outside", self::at(&own, port), "/") {
        Answer::Http(200, _) => Ok(()),
        other => Err(other.to_string()),
    });
    server
}

/// Each test has a port of its own: they run at the same time.
fn port(client: &Client, base: u16) -> u16 {
    base + u16::from(client.name == "lite")
}

pub fn outside_address(lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("s11");
    let port = port(client, 8080);
    let _server = serve(lab, port);
    let outside = lab.outside_address();
    ns.apply(&hand_written("elsewhere", &[&outside], port));
    let slices = wait_for("the mirrored slice", || {
        let slices = ns.get(&["endpointslices", "-l", "kubernetes.io/service-name=elsewhere"]);
        if slices["items"][0].is_object() { Ok(slices) } else { Err(slices.to_string()) }
    });
    let slice = &slices["items"][0];
    let managed_by = &slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"];
    assert_eq!(managed_by, "endpointslicemirroring-controller.k8s.io");
    assert_eq!(slice["endpoints"][0]["addresses"][0], outside);
    let to = at(&ns.cluster_ip("elsewhere"), 6666);
    for node in &lab.node_names() {
        wait_for(&format!("{node} to reach the outside address"), || {
            match lab.get(node, to, "/") {
                Answer::Http(200, body) if body.starts_with("elsewhere ") => Ok(()),
                other => Err(other.to_string()),
            }
        });
    }
    assert_eq!(ns.endpoints("elsewhere").0, [outside], "nobody wrote over the Endpoints");
}

pub fn dead_address(lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("s23");
    let port = port(client, 8090);
    let _server = serve(lab, port);
    let mut both = vec![lab.outside_address(), lab.nobodys_address()];
    both.sort();
    ns.apply(&hand_written("half-dead", &[&both[0], &both[1]], port));
    let request =
        Request { to: at(&ns.cluster_ip("half-dead"), 6666), path: "/".into(), timeout_ms: 200 };
    wait_for("both an answer and none", || {
        let answers = lab.get_with("worker-1", &request, 20);
        let answered =
            answers.iter().filter(|answer| matches!(answer, Answer::Http(200, _))).count();
        if answered > 0 && answered < answers.len() { Ok(()) } else { Err(format!("{answers:?}")) }
    });
    assert_eq!(ns.endpoints("half-dead").0, both, "a Service does not check health");
}
