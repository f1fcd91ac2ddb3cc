//! Mode `iptables` against the table of packets. Never says what is right: the table does.

use proxy_agent::mode::Mode;
use proxy_agent::mode::iptables::Iptables;

use super::super::network::{interface_of, node_addresses};
use super::super::objects;
use super::super::packet::{Outcome, rows};
use super::super::table::{
    catalog_of, check_in_kernel, check_ping_in_kernel, check_traced, settings,
};
use super::memory::Memory;
use super::tracer::Tracer;

#[test]
fn the_tracer_sees_what_the_table_says() {
    check_traced("iptables", |settings, catalog, dirty| {
        let mut mode = Iptables::new(settings, Memory::default());
        mode.sync(catalog, dirty).expect("synced");
        let tracer = Tracer::new(mode.rules(), node_addresses(), interface_of);
        move |packet| tracer.outcomes(packet)
    });
}

#[test]
fn the_kernel_does_what_the_table_says() {
    check_in_kernel("iptables::packets::the_kernel_does_what_the_table_says", "iptables");
}

#[test]
fn a_cluster_ip_cannot_be_pinged() {
    check_ping_in_kernel("iptables::packets::a_cluster_ip_cannot_be_pinged", "iptables");
}

const STICKY: &str = "
    svc sticky 10.96.0.23 80/tcp affinity=10800 node-port=30023
    ep sticky 10.244.1.11:8080 node-1
    ep sticky 10.244.1.12:8080 node-1
    ep sticky 10.244.2.11:8080 node-2
";

#[test]
fn a_client_with_affinity_stays_until_its_endpoint_is_gone() {
    let mut catalog = catalog_of(objects::changes(STICKY));
    let dirty = catalog.take_dirty();
    let mut mode = Iptables::new(settings(), Memory::default());
    mode.sync(&catalog, &dirty).expect("synced");
    let packet = rows("10.244.1.99 -> tcp 10.96.0.23:80 => reject").remove(0).packet;
    let mut tracer = Tracer::new(mode.rules(), Vec::new(), |_| "");
    let first = tracer.send(&packet, true);
    for lucky in [true, false] {
        assert_eq!(tracer.send(&packet, lucky), first);
    }
    // By the node port too: an endpoint's list is one for all ways to it.
    let Outcome::Endpoint { target, .. } = first else { panic!("{first:?}") };
    let gone = format!("ep sticky {}:", target.address);
    let rest: Vec<&str> = STICKY.lines().filter(|line| !line.contains(&gone)).collect();
    for change in objects::changes(&rest.join("\n")) {
        catalog.apply(change);
    }
    let dirty = catalog.take_dirty();
    mode.sync(&catalog, &dirty).expect("synced");
    let remembered = tracer.remembered;
    let mut tracer = Tracer::new(mode.rules(), Vec::new(), |_| "");
    tracer.remembered = remembered;
    let second = tracer.send(&packet, true);
    assert_ne!(second, first);
    for lucky in [true, false] {
        assert_eq!(tracer.send(&packet, lucky), second);
    }
}
