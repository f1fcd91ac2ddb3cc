//! Mode `nftables` against the table of packets. Never says what is right: the table does.

use proxy_agent::dnat::Table;

use super::memory_kernel::MemoryKernel;
use super::network::node_addresses;
use super::objects;
use super::packet::{Outcome, rows};
use super::table::{catalog_of, check_in_kernel, check_ping_in_kernel, check_traced, settings};
use super::tracer::Tracer;

#[test]
fn the_tracer_sees_what_the_table_says() {
    let node_addresses = node_addresses();
    check_traced("nftables", |settings, catalog, dirty| {
        let mut table = Table::new(settings, MemoryKernel::default());
        table.sync(catalog, dirty).expect("synced");
        let kernel = table.kernel().clone();
        let node_addresses = &node_addresses;
        move |packet| {
            let mut tracer =
                Tracer { kernel: &kernel, node_addresses, remembered: Default::default() };
            tracer.outcomes(packet)
        }
    });
}

#[test]
fn the_kernel_does_what_the_table_says() {
    check_in_kernel("packets::the_kernel_does_what_the_table_says", "nftables");
}

#[test]
fn a_cluster_ip_cannot_be_pinged() {
    check_ping_in_kernel("packets::a_cluster_ip_cannot_be_pinged", "nftables");
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
    let mut table = Table::new(settings(), MemoryKernel::default());
    table.sync(&catalog, &dirty).expect("synced");
    let packet = rows("10.244.1.99 -> tcp 10.96.0.23:80 => reject").remove(0).packet;
    let kernel = table.kernel().clone();
    let mut tracer =
        Tracer { kernel: &kernel, node_addresses: &[], remembered: Default::default() };
    let (first, _) = tracer.trace(&packet, 1);
    for random in 0..3 {
        assert_eq!(tracer.trace(&packet, random).0, first);
    }
    let Outcome::Endpoint { target, .. } = first else { panic!("{first:?}") };
    let remembered = tracer.remembered;
    let rest: String = STICKY
        .lines()
        .filter(|line| !line.contains(&format!("ep sticky {}:", target.address)))
        .flat_map(|line| [line, "\n"])
        .collect();
    objects::changes(&rest).into_iter().for_each(|change| catalog.apply(change));
    let dirty = catalog.take_dirty();
    table.sync(&catalog, &dirty).expect("synced");
    while table.needs_sweep() {
        table.sweep().expect("swept");
    }
    let mut tracer = Tracer { kernel: table.kernel(), node_addresses: &[], remembered };
    let (second, _) = tracer.trace(&packet, 0);
    assert_ne!(second, first);
    for random in 0..2 {
        assert_eq!(tracer.trace(&packet, random).0, second);
    }
}
