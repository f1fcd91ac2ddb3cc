//! Session affinity on real packets: it holds while the endpoint does, and ends with its
//! timeout, in the kernel and in the answers. Never asserts how long that takes.

use proxy_agent::mode::nftables;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use proxy_agent::routes::{Family, Protocol};

use super::network::{self, Network};
use super::script::{has_nft, nft};
use super::{objects, sockets, table};

const OBJECTS: &str = "
    svc sticky 10.96.0.23,fd96::23 80/tcp affinity=1 node-port=30023
    ep sticky 10.244.1.12:8080 node-1
    ep sticky 10.244.2.11:8080 node-2
    ep sticky 10.244.2.12:8080 node-2
    ep sticky [fd44:1::12]:8080 node-1
    ep sticky [fd44:2::11]:8080 node-2
    ep sticky [fd44:2::12]:8080 node-2
";
const LASTING: &str = "
    svc lasting 10.96.0.24,fd96::24 80/tcp,53/udp affinity=10800 node-port=30024,30024
    ep lasting 10.244.1.12 node-1 ports=tcp-80:8080,udp-53:5353
    ep lasting 10.244.2.11 node-2 ports=tcp-80:8080,udp-53:5353 slice=b
    ep lasting 10.244.2.12 node-2 ports=tcp-80:8080,udp-53:5353 slice=c
    ep lasting [fd44:1::12] node-1 ports=tcp-80:8080,udp-53:5353
    ep lasting [fd44:2::11] node-2 ports=tcp-80:8080,udp-53:5353 slice=b
    ep lasting [fd44:2::12] node-2 ports=tcp-80:8080,udp-53:5353 slice=c
";
/// How often a client comes back at most: it meets one of three endpoints each time.
const RETURNS: usize = 40;
/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "{what} never came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the kernel remembers any client.
fn remembers(family: &str, map: &str) -> bool {
    let output = nft(&["list", "map", family, "coracle-proxy", map], "").expect("nft");
    assert!(output.status.success(), "no map {map}");
    String::from_utf8_lossy(&output.stdout).contains("expires")
}

#[test]
fn a_choice_is_forgotten_after_its_timeout() {
    let name = "sticky::a_choice_is_forgotten_after_its_timeout";
    network::in_namespaces(name, || {
        if !has_nft(name) {
            return;
        }
        let network = Network::new();
        let mut catalog = table::catalog_of(objects::changes(OBJECTS));
        let dirty = catalog.take_dirty();
        for family in [Family::V4, Family::V6] {
            let mut mode =
                (nftables::MODE.open)(table::settings_of(family)).expect("a mode that works here");
            mode.sync(&catalog, &dirty).expect("synced");
        }
        for (family, map, source, to) in [
            ("ip", "affinity", "10.244.1.11", "10.96.0.23:80"),
            ("ip", "node-port-affinity", "192.168.78.2", "192.168.77.11:30023"),
            ("ip6", "affinity", "fd44:1::11", "[fd96::23]:80"),
            ("ip6", "node-port-affinity", "fd78::2", "[fd77::11]:30023"),
        ] {
            let source: IpAddr = source.parse().expect("an address");
            let to: SocketAddr = to.parse().expect("an address");
            let ask = || {
                let answer =
                    network.from(source, move || sockets::ask(Protocol::Tcp, source, to, PATIENCE));
                answer.expect("an answer").0
            };
            wait_until("a client that is remembered", || {
                ask();
                remembers(family, map)
            });
            // A client that stays away may meet another endpoint each time it comes back.
            let mut met = BTreeSet::new();
            for _ in 0..RETURNS {
                wait_until("the end of the timeout", || !remembers(family, map));
                met.insert(ask());
                if met.len() > 1 {
                    break;
                }
            }
            assert!(met.len() > 1, "{source} has met nobody but {met:?}");
        }
    });
}

/// The endpoint's address that a client meets, the same each time.
fn always_met(network: &Network, protocol: Protocol, source: &str, to: &str) -> IpAddr {
    let source: IpAddr = source.parse().expect("an address");
    let to: SocketAddr = to.parse().expect("an address");
    let ask = || {
        let ask = move || sockets::ask(protocol, source, to, PATIENCE);
        network.from(source, ask).expect("an answer").0.ip()
    };
    let first = ask();
    for _ in 0..RETURNS {
        assert_eq!(ask(), first, "{source} met another at {to}");
    }
    first
}

#[test]
fn a_client_meets_one_endpoint_until_that_is_gone() {
    let name = "sticky::a_client_meets_one_endpoint_until_that_is_gone";
    network::in_namespaces(name, || {
        let network = Network::new();
        let mut catalog = table::catalog_of(objects::changes(LASTING));
        let mut modes = [Family::V4, Family::V6]
            .map(|family| (nftables::MODE.open)(table::settings_of(family)).expect("a mode"));
        let dirty = catalog.take_dirty();
        for mode in &mut modes {
            mode.sync(&catalog, &dirty).expect("synced");
        }
        let clients = [
            (Protocol::Tcp, "10.244.1.11", "10.96.0.24:80"),
            (Protocol::Udp, "10.244.1.11", "10.96.0.24:53"),
            (Protocol::Tcp, "192.168.78.2", "192.168.77.11:30024"),
            (Protocol::Udp, "192.168.78.2", "192.168.77.11:30024"),
            (Protocol::Tcp, "fd44:1::11", "[fd96::24]:80"),
            (Protocol::Udp, "fd78::2", "[fd77::11]:30024"),
        ];
        let met = clients.map(|(protocol, source, to)| always_met(&network, protocol, source, to));
        // A datagram from a port that a client had before is of its old connection, which
        // the agent makes the kernel forget: here only connections that begin count.
        let clients = clients.into_iter().zip(met);
        for ((protocol, source, to), gone) in clients.filter(|((p, ..), _)| *p == Protocol::Tcp) {
            let rest: Vec<&str> = LASTING
                .lines()
                .filter(|line| {
                    !line.contains(&format!("{gone} ")) && !line.contains(&format!("{gone}]"))
                })
                .collect();
            let mut left = table::catalog_of(objects::changes(&rest.join("\n")));
            left.take_dirty();
            for mode in &mut modes {
                mode.distrust();
                mode.sync(&left, &Default::default()).expect("synced");
                while mode.needs_sweep() {
                    mode.sweep().expect("swept");
                }
            }
            let other = always_met(&network, protocol, source, to);
            assert_ne!(other, gone, "{source} still meets who is gone");
        }
    });
}
