//! Mode `iptables` on real packets where the table of packets does not look: affinity over
//! time, and node ports on loopback by default. Never asserts how long anything takes.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proxy_agent::catalog::Catalog;
use proxy_agent::mode::{Mode, iptables};
use proxy_agent::routes::{Family, Protocol};
use proxy_agent::settings::Settings;

use super::super::network::{self, Network};
use super::super::packet::rows;
use super::super::{objects, sockets, table};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn program(settings: Settings, catalog: &Catalog) -> Box<dyn Mode> {
    let mut mode = (iptables::MODE.open)(settings).expect("install iptables");
    mode.sync(catalog, &Default::default()).expect("synced");
    mode
}

fn catalog(objects: &str) -> Catalog {
    let mut catalog = table::catalog_of(objects::changes(objects));
    catalog.take_dirty();
    catalog
}

/// The endpoint that answers a new connection.
fn ask(network: &Network, source: &str, to: &str) -> SocketAddr {
    let source: IpAddr = source.parse().expect("an address");
    let to: SocketAddr = to.parse().expect("an address");
    let answer = network.from(source, move || sockets::ask(Protocol::Tcp, source, to, PATIENCE));
    answer.expect("an answer").0
}

fn sticky(seconds: u32) -> String {
    format!(
        "svc sticky 10.96.0.23,fd96::23 80/tcp affinity={seconds} node-port=30023
         ep sticky 10.244.1.12:8080 node-1
         ep sticky 10.244.2.11:8080 node-2
         ep sticky 10.244.2.12:8080 node-2
         ep sticky [fd44:1::12]:8080 node-1
         ep sticky [fd44:2::11]:8080 node-2
         ep sticky [fd44:2::12]:8080 node-2"
    )
}

const CLIENTS: [(&str, [&str; 2]); 2] = [
    ("10.244.1.11", ["10.96.0.23:80", "192.168.77.11:30023"]),
    ("fd44:1::11", ["[fd96::23]:80", "[fd77::11]:30023"]),
];

#[test]
fn a_client_meets_one_endpoint_by_every_way() {
    let name = "iptables::live::a_client_meets_one_endpoint_by_every_way";
    network::in_namespaces(name, || {
        let network = Network::new();
        let catalog = catalog(&sticky(10_800));
        let _modes = [Family::V4, Family::V6].map(|f| program(table::settings_of(f), &catalog));
        for (source, ways) in CLIENTS {
            let met: BTreeSet<SocketAddr> =
                ways.iter().cycle().take(20).map(|to| ask(&network, source, to)).collect();
            assert_eq!(met.len(), 1, "{source} has met {met:?}");
        }
    });
}

#[test]
fn a_client_that_stays_away_is_forgotten() {
    let name = "iptables::live::a_client_that_stays_away_is_forgotten";
    network::in_namespaces(name, || {
        let network = Network::new();
        let catalog = catalog(&sticky(1));
        let _modes = [Family::V4, Family::V6].map(|f| program(table::settings_of(f), &catalog));
        for (source, [to, _]) in CLIENTS {
            // It stays away ever longer, until it meets another one: one that is never
            // forgotten never does.
            let mut met = BTreeSet::from([ask(&network, source, to)]);
            let mut silence = Duration::from_millis(100);
            while met.len() == 1 && silence < PATIENCE {
                std::thread::sleep(silence);
                met.insert(ask(&network, source, to));
                silence = silence * 3 / 2;
            }
            assert!(met.len() > 1, "{source} has met nobody but {met:?}");
        }
    });
}

#[test]
fn node_ports_answer_on_loopback_by_default_and_nobody_else_gets_there() {
    let name =
        "iptables::live::node_ports_answer_on_loopback_by_default_and_nobody_else_gets_there";
    network::in_namespaces(name, || {
        let network = Network::new();
        let catalog = catalog(
            "svc web 10.96.0.10 80/tcp node-port=30010
             ep web 10.244.2.11:8080 node-2
             svc none 10.96.0.11 80/tcp node-port=30011",
        );
        let settings = Settings { localhost_node_ports: true, ..table::settings() };
        let _mode = program(settings, &catalog);
        let rows = rows(
            "127.0.0.1 -> tcp 127.0.0.1:30010 => 10.244.2.11:8080 masq
             127.0.0.1 -> tcp 127.0.0.5:30010 => 10.244.2.11:8080 masq
             127.0.0.1 -> tcp 127.0.0.1:30011 => reject
             192.168.78.2 -> tcp 192.168.77.11:30010 => 10.244.2.11:8080 masq
             192.168.78.2 -> tcp 127.0.0.5:30010 => drop
             192.168.78.2 -> tcp 127.0.0.5:8080 => drop",
        );
        for row in rows {
            let outcome = network.check(&row, "iptables");
            assert_eq!(outcome, Ok(()), "{}", row.text);
        }
    });
}
