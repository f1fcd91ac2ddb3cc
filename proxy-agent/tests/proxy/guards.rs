//! Lists of allowed sources that come, go and collide. Never says what one packet may do:
//! the table does.

use proxy_agent::routes::RouteTable;
use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use proxy_agent::catalog::{Catalog, Change, ServiceName};
use proxy_agent::dnat::Table;
use proxy_agent::mode::Mode;
use proxy_agent::nft::set::{Data, SetName};
use proxy_agent::nft::{guard, parts};

use super::memory_kernel::MemoryKernel;
use super::packet::{Outcome, rows};
use super::tracer::Tracer;
use super::{objects, table};

/// Two addresses whose lists have one value: found among 2^18, all but 1 in 10^3 times,
/// and then always the same two.
fn colliding() -> (String, String) {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for number in 0u32..1 << 18 {
        let [_, a, b, c] = number.to_be_bytes();
        let range = format!("11.{a}.{b}.{c}/32");
        let list: IpNet = range.parse().expect("a range");
        let value = guard::chain_of(&[list]).name[..parts::ALLOW.len() + 8].to_owned();
        if let Some(other) = seen.insert(value, range.clone()) {
            return (other, range);
        }
    }
    panic!("no two lists collide");
}

fn settle(table: &mut Table<MemoryKernel>, catalog: &mut Catalog) {
    let dirty = catalog.take_dirty();
    table.sync(catalog, &dirty).expect("synced");
    while table.needs_sweep() {
        table.sweep().expect("swept");
    }
}

fn is_let_in(table: &mut Table<MemoryKernel>, source: &str, to: &str) -> bool {
    let source = source.trim_end_matches("/32");
    let packet = rows(&format!("{source} -> tcp {to}:80 => drop")).remove(0).packet;
    let mut tracer =
        Tracer { kernel: table.kernel(), node_addresses: &[], remembered: Default::default() };
    match tracer.trace(&packet, 0).0 {
        Outcome::Endpoint { .. } => true,
        Outcome::Drop => false,
        other => panic!("{other:?}"),
    }
}

fn lists(table: &mut Table<MemoryKernel>) -> BTreeSet<String> {
    let chains = table.kernel().chains.keys();
    let lists = chains.filter(|name| name.starts_with(parts::ALLOW));
    lists.cloned().collect()
}

#[test]
fn lists_with_one_hash_let_in_each_its_own() {
    let (one, other) = colliding();
    let [a, b, c] = ["203.0.113.1", "203.0.113.2", "203.0.113.3"];
    let text = format!(
        "svc a 10.96.0.1 80/tcp lb={a} sources={one}\nep a 10.244.1.11:8080 node-1
         svc b 10.96.0.2 80/tcp lb={b} sources={other}\nep b 10.244.1.11:8080 node-1
         svc c 10.96.0.3 80/tcp lb={c} sources={one}\nep c 10.244.1.11:8080 node-1"
    );
    let mut catalog = table::catalog_of(objects::changes(&text));
    let mut table = Table::new(table::settings(), MemoryKernel::default());
    settle(&mut table, &mut catalog);
    let check = |table: &mut Table<MemoryKernel>, to: &str, own: &str, foreign: &str| {
        assert!(is_let_in(table, own, to), "{own} is kept out of {to}");
        assert!(!is_let_in(table, foreign, to), "{foreign} is let into {to}");
    };
    check(&mut table, a, &one, &other);
    check(&mut table, b, &other, &one);
    check(&mut table, c, &one, &other);
    assert_eq!(lists(&mut table).len(), 2, "one chain a list");

    // Who has the number both hash to goes, and its number with it.
    for name in ["a", "c"] {
        catalog.apply(Change::ServiceGone(ServiceName {
            namespace: "default".to_owned(),
            name: name.to_owned(),
        }));
    }
    settle(&mut table, &mut catalog);
    check(&mut table, b, &other, &one);
    assert_eq!(lists(&mut table).len(), 1, "a list that nobody has stays");

    objects::changes(&text).into_iter().for_each(|change| catalog.apply(change));
    settle(&mut table, &mut catalog);
    check(&mut table, a, &one, &other);
    check(&mut table, b, &other, &one);

    let kernel = table.kernel().clone();
    let generation = kernel.generation;
    let mut restarted = Table::new(table::settings(), kernel);
    restarted.sync(&catalog, &Default::default()).expect("synced");
    check(&mut restarted, b, &other, &one);
    assert_eq!(restarted.kernel().generation, generation);
}

#[test]
fn a_list_that_is_edited_from_outside_lets_nobody_else_in() {
    let text =
        "svc a 10.96.0.1 80/tcp lb=203.0.113.1 sources=11.0.0.0/8\nep a 10.244.1.11:8080 node-1";
    let mut catalog = table::catalog_of(objects::changes(text));
    let mut table = Table::new(table::settings(), MemoryKernel::default());
    settle(&mut table, &mut catalog);
    // Without where its value leads, the destination is closed.
    let kernel = table.kernel();
    let key = kernel.ruleset.elements(SetName::PickGuard).next();
    let key = key.map(|(key, _)| key).expect("a list");
    kernel.ruleset.remove(SetName::PickGuard, &key);
    assert!(!is_let_in(&mut table, "11.1.1.1", "203.0.113.1"));
    // Where it leads elsewhere, the next look at the kernel repairs it.
    let open = Data::Verdict(proxy_agent::nft::set::Verdict::Accept);
    table.kernel().ruleset.insert(SetName::PickGuard, key, open);
    table.distrust();
    settle(&mut table, &mut catalog);
    assert!(is_let_in(&mut table, "11.1.1.1", "203.0.113.1"));
    assert!(!is_let_in(&mut table, "12.1.1.1", "203.0.113.1"));
}

#[test]
fn a_list_over_the_limit_is_said() {
    let sources = |count: u32| -> String {
        let range = |n: u32| format!("11.{}.{}.0/25", n / 256, n % 256);
        (0..count).map(range).collect::<Vec<_>>().join(",")
    };
    let says = |count| {
        let text = format!("svc a 10.96.0.1 80/tcp lb=203.0.113.1 sources={}", sources(count));
        let mut catalog = table::catalog_of(objects::changes(&text));
        catalog.take_dirty();
        let table = Table::new(table::settings(), MemoryKernel::default());
        let cannot = |to| table.cannot(to, catalog.routes(to)?);
        catalog.destinations().any(|to| cannot(to).is_some())
    };
    assert!(!says(256));
    assert!(says(257));
}
