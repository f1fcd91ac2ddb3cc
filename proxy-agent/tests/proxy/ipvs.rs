//! Mode `ipvs` against the table of packets and random histories, on a kernel in memory;
//! and on this machine's, which may have none. Never says what is right: the table does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proptest::prelude::*;
use proxy_agent::catalog::Catalog;
use proxy_agent::dnat::Table;
use proxy_agent::mode::ipvs::Director;
use proxy_agent::mode::ipvs::render::render_servers;
use proxy_agent::mode::ipvs::server::Name;
use proxy_agent::mode::nftables::TABLE;
use proxy_agent::mode::{Mode, ipvs};
use proxy_agent::nft::netlink::Netlink;
use proxy_agent::nft::set::{Data, Key, SetName};
use proxy_agent::routes::{Dirty, Family, Protocol};

use super::changes::no_packet_is_lost;
use super::histories::{Event, event, replay};
use super::ipvs_memory::MemoryServers;
use super::network::node_addresses;
use super::packet::Packet;
use super::table::{catalog_of, check_traced, settings};
use super::{network, objects};

/// The node of the tests of this file.
const NODE: [IpAddr; 1] = [IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 77, 11))];

/// One of each kind.
pub const OBJECTS: &str = "
    svc web 10.96.0.10 80/tcp node-port=30010
    ep web 10.244.1.11:8080 node-1
    ep web 10.244.2.11:8080 node-2
    svc none 10.96.0.12 80/tcp external-ip=198.51.100.12
    svc edge 10.96.0.15 80/tcp node-port=30015 external-ip=198.51.100.15 external=Local
    ep edge 10.244.1.12:8080 node-1
    ep edge 10.244.2.11:8080 node-2
    svc dns 10.96.0.22 53/udp affinity=60
    ep dns 10.244.1.12:5353 node-1
";

fn director() -> Director<MemoryServers> {
    Director::new(settings(), MemoryServers::of_node(&NODE))
}

fn settle(director: &mut Director<MemoryServers>, catalog: &Catalog, dirty: &Dirty) {
    director.sync(catalog, dirty).expect("synced");
    while director.needs_sweep() {
        director.sweep().expect("swept");
    }
}

#[test]
fn the_tracer_sees_what_the_table_says() {
    check_traced("ipvs", |settings, catalog, dirty| {
        let family = settings.family;
        let own: Vec<IpAddr> =
            node_addresses().into_iter().filter(|address| Family::of(address) == family).collect();
        let mut director = Director::new(settings, MemoryServers::of_node(&own));
        director.sync(catalog, dirty).expect("synced");
        let kernel = director.kernel().clone();
        move |packet| kernel.outcomes(packet)
    });
}

#[test]
fn virtual_servers_are_shown_as_ipvsadm_shows_them() {
    let mut catalog = catalog_of(objects::changes(
        "svc web 10.96.0.10 80/tcp node-port=30010 affinity=10800 external=Local
         ep web 10.244.1.11:8080 node-1
         ep web 10.244.2.11:8080 node-2
         svc none 10.96.0.12 53/udp",
    ));
    let dirty = catalog.take_dirty();
    let mut director = director();
    settle(&mut director, &catalog, &dirty);
    let servers = &director.kernel().installed.servers;
    assert_eq!(
        render_servers(servers),
        "-A -t 10.96.0.10:80 -s rr -p 10800\n\
         -a -t 10.96.0.10:80 -r 10.244.1.11:8080 -m -w 1\n\
         -a -t 10.96.0.10:80 -r 10.244.2.11:8080 -m -w 1\n\
         -A -u 10.96.0.12:53 -s rr\n\
         -A -t 192.168.77.11:30010 -s rr -p 10800\n\
         -a -t 192.168.77.11:30010 -r 10.244.1.11:8080 -m -w 1\n\
         -a -t 192.168.77.11:30010 -r 10.244.2.11:8080 -m -w 1\n\
         -A -f 77910 -s rr -p 10800\n\
         -a -f 77910 -r 10.244.1.11:8080 -m -w 1\n"
    );
}

#[test]
fn an_endpoint_with_connections_stays_without_new_ones_until_they_end() {
    let with = |endpoints: &[&str]| {
        let lines = endpoints.iter().map(|ep| format!("\nep web {ep}:8080 node-1"));
        let text: String =
            ["svc web 10.96.0.10 80/tcp".to_owned()].into_iter().chain(lines).collect();
        objects::changes(&text)
    };
    let mut catalog = catalog_of(with(&["10.244.1.11", "10.244.1.12"]));
    let mut director = director();
    let dirty = catalog.take_dirty();
    settle(&mut director, &catalog, &dirty);
    let weights = |director: &mut Director<MemoryServers>| -> Vec<u32> {
        let servers = &director.kernel().installed.servers;
        let reals = servers.values().flat_map(|server| server.reals.values());
        reals.map(|real| real.weight).collect()
    };
    assert_eq!(weights(&mut director), [1, 1]);

    let gone = "10.244.1.11".parse().expect("an address");
    director.kernel().busy.insert(proxy_agent::routes::Target { address: gone, port: 8080 });
    with(&["10.244.1.12"]).into_iter().for_each(|change| catalog.apply(change));
    let dirty = catalog.take_dirty();
    settle(&mut director, &catalog, &dirty);
    assert_eq!(weights(&mut director), [0, 1]);
    director.distrust();
    settle(&mut director, &catalog, &Dirty::default());
    assert_eq!(weights(&mut director), [0, 1]);

    director.kernel().busy.clear();
    director.distrust();
    settle(&mut director, &catalog, &Dirty::default());
    assert_eq!(weights(&mut director), [1]);
}

#[test]
fn foreign_edits_are_repaired_and_foreign_servers_stay() {
    let mut catalog = catalog_of(objects::changes(OBJECTS));
    let dirty = catalog.take_dirty();
    let mut director = director();
    settle(&mut director, &catalog, &dirty);
    let right = normal(director.kernel());
    let installed = &mut director.kernel().installed;
    let foreign = Name::Frontend(proxy_agent::mode::ipvs::server::Frontend {
        address: NODE[0],
        protocol: Protocol::Tcp,
        port: 6443,
    });
    let mut server = installed.servers.values().next().expect("one").clone();
    let real = server.reals.values_mut().next().expect("one");
    real.weight = 0;
    let theirs = server.clone();
    installed.servers.pop_first();
    installed.servers.last_entry().expect("one").get_mut().reals.clear();
    installed.carried.pop_first();
    installed.servers.insert(foreign, server);
    director.distrust();
    settle(&mut director, &catalog, &Dirty::default());
    let installed = &mut director.kernel().installed;
    let left = installed.servers.remove(&foreign).expect("not ours");
    assert_eq!(left.reals.len(), theirs.reals.len());
    assert_eq!(normal(director.kernel()), right);
}

/// What is there without the numbers of marks: who has which is history.
fn normal(kernel: &MemoryServers) -> BTreeSet<String> {
    let ruleset = &kernel.table.ruleset;
    let mut owners = BTreeMap::new();
    for (key, data) in ruleset.elements(SetName::Marks) {
        if let (Key::Destination(to), Data::Value(mark)) = (key, data) {
            owners.insert(*mark, to.clone());
        }
    }
    let mut lines = BTreeSet::new();
    for set in proxy_agent::mode::ipvs::layout::SETS {
        for (key, data) in ruleset.elements(set) {
            lines.insert(match set {
                SetName::Marks => format!("{key:?} has a mark"),
                _ => format!("{} {key:?} {data:?}", set.as_str()),
            });
        }
    }
    let chains = ruleset.chains.iter();
    lines.extend(chains.map(|(name, print)| format!("{name} {print:?}")));
    for (name, server) in &kernel.installed.servers {
        let scheduling = &server.scheduling;
        let reals: Vec<_> = server.reals.iter().map(|(to, real)| (to, real.weight)).collect();
        lines.insert(match name {
            Name::Mark(_, mark) => format!("{:?} {scheduling:?} {reals:?}", owners.get(mark)),
            other => format!("{other:?} {scheduling:?} {reals:?}"),
        });
    }
    lines.extend(kernel.installed.carried.iter().map(|a| format!("carries {a}")));
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn step_by_step_at_once_and_after_kills_are_the_same(events in proptest::collection::vec(event(), 1..40)) {
        let mut catalog = replay(&[]);
        let mut director = director();
        let mut dirty = Dirty::default();
        let mut synced_at = 0;
        for (index, event) in events.iter().enumerate() {
            match event {
                Event::Edit(edit) => catalog.apply(edit.change()),
                Event::Sync => {
                    dirty.extend(catalog.take_dirty());
                    director.sync(&catalog, &dirty).expect("synced");
                    dirty = Dirty::default();
                    synced_at = index;
                }
                Event::Sweep => director.sweep().expect("swept"),
                Event::Kill { steps } => {
                    dirty.extend(catalog.take_dirty());
                    director.kernel().ops_left = Some(*steps);
                    let killed = director.sync(&catalog, &dirty).is_err();
                    let mut kernel = director.kernel().clone();
                    if killed && synced_at > 0 {
                        let mut before = replay(&events[..synced_at]);
                        before.take_dirty();
                        let node = Some(NODE[0]);
                        let outcomes = |packet: &Packet| kernel.outcomes(packet);
                        no_packet_is_lost(&before, &catalog, node, |_| None, outcomes)?;
                    }
                    kernel.ops_left = None;
                    director = Director::new(settings(), kernel);
                    director.sync(&catalog, &Dirty::default()).expect("repaired");
                    dirty = Dirty::default();
                    synced_at = index;
                }
            }
        }
        dirty.extend(catalog.take_dirty());
        settle(&mut director, &catalog, &dirty);

        let mut fresh_catalog = replay(&events);
        let all = fresh_catalog.take_dirty();
        let mut fresh = self::director();
        settle(&mut fresh, &fresh_catalog, &all);
        prop_assert_eq!(normal(director.kernel()), normal(fresh.kernel()));

        let kernel = director.kernel().clone();
        let changes = kernel.changes;
        let mut restarted = Director::new(settings(), kernel);
        settle(&mut restarted, &catalog, &Dirty::default());
        prop_assert_eq!(restarted.kernel().changes, changes);
    }
}

/// A user namespace's root may not use IPVS, and this machine may have none at all.
#[test]
fn without_ipvs_the_error_says_so_and_the_former_rules_stay() {
    let name = "ipvs::without_ipvs_the_error_says_so_and_the_former_rules_stay";
    network::in_namespaces(name, || {
        let mut catalog = catalog_of(objects::changes(OBJECTS));
        let dirty = catalog.take_dirty();
        let open = || Netlink::open(Family::V4, TABLE).expect("netlink");
        let mut table = Table::new(settings(), open());
        table.sync(&catalog, &dirty).expect("synced");
        let before = open().generation().expect("a generation");
        // Since 6.5 a kernel lets a user namespace have it.
        let Err(error) = (ipvs::MODE.open)(settings()) else {
            return println!("this kernel has IPVS for everybody");
        };
        let error = format!("{error:#}");
        assert!(error.contains("IPVS") && error.contains("use mode nftables"), "{error}");
        assert_eq!(open().generation().expect("a generation"), before);
        // Nothing was there to be removed, and IPVS is not asked.
        ipvs::cleanup(Family::V4).expect("nothing to do");
    });
}
