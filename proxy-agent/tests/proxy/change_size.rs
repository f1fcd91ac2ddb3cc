//! What a change costs on the wire: the same at any number of Services.

use proxy_agent::catalog::{Change, ServiceName};
use proxy_agent::dnat::Table;
use proxy_agent::dnat::plan::plan;
use proxy_agent::mode::nftables::{TABLE, cleanup};
use proxy_agent::nft::kernel::Traffic;
use proxy_agent::nft::netlink::Netlink;
use proxy_agent::routes::Family;

use super::memory_kernel::MemoryKernel;
use super::{network, objects, table};

/// `count` Services of five endpoints.
fn services(count: usize) -> String {
    let mut text = String::new();
    for index in 0..count {
        let (high, low) = (index / 250, index % 250 + 1);
        text += &format!("svc s{index} 10.96.{high}.{low} 80/tcp");
        if index % 10 == 7 {
            // Some share a list of those who may use it.
            text += &format!(" lb=100.64.{high}.{low} sources=10.0.0.0/8,192.168.{low}.0/24");
        }
        text += "\n";
        for endpoint in 1..=5 {
            text += &format!("ep s{index} 10.{endpoint}.{high}.{low}:8080 node-2\n");
        }
    }
    text
}

/// One Service of `count` endpoints, a hundred a slice.
fn one_service(count: usize) -> String {
    let mut text = "svc s77 10.96.0.10 80/tcp\n".to_owned();
    for index in 0..count {
        let (slice, high, low) = (index / 100, index / 250, index % 250 + 1);
        text += &format!("ep s77 10.1.{high}.{low}:8080 node-2 slice={slice}\n");
    }
    text
}

/// The traffic of adding, and then of removing, one endpoint of `s77` among `objects`.
fn one_change(objects: &str) -> (Traffic, Traffic) {
    let mut catalog = table::catalog_of(objects::changes(objects));
    let dirty = catalog.take_dirty();
    let mut table =
        Table::new(table::settings(), Netlink::open(Family::V4, TABLE).expect("netlink"));
    table.sync(&catalog, &dirty).expect("loaded");
    while table.needs_sweep() {
        table.sweep().expect("swept");
    }
    let mut after = |change: Change, table: &mut Table<Netlink>| {
        let before = table.traffic();
        catalog.apply(change);
        let dirty = catalog.take_dirty();
        table.sync(&catalog, &dirty).expect("changed");
        while table.needs_sweep() {
            table.sweep().expect("swept");
        }
        let now = table.traffic();
        Traffic {
            transactions: now.transactions - before.transactions,
            messages: now.messages - before.messages,
            bytes: now.bytes - before.bytes,
        }
    };
    let slice = objects::changes("ep s77 10.9.9.9:8080 node-2 slice=more").remove(0);
    let added = after(slice, &mut table);
    let name = ServiceName { namespace: "default".to_owned(), name: "s77-more-8080".to_owned() };
    let removed = after(Change::SliceGone(name), &mut table);
    (added, removed)
}

/// The tables of all live in one namespace: empty it.
fn empty() {
    cleanup(Family::V4).expect("emptied");
}

#[test]
fn a_change_costs_the_same_among_1000_and_10000_services() {
    let name = "change_size::a_change_costs_the_same_among_1000_and_10000_services";
    network::in_namespaces(name, || {
        let few = one_change(&services(1_000));
        empty();
        let many = one_change(&services(10_000));
        assert_eq!(few, many);
        let (added, removed) = few;
        // Grow is one transaction and its sweep; shrink the same the other way.
        assert!(added.messages <= 20 && removed.messages <= 20, "{few:?}");
    });
}

#[test]
fn a_change_costs_the_same_among_5_1000_and_5000_endpoints_of_one_service() {
    let name =
        "change_size::a_change_costs_the_same_among_5_1000_and_5000_endpoints_of_one_service";
    network::in_namespaces(name, || {
        // The names of chains have the number of endpoints in them: bytes may differ a little.
        let rough =
            |traffic: Traffic| (traffic.transactions, traffic.messages, traffic.bytes / 2_000);
        let few = one_change(&one_service(5));
        for count in [1_000, 5_000] {
            empty();
            let many = one_change(&one_service(count));
            assert_eq!(rough(many.0), rough(few.0), "{count} endpoints: {many:?}");
            assert_eq!(rough(many.1), rough(few.1), "{count} endpoints: {many:?}");
        }
    });
}

/// Also where the slots have lost the endpoints' order long ago.
#[test]
fn a_change_among_5000_endpoints_is_a_plan_of_few_elements() {
    let mut catalog = table::catalog_of(objects::changes(&one_service(5_000)));
    let dirty = catalog.take_dirty();
    let mut table = Table::new(table::settings(), MemoryKernel::default());
    table.sync(&catalog, &dirty).expect("loaded");
    for round in 0..20 {
        let text = match round % 2 {
            0 => "ep s77 10.0.0.1:8080 node-2 slice=3".to_owned(),
            _ => format!("ep s77 10.1.{round}.7:8080 node-2 slice={}", round / 2),
        };
        for change in objects::changes(&text) {
            catalog.apply(change);
        }
        let dirty = catalog.take_dirty();
        table.sync(&catalog, &dirty).expect("changed");
    }
    let more = objects::changes("ep s77 10.0.9.9:8080 node-2 slice=more").remove(0);
    catalog.apply(more);
    let dirty = catalog.take_dirty();
    let installed = table.installed().expect("known");
    let scopes = plan(&catalog, Family::V4, &dirty, installed);
    let elements: usize = scopes.iter().map(|scope| scope.elements.len()).sum();
    assert!(elements <= 3, "{elements} elements");
}
