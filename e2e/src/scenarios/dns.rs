//! S4, S9: names.
//!
//! Never asks a resolver outside the lab.

use crate::{Client, Cluster, missing_tool, wait_for};

use super::manifests::{client_pod, deployment, service};

const SERVER: &str = "@10.96.0.10";

pub fn cluster_ip(lab: &dyn Cluster, client: &Client) {
    if missing_tool("dig", "bind9-dnsutils") || missing_tool("curl", "curl") {
        return;
    }
    let ns = client.namespace("s04");
    ns.apply(&(deployment("web", 1, "/index.html") + &service("web", "") + &client_pod()));
    ns.wait_endpoints("web", 1, 0);
    let (ip, name) = (ns.cluster_ip("web"), format!("web.{}.svc.cluster.local.", ns.name));
    for transport in ["+notcp", "+tcp"] {
        let answer = wait_for(&format!("an address over {transport}"), || {
            let output = lab.exec(
                "worker-1",
                &["dig", "-t", "A", transport, "+time=2", "+tries=1", &name, SERVER],
            );
            if output.stdout.contains("ANSWER SECTION") {
                Ok(output.stdout)
            } else {
                Err(format!("{output:?}"))
            }
        });
        let flags = answer.lines().find(|line| line.starts_with(";; flags:")).unwrap_or_default();
        assert!(flags.contains(" aa") && flags.contains("ANSWER: 1,"), "{answer}");
        let record = answer.lines().find(|line| line.starts_with(&name)).unwrap_or_default();
        let record: Vec<&str> = record.split_whitespace().collect();
        assert_eq!(record, [&name, "30", "IN", "A", &ip]);
    }
    ns.wait_ready("client");
    let pod = ns.pods("app=web").remove(0);
    for short in ["web".to_owned(), format!("web.{}", ns.name), format!("web.{}.svc", ns.name)] {
        let url = format!("http://{short}/hostname.html");
        let body = ns.exec("client", &["curl", "-sS", "--max-time", "5", &url]).ok();
        assert_eq!(body.trim(), pod, "{url}");
    }
}

pub fn external_name(lab: &dyn Cluster, client: &Client) {
    if missing_tool("dig", "bind9-dnsutils") {
        return;
    }
    let ns = client.namespace("s09");
    ns.apply(
        "apiVersion: v1
kind: Service
metadata:
  name: elsewhere
spec:
  type: ExternalName
  externalName: www.example.test
",
    );
    let service = ns.get(&["service", "elsewhere"]);
    assert!(service["spec"]["clusterIP"].is_null(), "{service}");
    let line = ns.run(&["get", "svc", "elsewhere", "--no-headers"]).ok();
    let columns: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(columns[..4], ["elsewhere", "ExternalName", "<none>", "www.example.test"]);
    assert!(ns.run(&["get", "endpoints", "elsewhere"]).failed().contains("NotFound"));
    let name = format!("elsewhere.{}.svc.cluster.local.", ns.name);
    wait_for("the CNAME", || {
        let output = lab.exec(
            "worker-1",
            &["dig", "-t", "CNAME", "+short", "+time=2", "+tries=1", &name, SERVER],
        );
        if output.stdout.trim() == "www.example.test." {
            Ok(())
        } else {
            Err(format!("{output:?}"))
        }
    });
}
