//! Explanations: the same as the packet table says for every row, and their text. Never
//! says what is right for a packet: the packet table does.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use proxy_agent::explain::{self, Explanation, View};
use proxy_agent::mode::iptables::Iptables;
use proxy_agent::mode::ipvs::Director;
use proxy_agent::mode::nftables::Table;
use proxy_agent::mode::{Asked, Mode, ModeName, Settings};
use proxy_agent::model::{Destination, Dirty, Family, Model, Protocol, Target};

use super::iptables::memory::Memory;
use super::ipvs_memory::MemoryServers;
use super::memory_kernel::MemoryKernel;
use super::network::{interface_of, node_addresses};
use super::packet::{Outcome, PROXY, Packet, Row, rows};
use super::table::{groups, model_of, settings};
use super::userspace::NODE;
use super::{objects, userspace};

fn addresses() -> Vec<IpAddr> {
    node_addresses().into_iter().collect()
}

fn question(packet: &Packet) -> explain::Packet {
    explain::Packet {
        source: packet.source,
        destination: packet.destination,
        port: packet.port,
        protocol: packet.protocol,
        interface: Some(interface_of(&packet.source).to_owned()),
    }
}

/// An explanation as the packet table's outcomes.
fn outcomes(mode: ModeName, packet: &Packet, told: &Explanation) -> BTreeSet<Outcome> {
    match told.outcome {
        explain::Outcome::Reject => BTreeSet::from([Outcome::Reject]),
        explain::Outcome::Drop => BTreeSet::from([Outcome::Drop]),
        explain::Outcome::Untouched => BTreeSet::from([Outcome::Untouched]),
        explain::Outcome::Endpoint => {
            let endpoints = told.endpoints.iter().map(|endpoint| {
                let at: SocketAddr = endpoint.address.parse().expect("ADDRESS:PORT");
                // The node's own connections have its address anyway.
                let own = mode == ModeName::Userspace && packet.is_from(&PROXY);
                Outcome::Endpoint {
                    target: Target {
                        address: at.ip(),
                        port: at.port(),
                    },
                    masquerade: endpoint.masquerade && !own,
                }
            });
            endpoints.collect()
        }
    }
}

fn check_rows(name: ModeName, synced: fn(Settings, &Model, &Dirty) -> Box<dyn Mode>) {
    let addresses = addresses();
    let mut wrong = String::new();
    for group in groups() {
        if group.cannot.iter().any(|(mode, _)| *mode == name) {
            continue;
        }
        let mut model = model_of(objects::changes(group.objects));
        let dirty = model.take_dirty();
        for family in [Family::V4, Family::V6] {
            let mode = synced(group.settings_of(family), &model, &dirty);
            let view = View {
                model: &model,
                mode: mode.as_ref(),
                node_addresses: &addresses,
            };
            let of_family = |row: &Row| row.packet.family() == family;
            for row in rows(group.rows).into_iter().filter(of_family) {
                let told = explain::explain(view, &question(&row.packet));
                let total: f64 = told.endpoints.iter().map(|e| e.probability).sum();
                assert!(told.endpoints.is_empty() || (total - 1.0).abs() < 1e-9);
                let found = outcomes(name, &row.packet, &told);
                if found != row.outcomes(name) || told.decisions.is_empty() {
                    wrong += &format!("{}: {}\nbut {told}\n", group.name, row.text);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

fn nftables(settings: Settings, model: &Model, dirty: &Dirty) -> Box<dyn Mode> {
    let mut table = Table::new(settings, MemoryKernel::default());
    table.sync(model, dirty).expect("synced");
    Box::new(table)
}

#[test]
fn mode_nftables_is_explained_as_the_table_says() {
    check_rows(ModeName::Nftables, nftables);
}

#[test]
fn mode_userspace_is_explained_as_the_table_says() {
    check_rows(ModeName::Userspace, |settings, model, dirty| {
        Box::new(userspace::packets::synced(settings, model, dirty))
    });
}

#[test]
fn mode_iptables_is_explained_as_the_table_says() {
    check_rows(ModeName::Iptables, |settings, model, dirty| {
        let mut rules = Iptables::new(settings, Memory::default());
        rules.sync(model, dirty).expect("synced");
        Box::new(rules)
    });
}

#[test]
fn mode_ipvs_is_explained_as_the_table_says() {
    check_rows(ModeName::Ipvs, |settings, model, dirty| {
        Box::new(ipvs(settings, model, dirty))
    });
}

fn ipvs(settings: Settings, model: &Model, dirty: &Dirty) -> Director<MemoryServers> {
    let mut servers = MemoryServers::default();
    servers.installed.own = addresses().into_iter().collect();
    let mut director = Director::new(settings, servers);
    director.sync(model, dirty).expect("synced");
    director
}

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

fn tell(settings: Settings, text: &str, packet: &str) -> Explanation {
    let mut model = model_of(objects::changes(text));
    let dirty = model.take_dirty();
    let mode = nftables(settings, &model, &dirty);
    let words: Vec<&str> = packet.split_whitespace().collect();
    let [source, "->", protocol, to] = words[..] else {
        panic!("no packet: {packet}")
    };
    let to: SocketAddr = to.parse().expect("ADDRESS:PORT");
    let packet = explain::Packet {
        source: source.parse().expect("an address"),
        destination: to.ip(),
        port: to.port(),
        protocol: Protocol::parse(protocol).expect("a protocol"),
        interface: None,
    };
    let addresses = addresses();
    let view = View {
        model: &model,
        mode: mode.as_ref(),
        node_addresses: &addresses,
    };
    explain::explain(view, &packet)
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
        "Service default/other metadata.labels[service.kubernetes.io/service-proxy-name] = another: it has this address, and is another proxy's",
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
        assert!(
            told.rules[0].starts_with("map guards { 203.0.113.7 . tcp . 80 : "),
            "{told}"
        );
        told
    };
    let line =
        "Service default/web spec.loadBalancerSourceRanges = 10.244.0.0/16, 192.168.78.0/24: ";
    let dropped = told("192.168.77.12").to_string();
    assert!(
        dropped.contains(&format!(
            "{line}the source is in none of them: dropped\ndropped\n"
        )),
        "{dropped}"
    );
    let goes_on = told("192.168.78.2").to_string();
    assert!(
        goes_on.contains(&format!("{line}the source is in one of them\n")),
        "{goes_on}"
    );
    assert!(goes_on.contains("\ngoes to an endpoint\n"), "{goes_on}");
}

#[test]
fn the_elements_that_take_the_packet_are_named() {
    let told = tell(
        settings(),
        "svc web 10.96.0.10 80/tcp affinity=60
         ep web 10.244.1.11:8080 node-1
         svc none 10.96.0.11 80/tcp",
        "10.244.1.12 -> tcp 10.96.0.10:80",
    );
    let has = |start: &str, end: &str| {
        let mut rules = told.rules.iter();
        rules.any(|rule| rule.starts_with(start) && rule.ends_with(end))
    };
    assert!(
        has("map services { 10.96.0.10 . tcp . 80 : ", " }"),
        "{told}"
    );
    assert!(has("map pick-service { ", "sticky-60 }"), "{told}");
    assert!(
        has("map sticky-slots { 10.96.0.10 . tcp . 80 . 0x0 : ", " }"),
        "{told}"
    );
    assert!(
        has("map sticky-endpoints { ", " : 10.244.1.11 . 8080 }"),
        "{told}"
    );
}

#[test]
fn the_chains_that_take_the_packet_are_named() {
    let text = "
        svc web 10.96.0.10 80/tcp node-port=30010 external=Local
        ep web 10.244.1.11:8080 node-1
        ep web 10.244.2.11:8080 node-2";
    let mut model = model_of(objects::changes(text));
    let dirty = model.take_dirty();
    let mut mode = Iptables::new(settings(), Memory::default());
    mode.sync(&model, &dirty).expect("synced");
    let protocol = Protocol::Tcp;
    let cluster_ip = Destination::Address {
        address: "10.96.0.10".parse().expect("an address"),
        protocol,
        port: 80,
    };
    let node_port = Destination::NodePort {
        family: Family::V4,
        protocol,
        port: 30010,
    };
    let chains = |to: &Destination| -> Vec<String> {
        let rules = mode.rules_of(&Asked {
            model: &model,
            to,
            address: NODE,
            outside: false,
        });
        let mut chains: Vec<String> = rules
            .iter()
            .filter_map(|rule| rule.split_whitespace().nth(3).map(str::to_owned))
            .map(|chain| chain[..chain.len().min(9)].to_owned())
            .collect();
        chains.dedup();
        chains
    };
    assert_eq!(chains(&cluster_ip), ["KUBE-SERV", "KUBE-SVC-", "KUBE-SEP-"]);
    assert_eq!(
        chains(&node_port),
        [
            "KUBE-NODE",
            "KUBE-EXT-",
            "KUBE-SVL-",
            "KUBE-SVC-",
            "KUBE-SEP-"
        ]
    );
}

#[test]
fn the_virtual_server_that_takes_the_packet_is_named() {
    let text = "
        svc web 10.96.0.10 80/tcp affinity=60
        ep web 10.244.1.11:8080 node-1";
    let mut model = model_of(objects::changes(text));
    let dirty = model.take_dirty();
    let mode = ipvs(settings(), &model, &dirty);
    let address = "10.96.0.10".parse().expect("an address");
    let to = Destination::Address {
        address,
        protocol: Protocol::Tcp,
        port: 80,
    };
    let rules = mode.rules_of(&Asked {
        model: &model,
        to: &to,
        address,
        outside: false,
    });
    assert_eq!(
        rules,
        [
            "-A -t 10.96.0.10:80 -s rr -p 60",
            "-a -t 10.96.0.10:80 -r 10.244.1.11:8080 -m -w 1"
        ]
    );
}

#[test]
fn what_a_mode_cannot_do_is_said() {
    let mut model = model_of(objects::changes(
        "svc web 10.96.0.10 80/tcp node-port=30010 external=Local
         ep web 10.244.1.11:8080 node-1",
    ));
    let dirty = model.take_dirty();
    let mode = userspace::packets::synced(settings(), &model, &dirty);
    let addresses = addresses();
    let view = View {
        model: &model,
        mode: &mode,
        node_addresses: &addresses,
    };
    let packet = explain::Packet {
        source: "192.168.78.2".parse().expect("an address"),
        destination: "192.168.77.11".parse().expect("an address"),
        port: 30010,
        protocol: Protocol::Tcp,
        interface: None,
    };
    let told = explain::explain(view, &packet).to_string();
    assert!(
        told.contains("mode userspace cannot keep the client's address"),
        "{told}"
    );
    assert!(
        told.contains("100.0%, masquerade: mode userspace makes"),
        "{told}"
    );
    assert!(
        told.contains("listener default/web tcp Local at 192.168.77.11:"),
        "{told}"
    );
}
