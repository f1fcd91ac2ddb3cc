//! One table of packets for every mode, through a tracer over the mode's plan and on the
//! real kernel. The rows are what users may rely on; they name no chain and no map.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proxy_agent::mode::{self, LocalTraffic, ModeName, Settings};
use proxy_agent::model::{Change, Family, Model};

use super::network::{self, Network};
use super::objects;
use super::packet::{Outcome, Packet, rows};

/// This node is `node-1`. Pods: 10.244.1.x here, 10.244.2.x on `node-2`. Node
/// addresses: 192.168.77.11 here, .12 there. 192.168.78.2 is outside the cluster.
pub const OBJECTS: &str = "
    svc web 10.96.0.10 80/tcp
    ep web 10.244.1.11:8080 node-1
    ep web 10.244.1.12:8080 node-1 slice=b
    ep web 10.244.2.11:8080 node-2 slice=b
    ep web 10.244.2.11:8080 node-2 slice=c
    svc self 10.96.0.11 80/tcp
    ep self 10.244.1.11:8080 node-1
    svc none 10.96.0.12 80/tcp node-port=30012 external-ip=198.51.100.12
    svc none-udp 10.96.0.13 53/udp
    svc port 10.96.0.14 80/tcp node-port=30014
    ep port 10.244.2.11:8080 node-2
    svc edge 10.96.0.15 80/tcp node-port=30015 external-ip=198.51.100.15 external=Local
    ep edge 10.244.1.12:8080 node-1
    ep edge 10.244.2.11:8080 node-2
    svc far 10.96.0.16 80/tcp node-port=30016 external-ip=198.51.100.16 external=Local
    ep far 10.244.2.11:8080 node-2
    svc near 10.96.0.17 80/tcp internal=Local
    ep near 10.244.1.12:8080 node-1
    ep near 10.244.2.11:8080 node-2
    svc elsewhere 10.96.0.18 80/tcp internal=Local
    ep elsewhere 10.244.2.11:8080 node-2
    svc leaving 10.96.0.19 80/tcp
    ep leaving 10.244.1.12:8080 node-1 terminating
    ep leaving 10.244.2.11:8080 node-2 not-ready
    svc mixed 10.96.0.20 80/tcp
    ep mixed 10.244.1.12:8080 node-1
    ep mixed 10.244.2.11:8080 node-2 terminating
    svc unready 10.96.0.21 80/tcp
    ep unready 10.244.1.12:8080 node-1 not-ready
    svc dns 10.96.0.22 53/udp node-port=30022
    ep dns 10.244.1.12:5353 node-1
    svc sticky 10.96.0.23 80/tcp affinity=10800 node-port=30023
    ep sticky 10.244.1.11:8080 node-1
    ep sticky 10.244.1.12:8080 node-1
    ep sticky 10.244.2.11:8080 node-2
    svc open 10.96.0.24 80/tcp external-ip=198.51.100.24
    ep open 10.244.2.11:8080 node-2
    svc here 10.96.0.25 80/tcp
    ep here 192.168.77.11:8080 node-1
";

pub const PACKETS: &str = "
    10.244.1.11  -> tcp 10.96.0.10:80  => 10.244.1.11:8080 masq | 10.244.1.12:8080 | 10.244.2.11:8080
    10.244.1.12  -> tcp 10.96.0.10:80  => 10.244.1.11:8080 | 10.244.1.12:8080 masq | 10.244.2.11:8080
    192.168.77.11 -> tcp 10.96.0.10:80 => 10.244.1.11:8080 masq | 10.244.1.12:8080 masq | 10.244.2.11:8080 masq
    192.168.78.2 -> tcp 10.96.0.10:80  => 10.244.1.11:8080 masq | 10.244.1.12:8080 masq | 10.244.2.11:8080 masq
    10.244.1.11  -> tcp 10.96.0.11:80  => 10.244.1.11:8080 masq
    10.244.1.12  -> tcp 10.96.0.11:80  => 10.244.1.11:8080
    10.244.1.11  -> tcp 10.96.0.11:81  => reject
    192.168.77.11 -> tcp 10.96.0.11:81 => reject
    10.244.1.11  -> udp 10.96.0.11:80  => reject
    10.244.1.11  -> tcp 10.96.0.12:80  => reject
    192.168.77.11 -> tcp 10.96.0.12:80 => reject
    192.168.78.2 -> tcp 192.168.77.11:30012 => reject
    192.168.77.11 -> tcp 192.168.77.11:30012 => reject
    192.168.78.2 -> tcp 198.51.100.12:80 => reject
    10.244.1.11  -> tcp 198.51.100.12:80 => reject
    10.244.1.11  -> udp 10.96.0.13:53  => reject
    192.168.77.11 -> udp 10.96.0.13:53 => reject
    192.168.78.2 -> tcp 192.168.77.11:30014 => 10.244.2.11:8080 masq
    192.168.77.11 -> tcp 192.168.77.11:30014 => 10.244.2.11:8080 masq
    10.244.1.11  -> tcp 192.168.77.11:30014 => 10.244.2.11:8080 masq
    192.168.78.2 -> tcp 192.168.77.11:30015 => 10.244.1.12:8080
    192.168.78.2 -> tcp 198.51.100.15:80 => 10.244.1.12:8080
    10.244.1.11  -> tcp 192.168.77.11:30015 => 10.244.1.12:8080 | 10.244.2.11:8080
    10.244.1.11  -> tcp 198.51.100.15:80 => 10.244.1.12:8080 | 10.244.2.11:8080
    192.168.77.11 -> tcp 192.168.77.11:30015 => 10.244.1.12:8080 masq | 10.244.2.11:8080 masq
    192.168.77.11 -> tcp 198.51.100.15:80 => 10.244.1.12:8080 masq | 10.244.2.11:8080 masq
    192.168.78.2 -> tcp 192.168.77.11:30016 => drop
    192.168.78.2 -> tcp 198.51.100.16:80 => drop
    10.244.1.11  -> tcp 192.168.77.11:30016 => 10.244.2.11:8080
    192.168.77.11 -> tcp 198.51.100.16:80 => 10.244.2.11:8080 masq
    10.244.1.11  -> tcp 10.96.0.16:80  => 10.244.2.11:8080
    10.244.1.11  -> tcp 10.96.0.17:80  => 10.244.1.12:8080
    192.168.77.11 -> tcp 10.96.0.17:80 => 10.244.1.12:8080 masq
    10.244.1.11  -> tcp 10.96.0.18:80  => drop
    192.168.77.11 -> tcp 10.96.0.18:80 => drop
    10.244.1.11  -> tcp 10.96.0.19:80  => 10.244.1.12:8080
    10.244.1.11  -> tcp 10.96.0.20:80  => 10.244.1.12:8080
    10.244.1.11  -> tcp 10.96.0.21:80  => reject
    10.244.1.11  -> udp 10.96.0.22:53  => 10.244.1.12:5353
    192.168.77.11 -> udp 10.96.0.22:53 => 10.244.1.12:5353 masq
    192.168.78.2 -> udp 192.168.77.11:30022 => 10.244.1.12:5353 masq
    192.168.78.2 -> tcp 198.51.100.24:80 => 10.244.2.11:8080 masq
    10.244.1.11  -> tcp 198.51.100.24:80 => 10.244.2.11:8080 masq
    10.244.1.11  -> tcp 10.96.0.25:80 => 192.168.77.11:8080
    10.244.1.11  -> tcp 10.244.1.12:8080 => untouched
    192.168.78.2 -> tcp 192.168.77.11:8080 => untouched
";

/// The settings of all tests here.
pub fn settings() -> Settings {
    Settings {
        local_traffic: LocalTraffic::Network("10.244.0.0/16".parse().expect("a network")),
        ..Settings::new(Family::V4)
    }
}

/// A model of `node-1` with these objects.
pub fn model_of(changes: Vec<Change>) -> Model {
    let mut model = Model::new("node-1");
    for change in changes {
        model.apply(change);
    }
    model
}

/// This node's addresses.
pub const NODE: [IpAddr; 1] = [IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 77, 11))];

/// Every row, as `outcomes` finds what may become of its packet.
pub fn check_traced(mut outcomes: impl FnMut(&Packet) -> BTreeSet<Outcome>) {
    let mut wrong = String::new();
    for row in rows(PACKETS) {
        let outcomes = outcomes(&row.packet);
        if outcomes != row.outcomes {
            wrong += &format!("{}\n    but {outcomes:?}\n", row.text);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Every row, with packets through what the mode has programmed. `test` is the calling
/// test's whole name.
pub fn check_in_kernel(test: &str, mode: ModeName) {
    network::in_namespaces(test, || {
        let network = Network::new();
        let mut model = model_of(objects::changes(OBJECTS));
        let dirty = model.take_dirty();
        let mut mode = mode::open(mode, settings()).expect("a mode that works here");
        mode.sync(&model, &dirty).expect("synced");
        let mut wrong = String::new();
        for row in rows(PACKETS) {
            if let Err(but) = network.check(&row) {
                wrong += &format!("{}\n    but {but}\n", row.text);
            }
        }
        assert!(wrong.is_empty(), "\n{wrong}");
    });
}
