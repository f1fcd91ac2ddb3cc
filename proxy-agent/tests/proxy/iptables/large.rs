//! Many Services, and many endpoints of one: transactions that fit a socket without
//! privileges, and packets that find a way between any two of them.

use std::net::IpAddr;

use proxy_agent::mode::Mode;
use proxy_agent::mode::iptables::Iptables;
use proxy_agent::mode::iptables::batch::Limit;
use proxy_agent::mode::iptables::programs::Programs;
use proxy_agent::routes::{Dirty, Family, Protocol};

use super::super::network;
use super::super::packet::{Outcome, Packet};
use super::super::{objects, table};
use super::memory::Memory;
use super::tracer::Tracer;

/// A Service of `count` endpoints from `first` on.
fn one(first: usize, count: usize, options: &str) -> String {
    let mut text = format!("svc web 10.96.0.10 80/tcp{options}\n");
    for index in first..first + count {
        let (high, low) = (index / 250, index % 250 + 1);
        text += &format!("ep web 10.244.{high}.{low}:8080 node-2\n");
    }
    text
}

/// `count` Services of four endpoints.
fn many(count: usize) -> String {
    let mut text = String::new();
    for index in 0..count {
        let (high, low) = (index / 250, index % 250 + 1);
        text += &format!("svc s{index} 10.96.{high}.{low} 80/tcp\n");
        for endpoint in 1..=4 {
            text += &format!("ep s{index} 10.{endpoint}.{high}.{low}:8080 node-2\n");
        }
    }
    text
}

/// Where a connection ends up, for each way that chance has.
fn outcomes(memory: &Memory) -> Vec<Outcome> {
    let packet = Packet {
        source: IpAddr::from([192, 168, 78, 2]),
        destination: IpAddr::from([10, 96, 0, 10]),
        protocol: Protocol::Tcp,
        port: 80,
    };
    let tracer = Tracer::new(memory, Vec::new(), |_| "");
    tracer.chances(&packet).into_keys().collect()
}

/// From one set of objects to another, seen after each transaction, of which there are
/// `least` or more.
fn change_large(from: &str, to: &str, least: usize) {
    let changed = |left: Option<usize>| {
        let mut catalog = table::catalog_of(objects::changes(from));
        let dirty = catalog.take_dirty();
        let mut mode = Iptables::new(table::settings(), Memory::default());
        mode.sync(&catalog, &dirty).expect("synced");
        let before = mode.rules().transactions;
        mode.rules().left = left;
        objects::changes(to).into_iter().for_each(|change| catalog.apply(change));
        let dirty = catalog.take_dirty();
        let done = mode.sync(&catalog, &dirty);
        assert_eq!(done.is_ok(), left.is_none());
        let memory = mode.rules().clone();
        (memory.transactions - before, outcomes(&memory))
    };
    let (count, _) = changed(None);
    assert!(count >= least, "all in {count} transactions");
    for left in 0..count {
        for outcome in changed(Some(left)).1 {
            // From outside the cluster: always masqueraded, also halfway.
            let served = matches!(outcome, Outcome::Endpoint { masquerade: true, .. });
            assert!(served, "after {left} of {count}: {outcome:?}");
        }
    }
}

#[test]
fn a_service_of_many_endpoints_is_served_while_it_changes() {
    for options in ["", " affinity=60"] {
        change_large(&one(0, 500, options), &one(250, 500, options), 5);
        change_large(&one(0, 1, options), &one(0, 300, options), 3);
        change_large(&one(0, 300, options), &one(0, 1, options), 1);
    }
}

#[test]
fn affinity_changes_without_a_gap() {
    change_large(&one(0, 300, ""), &one(0, 300, " affinity=60"), 3);
    change_large(&one(0, 300, " affinity=60"), &one(0, 300, ""), 3);
}

#[test]
fn the_legacy_programs_write_the_table_once() {
    let mut catalog = table::catalog_of(objects::changes(&many(1_000)));
    let memory = Memory { limit: Limit::LEGACY, ..Memory::default() };
    let mut mode = Iptables::new(table::settings(), memory);
    let dirty = catalog.take_dirty();
    mode.sync(&catalog, &dirty).expect("synced");
    // The frame's two tables, then `nat`, then what `filter` refuses.
    assert!(mode.transactions() <= 4, "{}", mode.transactions());
}

#[test]
fn a_change_of_one_endpoint_is_one_transaction_among_many_services() {
    let mut catalog = table::catalog_of(objects::changes(&many(500)));
    let mut mode = Iptables::new(table::settings(), Memory::default());
    let dirty = catalog.take_dirty();
    mode.sync(&catalog, &dirty).expect("synced");
    let before = mode.transactions();
    for change in objects::changes("ep s77 10.9.9.9:8080 node-2 slice=b") {
        catalog.apply(change);
    }
    let dirty = catalog.take_dirty();
    mode.sync(&catalog, &dirty).expect("changed");
    assert_eq!(mode.transactions() - before, 1);
}

#[test]
fn hundreds_of_services_and_endpoints_get_into_the_kernel() {
    let name = "iptables::large::hundreds_of_services_and_endpoints_get_into_the_kernel";
    network::in_namespaces(name, || {
        let objects = many(150) + &one(0, 400, " affinity=60").replace("10.96.0.10", "10.97.0.10");
        let mut catalog = table::catalog_of(objects::changes(&objects));
        let dirty = catalog.take_dirty();
        let programs = Programs::open(Family::V4).expect("install the package iptables");
        let mut mode = Iptables::new(table::settings(), programs.clone());
        mode.sync(&catalog, &dirty).expect("synced");
        let mut restarted = Iptables::new(table::settings(), programs);
        restarted.sync(&catalog, &Dirty::default()).expect("looked");
        assert_eq!(restarted.transactions(), 0);
    });
}
