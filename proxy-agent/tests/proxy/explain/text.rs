//! What is said of each decision. Never what a mode calls it: that is `rules`'.

use super::super::table::settings;
use super::tell;

/// The text for `SOURCE -> PROTOCOL ADDRESS:PORT`, but for the rules.
fn check(text: &str, packet: &str, expected: &str) {
    let told = tell(settings(), text, packet).to_string();
    let told = told.split_once("\nby\n").map_or(&*told, |(told, _)| told);
    let strip = |text: &str| {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(strip(told), strip(expected));
}

#[test]
fn a_cluster_ip() {
    check(
        "svc web 10.96.0.10 80/tcp affinity=60
         ep web 10.244.1.11:8080 node-1
         ep web 10.244.2.11:8080 node-2
         ep web 10.244.2.12:8080 node-2 not-ready
         ep web 10.244.2.13:8080 node-2 terminating",
        "10.244.1.11 -> tcp 10.96.0.10:80",
        "tcp 10.244.1.11 -> 10.96.0.10:80 on node-1 (nftables)
         Service default/web spec.clusterIPs = 10.96.0.10: the packet is for 80/tcp there
         proxy-agent: 10.244.1.11 is a pod (pods are in 10.244.0.0/16): inside the cluster
         Service default/web spec.internalTrafficPolicy = Cluster: endpoints of the whole cluster
         Service default/web spec.sessionAffinity = ClientIP: a client that came within the last 60 s stays with its endpoint
         goes to an endpoint
         10.244.1.11:8080 50.0%, masquerade: the pod meets itself: the answer must come from elsewhere
         10.244.2.11:8080 50.0%, own source: the answer comes back this way by itself
         not 10.244.2.12:8080: not ready (endpoints[].conditions.ready)
         not 10.244.2.13:8080: terminating, and others are ready (endpoints[].conditions.terminating)",
    );
}

#[test]
fn policy_local() {
    let text = "
        svc web 10.96.0.10 80/tcp node-port=30010 external=Local internal=Local
        ep web 10.244.2.11:8080 node-2";
    check(
        text,
        "10.244.1.11 -> tcp 10.96.0.10:80",
        "tcp 10.244.1.11 -> 10.96.0.10:80 on node-1 (nftables)
         Service default/web spec.clusterIPs = 10.96.0.10: the packet is for 80/tcp there
         proxy-agent: 10.244.1.11 is a pod (pods are in 10.244.0.0/16): inside the cluster
         Service default/web spec.internalTrafficPolicy = Local: endpoints of this node alone
         EndpointSlices of default/web endpoints: none is usable on this node, others have some: dropped, not refused
         dropped
         not 10.244.2.11:8080: not on node-1 (endpoints[].nodeName)",
    );
    check(
        &format!("{text}\nep web 10.244.1.12:8080 node-1"),
        "192.168.78.2 -> tcp 192.168.77.11:30010",
        "tcp 192.168.78.2 -> 192.168.77.11:30010 on node-1 (nftables)
         Service default/web spec.ports[].nodePort = 30010: the packet is for this node's 30010/tcp
         proxy-agent: 192.168.78.2 is neither this node nor a pod (pods are in 10.244.0.0/16): outside
         Service default/web spec.externalTrafficPolicy = Local: endpoints of this node alone
         goes to an endpoint
         10.244.1.12:8080 100.0%, own source: policy Local: the endpoint sees the client
         not 10.244.2.11:8080: not on node-1 (endpoints[].nodeName)",
    );
    check(
        text,
        "192.168.77.11 -> tcp 192.168.77.11:30010",
        "tcp 192.168.77.11 -> 192.168.77.11:30010 on node-1 (nftables)
         Service default/web spec.ports[].nodePort = 30010: the packet is for this node's 30010/tcp
         proxy-agent: 192.168.77.11 is this node: inside the cluster
         Service default/web spec.externalTrafficPolicy = Local: it counts for packets from outside: the cluster's own meet all endpoints
         goes to an endpoint
         10.244.2.11:8080 100.0%, masquerade: this node's source may be the destination's address",
    );
}

#[test]
fn nobody_is_ready() {
    check(
        "svc web 10.96.0.10 80/tcp
         ep web 10.244.2.11:8080 node-2 not-ready",
        "192.168.78.2 -> tcp 10.96.0.10:80",
        "tcp 192.168.78.2 -> 10.96.0.10:80 on node-1 (nftables)
         Service default/web spec.clusterIPs = 10.96.0.10: the packet is for 80/tcp there
         proxy-agent: 192.168.78.2 is neither this node nor a pod (pods are in 10.244.0.0/16): outside
         Service default/web spec.internalTrafficPolicy = Cluster: endpoints of the whole cluster
         EndpointSlices of default/web endpoints: none is usable anywhere: refused at once
         refused
         not 10.244.2.11:8080: not ready (endpoints[].conditions.ready)",
    );
    check(
        "svc web 10.96.0.10 80/tcp
         ep web 10.244.2.11:8080 node-2 terminating",
        "192.168.77.11 -> tcp 10.96.0.10:80",
        "tcp 192.168.77.11 -> 10.96.0.10:80 on node-1 (nftables)
         Service default/web spec.clusterIPs = 10.96.0.10: the packet is for 80/tcp there
         proxy-agent: 192.168.77.11 is this node: inside the cluster
         Service default/web spec.internalTrafficPolicy = Cluster: endpoints of the whole cluster
         EndpointSlices of default/web endpoints[].conditions.terminating = true: none is ready: those that terminate and still serve are used
         goes to an endpoint
         10.244.2.11:8080 100.0%, masquerade: the source is no pod (pods are in 10.244.0.0/16)",
    );
}

#[test]
fn hints_for_this_zone() {
    check(
        "node zone=a
         svc web 10.96.0.10 80/tcp
         ep web 10.244.1.11:8080 node-1 zone=a
         ep web 10.244.2.11:8080 node-2 zone=b",
        "10.244.1.12 -> tcp 10.96.0.10:80",
        "tcp 10.244.1.12 -> 10.96.0.10:80 on node-1 (nftables)
         Service default/web spec.clusterIPs = 10.96.0.10: the packet is for 80/tcp there
         proxy-agent: 10.244.1.12 is a pod (pods are in 10.244.0.0/16): inside the cluster
         Service default/web spec.internalTrafficPolicy = Cluster: endpoints of the whole cluster
         EndpointSlices of default/web endpoints[].hints.forZones = a: only endpoints hinted for this node's zone
         goes to an endpoint
         10.244.1.11:8080 100.0%, own source: the answer comes back this way by itself
         not 10.244.2.11:8080: hinted for zone b (endpoints[].hints.forZones)",
    );
}

#[test]
fn packets_for_nothing_that_a_service_has() {
    let text = "
        svc web 10.96.0.10 80/tcp node-port=30010 external-ip=198.51.100.7
        svc other 10.96.0.20 80/tcp proxy-name=another";
    let check = |packet: &str, title: &str, decision: &str, outcome: &str| {
        let expected = format!("{title} on node-1 (nftables)\n{decision}\n{outcome}");
        check(text, packet, &expected);
    };
    check(
        "10.244.1.11 -> udp 10.96.0.10:80",
        "udp 10.244.1.11 -> 10.96.0.10:80",
        "Service default/web spec.clusterIPs = 10.96.0.10: its ports are 80/tcp, not 80/udp: refused",
        "refused",
    );
    check(
        "10.244.1.11 -> tcp 198.51.100.7:81",
        "tcp 10.244.1.11 -> 198.51.100.7:81",
        "Service default/web spec.externalIPs = 198.51.100.7: its ports are 80/tcp, not 81/tcp: left alone",
        "left alone",
    );
    check(
        "10.244.1.11 -> tcp 10.96.0.20:80",
        "tcp 10.244.1.11 -> 10.96.0.20:80",
        "Service default/other metadata.labels[service.kubernetes.io/service-proxy-name] = another: it has this address, and is left alone by this label",
        "left alone",
    );
    check(
        "10.244.1.11 -> tcp 10.96.0.11:80",
        "tcp 10.244.1.11 -> 10.96.0.11:80",
        "Services = 10.96.0.11: no Service has this address. A headless Service has none: its clients go to its pods. One of type ExternalName is a name in DNS and no more",
        "left alone",
    );
    check(
        "10.244.1.11 -> tcp 192.168.77.11:30011",
        "tcp 10.244.1.11 -> 192.168.77.11:30011",
        "Node node-1 status.addresses = 192.168.77.11: no Service has the node port 30011/tcp for IPv4",
        "left alone",
    );
    check(
        "127.0.0.1 -> tcp 127.0.0.1:30010",
        "tcp 127.0.0.1 -> 127.0.0.1:30010",
        "proxy-agent nodePortAddresses: 30010/tcp is a node port of Service default/web, and this address of the node answers none: it is loopback",
        "left alone",
    );
}

#[test]
fn source_ranges() {
    let told = |source: &str| {
        let text = "
            svc web 10.96.0.10 80/tcp lb=203.0.113.7 sources=192.168.78.0/24,10.244.0.0/16
            ep web 10.244.2.11:8080 node-2";
        let told = tell(settings(), text, &format!("{source} -> tcp 203.0.113.7:80"));
        assert!(told.rules[0].starts_with("map guards { 203.0.113.7 . tcp . 80 : "), "{told}");
        told
    };
    let line =
        "Service default/web spec.loadBalancerSourceRanges = 10.244.0.0/16, 192.168.78.0/24: ";
    let dropped = told("192.168.77.12").to_string();
    assert!(
        dropped.contains(&format!("{line}the source is in none of them: dropped\ndropped\n")),
        "{dropped}"
    );
    let goes_on = told("192.168.78.2").to_string();
    assert!(goes_on.contains(&format!("{line}the source is in one of them\n")), "{goes_on}");
    assert!(goes_on.contains("\ngoes to an endpoint\n"), "{goes_on}");
}
