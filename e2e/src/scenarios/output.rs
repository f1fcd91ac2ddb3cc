//! S3: the columns and fields that current kubectl prints.

use crate::{Client, Cluster, Namespace};

use super::manifests::{deployment, service};

#[track_caller]
fn header(ns: &Namespace, args: &[&str], wanted: &[&str]) -> String {
    let text = ns.run(args).ok();
    let first = text.lines().next().unwrap_or_default();
    let columns: Vec<&str> =
        first.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect();
    assert_eq!(columns, wanted, "{text}");
    text
}

#[track_caller]
fn fields(text: &str, wanted: &[&str]) {
    for field in wanted {
        assert!(
            text.lines().any(|line| line.trim_start().starts_with(field)),
            "{field} is missing in\n{text}"
        );
    }
}

pub fn columns_and_fields(_lab: &dyn Cluster, client: &Client) {
    let ns = client.namespace("s03");
    ns.apply(&(deployment("web", 2, "/index.html") + &service("web", "type: NodePort")));
    let addresses = ns.wait_endpoints("web", 2, 0);
    let svc = ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE", "SELECTOR"];
    let text = header(&ns, &["get", "svc", "-o", "wide"], &svc);
    assert!(text.contains("app=web,release=stable"), "{text}");
    let po = [
        "NAME",
        "READY",
        "STATUS",
        "RESTARTS",
        "AGE",
        "IP",
        "NODE",
        "NOMINATED NODE",
        "READINESS GATES",
    ];
    header(&ns, &["get", "po", "-o", "wide"], &po);
    let text = header(&ns, &["get", "ep"], &["NAME", "ENDPOINTS", "AGE"]);
    assert!(addresses.iter().all(|ip| text.contains(&format!("{ip}:80"))), "{text}");
    let deploy =
        ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"];
    header(&ns, &["get", "deploy", "-o", "wide"], &deploy);
    other_forms(&ns);
    describe(&ns);
}

fn other_forms(ns: &Namespace) {
    let several = ns.run(&["get", "svc,po,ep,deploy"]).ok();
    for name in ["service/web", "pod/web-", "endpoints/web", "deployment.apps/web"] {
        assert!(several.contains(name), "{name} is missing in\n{several}");
    }
    let labels = ns.run(&["get", "pods", "--show-labels", "-l", "app=web"]).ok();
    assert!(labels.contains("LABELS") && labels.contains("pod-template-hash="), "{labels}");
    let none = ns.run(&["get", "pods", "-l", "app=nothing"]);
    assert!(none.stderr.contains("No resources found"), "{none:?}");
    let yaml = ns.run(&["get", "svc", "web", "-o", "yaml"]).ok();
    fields(
        &yaml,
        &["apiVersion: v1", "kind: Service", "clusterIP: 10.96.", "sessionAffinity: None"],
    );
    let warned = ns.run(&["get", "endpoints"]);
    assert!(warned.stderr.contains("Endpoints is deprecated"), "{warned:?}");
}

fn describe(ns: &Namespace) {
    // By prefix.
    let text = ns.run(&["describe", "svc", "we"]).ok();
    fields(
        &text,
        &[
            "Name: ",
            "Namespace:",
            "Labels:",
            "Annotations:",
            "Selector:",
            "Type:",
            "IP Family Policy:",
            "IP Families:",
            "IP:",
            "IPs:",
            "Port:",
            "TargetPort:",
            "NodePort:",
            "Endpoints:",
            "Session Affinity:",
            "External Traffic Policy:",
            "Events:",
        ],
    );
    // A line that kubectl 1.21 and later print.
    if ns.client.minor > 20 {
        fields(&text, &["Internal Traffic Policy:"]);
    }
    let text = ns.run(&["describe", "ep", "web"]).ok();
    fields(
        &text,
        &[
            "Name:",
            "Subsets:",
            "Addresses:",
            "NotReadyAddresses:",
            "Ports:",
            "Name  Port  Protocol",
            "http  80    TCP",
        ],
    );
    let text = ns.run(&["describe", "deployment", "web"]).ok();
    fields(
        &text,
        &[
            "Name:",
            "Replicas:",
            "StrategyType:",
            "RollingUpdateStrategy:",
            "Pod Template:",
            "Conditions:",
            "NewReplicaSet:",
            "Events:",
        ],
    );
}
