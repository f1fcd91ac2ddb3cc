//! What the suites must know of the lab they run on: its places and its addresses. What a lab of
//! another kind says otherwise is a method of `Cluster`.

use serde_json::Value;

use crate::{Client, Cluster};

/// The lab that the suites run on.
pub type Site = dyn Cluster;

/// (name, address) of two nodes that take any pod.
pub fn workers(site: &Site) -> [(String, String); 2] {
    let text = site.lite().run(&["get", "nodes", "-o", "json"]).ok();
    let list: Value = serde_json::from_str(&text).expect("a list of nodes");
    let nodes = list["items"].as_array().into_iter().flatten();
    let open: Vec<&str> = nodes
        .filter(|node| node["spec"]["taints"].as_array().is_none_or(Vec::is_empty))
        .filter_map(|node| node["metadata"]["name"].as_str())
        .collect();
    let all = site.nodes().into_iter();
    let mut found = all.filter(|(name, _)| open.contains(&name.as_str()));
    let mut next = || found.next().expect("two nodes that take pods");
    [next(), next()]
}

/// The cluster's DNS, as pods ask it.
pub fn dns_address(client: &Client) -> String {
    let args = ["-n", "kube-system", "get", "services", "-o", "json"];
    let list: Value = serde_json::from_str(&client.run(&args).ok()).expect("a list of Services");
    let services = list["items"].as_array().into_iter().flatten();
    let mut addresses = services
        .filter(|service| service["spec"]["ports"][0]["port"] == 53)
        .filter_map(|service| service["spec"]["clusterIP"].as_str());
    addresses.next().expect("a Service for DNS").to_owned()
}

/// `default/kubernetes`.
pub fn kubernetes_service(client: &Client) -> Value {
    let args = ["-n", "default", "get", "service", "kubernetes", "-o", "json"];
    serde_json::from_str(&client.run(&args).ok()).expect("a Service")
}

/// The domain of the cluster's names.
pub const DOMAIN: &str = "cluster.local";
