//! What of each mode takes a packet, by the mode's own names. Never a decision: those are
//! `text`'s.

use proxy_agent::explain::{self, View};
use proxy_agent::mode::iptables::Iptables;
use proxy_agent::mode::{Asked, Mode};
use proxy_agent::routes::{Destination, Family, Protocol};

use super::super::iptables::memory::Memory;
use super::super::table::{catalog_of, settings};
use super::super::userspace::NODE;
use super::super::{objects, userspace};
use super::{addresses, ipvs, tell};

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
    assert!(has("map services { 10.96.0.10 . tcp . 80 : ", " }"), "{told}");
    assert!(has("map pick-service { ", "sticky-60 }"), "{told}");
    assert!(has("map sticky-slots { 10.96.0.10 . tcp . 80 . 0x0 : ", " }"), "{told}");
    assert!(has("map sticky-endpoints { ", " : 10.244.1.11 . 8080 }"), "{told}");
}

#[test]
fn the_chains_that_take_the_packet_are_named() {
    let text = "
        svc web 10.96.0.10 80/tcp node-port=30010 external=Local
        ep web 10.244.1.11:8080 node-1
        ep web 10.244.2.11:8080 node-2";
    let mut catalog = catalog_of(objects::changes(text));
    let dirty = catalog.take_dirty();
    let mut mode = Iptables::new(settings(), Memory::default());
    mode.sync(&catalog, &dirty).expect("synced");
    let protocol = Protocol::Tcp;
    let cluster_ip = Destination::Address {
        address: "10.96.0.10".parse().expect("an address"),
        protocol,
        port: 80,
    };
    let node_port = Destination::NodePort { family: Family::V4, protocol, port: 30010 };
    let chains = |to: &Destination| -> Vec<String> {
        let rules = mode.rules_of(&Asked { catalog: &catalog, to, address: NODE, outside: false });
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
        ["KUBE-NODE", "KUBE-EXT-", "KUBE-SVL-", "KUBE-SVC-", "KUBE-SEP-"]
    );
}

#[test]
fn the_virtual_server_that_takes_the_packet_is_named() {
    let text = "
        svc web 10.96.0.10 80/tcp affinity=60
        ep web 10.244.1.11:8080 node-1";
    let mut catalog = catalog_of(objects::changes(text));
    let dirty = catalog.take_dirty();
    let mode = ipvs(settings(), &catalog, &dirty);
    let address = "10.96.0.10".parse().expect("an address");
    let to = Destination::Address { address, protocol: Protocol::Tcp, port: 80 };
    let rules = mode.rules_of(&Asked { catalog: &catalog, to: &to, address, outside: false });
    assert_eq!(
        rules,
        ["-A -t 10.96.0.10:80 -s rr -p 60", "-a -t 10.96.0.10:80 -r 10.244.1.11:8080 -m -w 1"]
    );
}

#[test]
fn what_a_mode_cannot_do_is_said() {
    let mut catalog = catalog_of(objects::changes(
        "svc web 10.96.0.10 80/tcp node-port=30010 external=Local
         ep web 10.244.1.11:8080 node-1",
    ));
    let dirty = catalog.take_dirty();
    let mode = userspace::packets::synced(settings(), &catalog, &dirty);
    let addresses = addresses();
    let view = View { catalog: &catalog, mode: &mode, node_addresses: &addresses };
    let packet = explain::Packet {
        source: "192.168.78.2".parse().expect("an address"),
        destination: "192.168.77.11".parse().expect("an address"),
        port: 30010,
        protocol: Protocol::Tcp,
        interface: None,
    };
    let told = explain::explain(view, &packet).to_string();
    assert!(told.contains("mode userspace cannot keep the client's address"), "{told}");
    assert!(told.contains("100.0%, masquerade: mode userspace makes"), "{told}");
    assert!(told.contains("listener default/web tcp Local at 192.168.77.11:"), "{told}");
}
