//! S8's smaller sibling: an address that somebody else's load balancer gives, and what it asks
//! the nodes.
//!
//! Never makes an address: a patch of the status does, as a load balancer's controller would.

use crate::{Answer, Client, Cluster, Namespace, scenarios::policies, wait_for};
use policies::expect;

use super::manifests::{deployment, service};

/// The first kubectl with `--subresource`.
const FIRST_MINOR_WITH_SUBRESOURCE: u32 = 24;

/// An address that the network leads to worker-1, and that no pod has: each client has its own.
fn address(ns: &Namespace) -> String {
    let node = ns.get(&["node", "worker-1"]);
    let network = node["spec"]["podCIDR"].as_str().expect("a network of pods");
    let (prefix, _) = network.rsplit_once('.').expect("an IPv4 network");
    let host = if ns.client.name == "lite" { 251 } else { 250 };
    format!("{prefix}.{host}")
}

fn give_address(lab: &dyn Cluster, ns: &Namespace, ip: &str) {
    let able =
        if ns.client.minor < FIRST_MINOR_WITH_SUBRESOURCE { lab.lite() } else { ns.client.clone() };
    let ns = Namespace { client: able, name: ns.name.clone() };
    let patch = format!(r#"{{"status":{{"loadBalancer":{{"ingress":[{{"ip":"{ip}"}}]}}}}}}"#);
    ns.run(&["patch", "service", "web", "--subresource=status", "-p", &patch]).ok();
}

fn external_ip(ns: &Namespace) -> String {
    let line = ns.run(&["get", "svc", "web", "--no-headers"]).ok();
    line.split_whitespace().nth(3).unwrap_or_default().to_owned()
}

pub fn address_and_ranges(lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("s08");
    ns.apply(&(deployment("web", 1, "/index.html") + &service("web", "type: LoadBalancer")));
    ns.wait_endpoints("web", 1, 0);
    assert_eq!(external_ip(&ns), "<pending>");
    let ip = address(&ns);
    give_address(lab, &ns, &ip);
    assert_eq!(external_ip(&ns), ip);
    let pod = Answer::Http(200, ns.pods("app=web").remove(0));
    for place in ["outside", "worker-1", "worker-2"] {
        expect(lab, place, (&ip, 80), "/hostname.html", &pod);
    }
    let allow = |range: &str| {
        let patch = format!(r#"{{"spec":{{"loadBalancerSourceRanges":["{range}"]}}}}"#);
        ns.run(&["patch", "service", "web", "-p", &patch]).ok();
    };
    allow("203.0.113.0/24");
    expect(lab, "outside", (&ip, 80), "/hostname.html", &Answer::Timeout);
    allow(&format!("{}/32", lab.outside_address()));
    expect(lab, "outside", (&ip, 80), "/hostname.html", &pod);
}

pub fn health_checks(lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("s07h");
    let local = "type: LoadBalancer\nexternalTrafficPolicy: Local";
    ns.apply(&(deployment("web", 1, "/index.html") + &service("web", local)));
    ns.wait_endpoints("web", 1, 0);
    let port = ns.get(&["service", "web"])["spec"]["healthCheckNodePort"].as_u64();
    let port = u16::try_from(port.expect("a port is allocated")).expect("a port");
    let [(_, with), (_, without)] = policies::with_and_without(lab, &ns);
    for (address, wanted, count) in [(with, 200, 1), (without, 503, 0)] {
        let to = super::manifests::at(&address, port);
        wait_for(&format!("{address} to say {wanted}"), || {
            match lab.get("outside", to, "/healthz") {
                Answer::Http(code, body) if code == wanted => {
                    let said: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
                    assert_eq!(said["localEndpoints"], count, "{body}");
                    assert_eq!(said["service"]["name"], "web", "{body}");
                    Ok(())
                }
                other => Err(other.to_string()),
            }
        });
    }
}
