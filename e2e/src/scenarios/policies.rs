//! S7: traffic policies, seen by four observers: outside, a node with an endpoint, a node
//! without, and a pod.

use crate::{Answer, Client, Cluster, Namespace, wait_for};

use super::manifests::{at, client_pod, deployment, service};

/// (name, address) of the node that runs the only pod of `web`, and of one that does not.
pub fn with_and_without(lab: &dyn Cluster, ns: &Namespace) -> [(String, String); 2] {
    let pods = ns.get(&["pods", "-l", "app=web"]);
    let with =
        pods["items"][0]["spec"]["nodeName"].as_str().expect("the pod has a node").to_owned();
    let nodes = lab.nodes();
    let find = |wanted: bool| {
        let mut found =
            nodes.iter().filter(|(name, _)| (*name == with) == wanted && name != "control-plane");
        found.next().cloned().expect("two workers")
    };
    [find(true), find(false)]
}

/// Waits until a request from `place` gets that answer.
#[track_caller]
pub fn expect(lab: &dyn Cluster, place: &str, to: (&str, u16), path: &str, wanted: &Answer) {
    wait_for(&format!("{place} → {}:{}{path} to be {wanted}", to.0, to.1), || {
        let answer = lab.get(place, at(to.0, to.1), path);
        if answer == *wanted { Ok(()) } else { Err(answer.to_string()) }
    });
}

/// S7: `externalTrafficPolicy: Local`, and the pod sees the client's own address.
pub fn external_local(lab: &dyn Cluster, client: &Client) {
    let ns = external_local_answers(lab, client);
    let name = &ns.pods("app=web")[0];
    let own = format!("{} ", lab.outside_address());
    wait_for("the client's own address in the pod's log", || {
        let log = ns.run(&["logs", name]).ok();
        if log.lines().any(|line| line.starts_with(&own)) { Ok(()) } else { Err(log) }
    });
}

/// S7: who is answered under `externalTrafficPolicy: Local`, by which node.
pub fn external_local_answers(lab: &dyn Cluster, client: &Client) -> Namespace {
    let ns = client.namespace("s07e");
    ns.apply(&(deployment("web", 1, "/index.html") + &service("web", "type: NodePort")));
    ns.wait_endpoints("web", 1, 0);
    let port = ns.get(&["service", "web"])["spec"]["ports"][0]["nodePort"].as_u64();
    let port = u16::try_from(port.expect("a node port")).expect("a port");
    let [(with, with_ip), (without, without_ip)] = with_and_without(lab, &ns);
    let pod = Answer::Http(200, ns.pods("app=web").remove(0));
    expect(lab, "outside", (&without_ip, port), "/hostname.html", &pod);

    ns.edit("service/web", "externalTrafficPolicy: Cluster", "externalTrafficPolicy: Local").ok();
    expect(lab, "outside", (&without_ip, port), "/hostname.html", &Answer::Timeout);
    expect(lab, "outside", (&with_ip, port), "/hostname.html", &pod);
    // A node of the cluster meets all endpoints, through its own address too.
    expect(lab, &without, (&without_ip, port), "/hostname.html", &pod);
    expect(lab, &with, (&with_ip, port), "/hostname.html", &pod);
    ns
}

/// S7: `internalTrafficPolicy: Local`.
pub fn internal_local(lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("s07i");
    ns.apply(&(deployment("web", 1, "/index.html") + &service("web", "") + &client_pod()));
    ns.wait_endpoints("web", 1, 0);
    let [(with, _), (without, _)] = with_and_without(lab, &ns);
    let ip = ns.cluster_ip("web");
    let pod = Answer::Http(200, ns.pods("app=web").remove(0));
    expect(lab, &without, (&ip, 80), "/hostname.html", &pod);
    ns.edit("service/web", "internalTrafficPolicy: Cluster", "internalTrafficPolicy: Local").ok();
    expect(lab, &without, (&ip, 80), "/hostname.html", &Answer::Timeout);
    expect(lab, &with, (&ip, 80), "/hostname.html", &pod);
}

/// S7: a policy in lower case is a 422 that names the allowed values.
pub fn misspelt(_lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("s07m");
    ns.apply(&service("web", "type: NodePort"));
    for field in ["externalTrafficPolicy", "internalTrafficPolicy"] {
        let patch = format!(r#"{{"spec":{{"{field}":"local"}}}}"#);
        let error = ns.run(&["patch", "service", "web", "-p", &patch]).failed();
        for wanted in
            [&format!("spec.{field}"), "Unsupported value: \"local\"", "\"Cluster\", \"Local\""]
        {
            assert!(error.contains(wanted), "{wanted} is missing in {error}");
        }
    }
}
