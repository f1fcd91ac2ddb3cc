//! One table of packets, through the tracer and on the real kernel. The rows are
//! what users may rely on; they name no chain and no map.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proxy_agent::mode::Mode;
use proxy_agent::mode::nftables::Table;
use proxy_agent::mode::nftables::layout::Settings;
use proxy_agent::mode::nftables::netlink::Netlink;
use proxy_agent::model::{Change, Family, Model, Protocol, Target};

use super::memory_kernel::MemoryKernel;
use super::network::{self, Network};
use super::objects;
use super::tracer::{Outcome, Packet, Tracer};

/// This node is `node-1`. Pods: 10.244.1.x here, 10.244.2.x on `node-2`. Node
/// addresses: 192.168.77.11 here, .12 there. 192.168.78.2 is outside the cluster.
const OBJECTS: &str = "
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

const PACKETS: &str = "
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

/// One row.
pub struct Row {
    pub text: String,
    pub packet: Packet,
    pub outcomes: BTreeSet<Outcome>,
}

pub fn rows(table: &str) -> Vec<Row> {
    table
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(row)
        .collect()
}

fn row(line: &str) -> Row {
    let (packet, outcomes) = line.split_once("=>").expect("=>");
    let words: Vec<&str> = packet.split_whitespace().collect();
    let [source, "->", protocol, to] = words[..] else {
        panic!("no packet: {packet}")
    };
    let to: std::net::SocketAddr = to.parse().expect("ADDRESS:PORT");
    Row {
        text: line.to_owned(),
        packet: Packet {
            source: source.parse().expect("source"),
            destination: to.ip(),
            protocol: Protocol::parse(protocol).expect("protocol"),
            port: to.port(),
        },
        outcomes: outcomes
            .split('|')
            .map(|outcome| parse_outcome(outcome.trim()))
            .collect(),
    }
}

fn parse_outcome(text: &str) -> Outcome {
    match text {
        "reject" => Outcome::Reject,
        "drop" => Outcome::Drop,
        "untouched" => Outcome::Untouched,
        endpoint => {
            let masquerade = endpoint.ends_with(" masq");
            let to: std::net::SocketAddr = endpoint
                .trim_end_matches(" masq")
                .parse()
                .expect("an endpoint");
            Outcome::Endpoint {
                target: Target {
                    address: to.ip(),
                    port: to.port(),
                },
                masquerade,
            }
        }
    }
}

/// The settings of all tests here.
pub fn settings() -> Settings {
    Settings {
        family: Family::V4,
        cluster_cidr: Some("10.244.0.0/16".parse().expect("a network")),
        node_port_addresses: Vec::new(),
        masquerade_all: false,
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

const NODE: [IpAddr; 1] = [IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 77, 11))];

#[test]
fn the_tracer_sees_what_the_table_says() {
    let mut model = model_of(objects::changes(OBJECTS));
    let dirty = model.take_dirty();
    let mut table = Table::new(settings(), MemoryKernel::default());
    table.sync(&model, &dirty).expect("synced");
    let mut wrong = String::new();
    for row in rows(PACKETS) {
        let kernel = table.kernel();
        let mut tracer = Tracer {
            kernel,
            node_addresses: &NODE,
            remembered: Default::default(),
        };
        let outcomes = tracer.outcomes(&row.packet);
        if outcomes != row.outcomes {
            wrong += &format!("{}\n    but {outcomes:?}\n", row.text);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn a_client_with_affinity_stays_until_its_endpoint_is_gone() {
    let mut model = model_of(objects::changes(OBJECTS));
    let dirty = model.take_dirty();
    let mut table = Table::new(settings(), MemoryKernel::default());
    table.sync(&model, &dirty).expect("synced");
    let packet = rows("10.244.1.99 -> tcp 10.96.0.23:80 => reject")
        .remove(0)
        .packet;
    let kernel = table.kernel().clone();
    let mut tracer = Tracer {
        kernel: &kernel,
        node_addresses: &NODE,
        remembered: Default::default(),
    };
    let (first, _) = tracer.trace(&packet, 1);
    for random in 0..3 {
        assert_eq!(tracer.trace(&packet, random).0, first);
    }
    let Outcome::Endpoint { target, .. } = first else {
        panic!("{first:?}")
    };
    let remembered = tracer.remembered;
    let rest: String = OBJECTS
        .lines()
        .filter(|line| !line.contains(&format!("ep sticky {}:", target.address)))
        .flat_map(|line| [line, "\n"])
        .collect();
    objects::changes(&rest)
        .into_iter()
        .for_each(|change| model.apply(change));
    let dirty = model.take_dirty();
    table.sync(&model, &dirty).expect("synced");
    while table.needs_sweep() {
        table.sweep(&model).expect("swept");
    }
    let mut tracer = Tracer {
        kernel: table.kernel(),
        node_addresses: &NODE,
        remembered,
    };
    let (second, _) = tracer.trace(&packet, 0);
    assert_ne!(second, first);
    for random in 0..2 {
        assert_eq!(tracer.trace(&packet, random).0, second);
    }
}

#[test]
fn the_kernel_does_what_the_table_says() {
    network::in_namespaces("packets::the_kernel_does_what_the_table_says", || {
        let network = Network::new();
        let mut model = model_of(objects::changes(OBJECTS));
        let dirty = model.take_dirty();
        let mut table = Table::new(settings(), Netlink::open(Family::V4).expect("netlink"));
        table.sync(&model, &dirty).expect("synced");
        let mut wrong = String::new();
        for row in rows(PACKETS) {
            if let Err(but) = network.check(&row) {
                wrong += &format!("{}\n    but {but}\n", row.text);
            }
        }
        assert!(wrong.is_empty(), "\n{wrong}");
    });
}
