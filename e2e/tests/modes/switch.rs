//! S17: from one mode to another, and what is there of each mode in a node's kernel.

use e2e::{
    Answer, Client, Cluster, Namespace,
    scenarios::manifests::{at, deployment, service},
    wait_for,
};

const PROXIES: &str = "k8s-app=kube-proxy";

fn system(client: &Client) -> Namespace {
    Namespace { client: client.clone(), name: "kube-system".into() }
}

/// Edits the ConfigMap and deletes the proxy's pods; returns when there are others.
fn restart_in(client: &Client, mode: &str) {
    let ns = system(client);
    ns.edit("configmap/kube-proxy", "mode: [a-z]*", &format!("mode: {mode}")).ok();
    let old = ns.pods(PROXIES);
    assert_eq!(old.len(), 3, "{old:?}");
    ns.run(&["delete", "pod", "-l", PROXIES]).ok();
    wait_for("three other proxies", || {
        let new = ns.pods(PROXIES);
        if new.len() == 3 && new.iter().all(|pod| !old.contains(pod)) {
            Ok(())
        } else {
            Err(format!("{new:?}"))
        }
    });
}

/// Whether the node's proxy says this mode, and that it has programmed it.
fn says(lab: &dyn Cluster, node: &str, mode: &str) -> Result<(), String> {
    let said = lab.get(node, at("127.0.0.1", 10249), "/proxyMode");
    let healthy = lab.get(node, at("127.0.0.1", 10256), "/healthz");
    if said == Answer::Http(200, mode.to_owned()) && matches!(healthy, Answer::Http(200, _)) {
        Ok(())
    } else {
        Err(format!("{node}: mode {said}, health {healthy}"))
    }
}

/// Has the lab in this mode, and nothing of another one left.
pub fn ensure(lab: &dyn Cluster, client: &Client, mode: &str) {
    let nodes = lab.nodes();
    if nodes.iter().any(|(node, _)| says(lab, node, mode).is_err()) {
        restart_in(client, mode);
    }
    for (node, _) in &nodes {
        wait_for(&format!("{node} to be in mode {mode} alone"), || {
            says(lab, node, mode)?;
            match traces(lab, node) {
                found if found == [mode] => Ok(()),
                found => Err(format!("{node} has traces of {found:?}")),
            }
        });
    }
}

/// The modes that have something in the node's kernel.
fn traces(lab: &dyn Cluster, node: &str) -> Vec<&'static str> {
    let tables = lab.exec(node, &["nft", "list", "tables"]).ok();
    let has = |name: &str| tables.lines().any(|line| line.split(' ').next_back() == Some(name));
    let saved = ["iptables-save", "ip6tables-save"].map(|tool| lab.exec(node, &[tool]).stdout);
    let mut found = Vec::new();
    if has("coracle-proxy") {
        found.push("nftables");
    }
    if saved.iter().any(|rules| rules.contains("KUBE-")) {
        found.push("iptables");
    }
    if has("coracle-userspace") {
        found.push("userspace");
    }
    if has("coracle-proxy-ipvs") {
        found.push("ipvs");
    }
    found
}

/// All pods answer from every node, and the proxy's pods are ready.
pub fn is_complete(lab: &dyn Cluster, client: &Client, namespace: &str) {
    let ns = client.namespace(namespace);
    ns.apply(&(deployment("web", 3, "/index.html") + &service("web", "")));
    ns.wait_endpoints("web", 3, 0);
    let to = at(&ns.cluster_ip("web"), 80);
    let wanted: Vec<String> = ns.pods("app=web");
    for (node, _) in lab.nodes() {
        wait_for(&format!("all pods to answer {node}"), || {
            let answers = lab.get_many(&node, to, "/hostname.html", 60);
            let mut seen: Vec<String> = answers.iter().map(ToString::to_string).collect();
            seen.sort();
            seen.dedup();
            if seen.iter().eq(wanted
                .iter()
                .map(|pod| format!("200 {pod}"))
                .collect::<Vec<_>>()
                .iter())
            {
                Ok(())
            } else {
                Err(format!("{seen:?}, wanted {wanted:?}"))
            }
        });
    }
    let rolled_out = ["rollout", "status", "ds/kube-proxy", "--timeout=90s"];
    system(client).run(&rolled_out).ok();
}

/// IPVS is not for a lab without root, whatever the kernel has: the proxy says so, and the rules of
/// the former mode stay and carry traffic.
pub fn no_ipvs(lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("s17v");
    ns.apply(&(deployment("web", 1, "/index.html") + &service("web", "")));
    ns.wait_endpoints("web", 1, 0);
    restart_in(client, "ipvs");
    let system = system(client);
    for pod in system.pods(PROXIES) {
        wait_for(&format!("{pod} to say why it does not run"), || {
            let line = system.run(&["get", "pod", &pod, "--no-headers"]).ok();
            let columns: Vec<&str> = line.split_whitespace().collect();
            let restarts = columns.get(3).and_then(|text| text.parse::<u32>().ok());
            let log = system.run(&["logs", &pod]).stdout;
            if columns[1] == "0/1" && restarts > Some(0) && log.contains("IPVS") {
                Ok(())
            } else {
                Err(format!("{line}{log}"))
            }
        });
    }
    let pod = Answer::Http(200, ns.pods("app=web").remove(0));
    let to = at(&ns.cluster_ip("web"), 80);
    for (node, _) in lab.nodes() {
        assert_eq!(lab.get(&node, to, "/hostname.html"), pod, "{node}");
        assert_eq!(traces(lab, &node), ["nftables"], "{node}");
    }
    restart_in(client, "nftables");
}
