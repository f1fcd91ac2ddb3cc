//! `--dry-run` from a file, as snapshots.

use super::program::{run_with, texts};

const OBJECTS: &str = r#"
apiVersion: v1
kind: List
items:
- kind: Pod
  metadata: {name: passed-over}
- kind: Service
  apiVersion: v1
  metadata: {namespace: default, name: web}
  spec:
    type: NodePort
    clusterIP: 10.96.0.41
    clusterIPs: [10.96.0.41]
    externalTrafficPolicy: Local
    ports: [{name: http, port: 80, nodePort: 30010, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  namespace: default
  name: web-1
  labels: {kubernetes.io/service-name: web}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints:
- {addresses: [10.244.1.5], nodeName: node-1}
- {addresses: [10.244.2.5], nodeName: node-2}
---
kind: Node
apiVersion: v1
metadata: {name: node-1}
spec: {podCIDR: 10.244.1.0/24}
"#;

fn dry_run(arguments: &[&str]) -> (bool, String, String) {
    let mut all = vec!["--dry-run", "--from=-", "--hostname-override=node-1"];
    all.extend(arguments);
    let output = run_with(&all, OBJECTS);
    let (stdout, stderr) = texts(&output);
    (output.status.success(), stdout, stderr)
}

#[test]
fn the_table_is_the_same_for_every_mode() {
    for mode in ["nftables", "iptables", "ipvs", "userspace"] {
        let (succeeded, text, log) =
            dry_run(&["--output=table", "--proxy-mode", mode, "--cluster-cidr=10.244.0.0/16"]);
        assert!(succeeded, "{log}");
        // How a mode masquerades is its catalog's word, and no matter here.
        let words = text.split_whitespace().filter(|word| !word.starts_with("masquerade="));
        assert_eq!(
            words.collect::<Vec<_>>().join(" "),
            "10.96.0.41:80/tcp default/web:http => 10.244.1.5:8080,10.244.2.5:8080 \
             0.0.0.0:30010/tcp default/web:http => 10.244.1.5:8080,10.244.2.5:8080 \
             from outside => 10.244.1.5:8080",
            "{text}"
        );
    }
}

#[test]
fn a_plan_is_shown_in_the_notation_of_its_mode() {
    let (succeeded, text, log) = dry_run(&["--detect-local-mode=NodeCIDR"]);
    assert!(succeeded, "{log}");
    assert!(text.starts_with("table ip coracle-proxy {\n"), "{text}");
    assert!(text.contains("10.96.0.41 . tcp . 80 "), "{text}");
    assert!(text.contains("10.244.1.0/24"), "{text}");
    let (_, again, _) = dry_run(&["--detect-local-mode=NodeCIDR", "-o", "nft"]);
    assert_eq!(text, again);

    let (succeeded, text, log) = dry_run(&["--proxy-mode=ipvs", "-o", "ipvsadm"]);
    assert!(succeeded, "{log}");
    assert!(
        text.starts_with(
            "-A -t 10.96.0.41:80 -s rr\n\
             -a -t 10.96.0.41:80 -r 10.244.1.5:8080 -m -w 1\n\
             -a -t 10.96.0.41:80 -r 10.244.2.5:8080 -m -w 1\n"
        ),
        "{text}"
    );
}

#[test]
fn a_notation_of_another_mode_is_refused() {
    let (succeeded, text, log) = dry_run(&["--proxy-mode=nftables", "-o", "ipvsadm"]);
    assert!(!succeeded);
    assert_eq!(text, "");
    let expected = "mode nftables is not written so: leave --proxy-mode or --output out";
    assert!(log.contains(expected), "{log}");
}

#[test]
fn a_node_that_does_not_say_enough_is_named() {
    let (succeeded, _, log) = dry_run(&["--nodeport-addresses=primary"]);
    assert!(!succeeded);
    let expected =
        "Node node-1 does not say its status.addresses, for nodePortAddresses has `primary`";
    assert!(log.contains(expected), "{log}");
}

#[test]
fn what_is_no_object_is_named_by_its_document() {
    let bad = "kind: Service\nmetadata: {name: web}\nspec: {ports: [{port: http}]}\n";
    let output = run_with(&["--dry-run", "--from=-"], bad);
    assert!(!output.status.success());
    let (_, log) = texts(&output);
    for expected in ["document 1", "\"web\" cannot be decoded"] {
        assert!(log.contains(expected), "{log}");
    }
}
