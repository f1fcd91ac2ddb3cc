//! The table of listeners as `--dry-run` shows it.

use proxy_agent::mode::userspace::render;

use crate::{objects, table};

fn check(text: &str, expected: &str) {
    let mut catalog = table::catalog_of(objects::changes(text));
    catalog.take_dirty();
    let strip = |text: &str| {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(strip(&render(&table::settings(), &catalog)), strip(expected));
}

#[test]
fn a_service_port_is_one_listener_with_all_its_destinations() {
    check(
        "svc web 10.96.0.10 80/tcp node-port=30010 external-ip=198.51.100.7 affinity=60
         ep web 10.244.2.11:8080 node-2
         ep web 10.244.1.11:8080 node-1",
        "userspace IPv4
         listener default/web tcp Cluster, a client stays for 60 s
           in turn: 10.244.1.11:8080 10.244.2.11:8080
           10.96.0.10:80/tcp (default/web)
           198.51.100.7:80/tcp (default/web)
           node port 30010/tcp (default/web)",
    );
}

#[test]
fn policy_local_has_a_listener_of_its_own() {
    check(
        "svc web 10.96.0.10 80/tcp node-port=30010 external=Local
         ep web 10.244.1.11:8080 node-1
         ep web 10.244.2.11:8080 node-2",
        "userspace IPv4
         listener default/web tcp Cluster
           in turn: 10.244.1.11:8080 10.244.2.11:8080
           10.96.0.10:80/tcp (default/web)
           node port 30010/tcp from inside (default/web)
         listener default/web tcp Local
           in turn: 10.244.1.11:8080
           node port 30010/tcp from outside (default/web)",
    );
}

#[test]
fn what_nobody_serves_has_no_listener() {
    check(
        "svc none 10.96.0.10 80/tcp
         svc far 10.96.0.11 80/udp internal=Local
         ep far 10.244.2.11:8080 node-2
         svc sctp 10.96.0.12 80/sctp
         ep sctp 10.244.1.11:8080 node-1",
        "userspace IPv4
         reject
           10.96.0.10:80/tcp (default/none)
           10.96.0.12:80/sctp (default/sctp)
         drop
           10.96.0.11:80/udp (default/far)",
    );
}
