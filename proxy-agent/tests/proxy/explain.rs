//! Explanations: the same as the packet table says for every row. Never says what is right
//! for a packet: the packet table does.

mod rules;
mod text;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use proxy_agent::catalog::Catalog;
use proxy_agent::dnat::Table;
use proxy_agent::explain::{self, Explanation, View};
use proxy_agent::mode::Mode;
use proxy_agent::mode::iptables::Iptables;
use proxy_agent::mode::ipvs::Director;
use proxy_agent::routes::{Dirty, Family, Protocol, Target};
use proxy_agent::settings::Settings;

use super::iptables::memory::Memory;
use super::ipvs_memory::MemoryServers;
use super::memory_kernel::MemoryKernel;
use super::network::{interface_of, node_addresses};
use super::packet::{Outcome, PROXY, Packet, Row, rows};
use super::table::{catalog_of, groups};
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
fn outcomes(mode: &'static str, packet: &Packet, told: &Explanation) -> BTreeSet<Outcome> {
    match told.outcome {
        explain::Outcome::Reject => BTreeSet::from([Outcome::Reject]),
        explain::Outcome::Drop => BTreeSet::from([Outcome::Drop]),
        explain::Outcome::Untouched => BTreeSet::from([Outcome::Untouched]),
        explain::Outcome::Endpoint => {
            let endpoints = told.endpoints.iter().map(|endpoint| {
                let at: SocketAddr = endpoint.address.parse().expect("ADDRESS:PORT");
                // The node's own connections have its address anyway.
                let own = mode == "userspace" && packet.is_from(&PROXY);
                Outcome::Endpoint {
                    target: Target { address: at.ip(), port: at.port() },
                    masquerade: endpoint.masquerade && !own,
                }
            });
            endpoints.collect()
        }
    }
}

fn check_rows(name: &'static str, synced: fn(Settings, &Catalog, &Dirty) -> Box<dyn Mode>) {
    let addresses = addresses();
    let mut wrong = String::new();
    for group in groups() {
        if group.cannot.iter().any(|(mode, _)| *mode == name) {
            continue;
        }
        let mut catalog = catalog_of(objects::changes(group.objects));
        let dirty = catalog.take_dirty();
        for family in [Family::V4, Family::V6] {
            let mode = synced(group.settings_of(family), &catalog, &dirty);
            let view = View { catalog: &catalog, mode: mode.as_ref(), node_addresses: &addresses };
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

fn nftables(settings: Settings, catalog: &Catalog, dirty: &Dirty) -> Box<dyn Mode> {
    let mut table = Table::new(settings, MemoryKernel::default());
    table.sync(catalog, dirty).expect("synced");
    Box::new(table)
}

#[test]
fn mode_nftables_is_explained_as_the_table_says() {
    check_rows("nftables", nftables);
}

#[test]
fn mode_userspace_is_explained_as_the_table_says() {
    check_rows("userspace", |settings, catalog, dirty| {
        Box::new(userspace::packets::synced(settings, catalog, dirty))
    });
}

#[test]
fn mode_iptables_is_explained_as_the_table_says() {
    check_rows("iptables", |settings, catalog, dirty| {
        let mut rules = Iptables::new(settings, Memory::default());
        rules.sync(catalog, dirty).expect("synced");
        Box::new(rules)
    });
}

#[test]
fn mode_ipvs_is_explained_as_the_table_says() {
    check_rows("ipvs", |settings, catalog, dirty| Box::new(ipvs(settings, catalog, dirty)));
}

fn ipvs(settings: Settings, catalog: &Catalog, dirty: &Dirty) -> Director<MemoryServers> {
    let mut servers = MemoryServers::default();
    servers.installed.own = addresses().into_iter().collect();
    let mut director = Director::new(settings, servers);
    director.sync(catalog, dirty).expect("synced");
    director
}

/// What is told of `SOURCE -> PROTOCOL ADDRESS:PORT` in mode nftables.
fn tell(settings: Settings, text: &str, packet: &str) -> Explanation {
    let mut catalog = catalog_of(objects::changes(text));
    let dirty = catalog.take_dirty();
    let mode = nftables(settings, &catalog, &dirty);
    let words: Vec<&str> = packet.split_whitespace().collect();
    let [source, "->", protocol, to] = words[..] else { panic!("no packet: {packet}") };
    let to: SocketAddr = to.parse().expect("ADDRESS:PORT");
    let packet = explain::Packet {
        source: source.parse().expect("an address"),
        destination: to.ip(),
        port: to.port(),
        protocol: Protocol::parse(protocol).expect("a protocol"),
        interface: None,
    };
    let addresses = addresses();
    let view = View { catalog: &catalog, mode: mode.as_ref(), node_addresses: &addresses };
    explain::explain(view, &packet)
}
