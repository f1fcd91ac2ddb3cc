//! Random histories: however a state was reached — step by step, at once, after a
//! kill — the table is the same, and at each step in between packets find a way.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;
use proxy_agent::catalog::{Catalog, Change, ServiceName};
use proxy_agent::dnat::Table;
use proxy_agent::nft::ruleset::Ruleset;
use proxy_agent::nft::set::{Data, Key, SETS};
use proxy_agent::routes::{Destination, Dirty, Protocol, RouteTable};

use super::memory_kernel::MemoryKernel;
use super::packet::{Outcome, Packet};
use super::tracer::Tracer;
use super::{objects, table};

const SERVICES: u8 = 3;

/// One event of a history.
#[derive(Clone, Debug)]
pub enum Event {
    Service {
        index: u8,
        options: Vec<&'static str>,
    },
    NoService(u8),
    /// Bit `i` of `ready`: endpoint `i` is there; of `local`: it is on this node.
    Slice {
        index: u8,
        ready: u8,
        local: u8,
    },
    Sync,
    Sweep,
    /// The agent is killed after so many steps of its next transaction, and begins anew.
    Kill {
        steps: usize,
    },
}

pub fn event() -> impl Strategy<Value = Event> {
    let options = proptest::sample::subsequence(
        vec![
            "node-port=3000",
            "affinity=60",
            "internal=Local",
            "external=Local",
            "external-ip=198.51.100.7",
            "lb=203.0.113.7",
            "sources=10.0.0.0/8",
            "sources=10.0.0.0/8,203.0.113.0/24",
        ],
        0..=8,
    );
    prop_oneof![
        2 => (0..SERVICES, options).prop_map(|(index, options)| Event::Service { index, options }),
        1 => (0..SERVICES).prop_map(Event::NoService),
        5 => (0..SERVICES, 0u8..64, any::<u8>())
            .prop_map(|(index, ready, local)| Event::Slice { index, ready, local }),
        4 => Just(Event::Sync),
        2 => Just(Event::Sweep),
        1 => (0usize..12).prop_map(|steps| Event::Kill { steps }),
    ]
}

pub fn change_of(event: &Event) -> Option<Change> {
    match event {
        Event::Service { index, options } => {
            let mut text = format!("svc s{index} 10.96.0.{} 80/tcp", index + 1);
            for option in options {
                text += &match *option {
                    "node-port=3000" => format!(" node-port=3000{index}"),
                    other => format!(" {other}"),
                };
            }
            Some(objects::changes(&text).remove(0))
        }
        Event::NoService(index) => Some(Change::ServiceGone(ServiceName {
            namespace: "default".to_owned(),
            name: format!("s{index}"),
        })),
        Event::Slice { index, ready: 0, .. } => Some(Change::SliceGone(ServiceName {
            namespace: "default".to_owned(),
            name: format!("s{index}-a-8080"),
        })),
        Event::Slice { index, ready, local } => {
            let lines: Vec<String> = (0..6u8)
                .filter(|bit| ready & 1 << bit != 0)
                .map(|bit| {
                    let node = if local & 1 << bit != 0 { "node-1" } else { "node-2" };
                    format!("ep s{index} 10.244.{index}.{}:8080 {node}", bit + 1)
                })
                .collect();
            Some(objects::changes(&lines.join("\n")).remove(0))
        }
        _ => None,
    }
}

/// The table without the order of slots: who has which is history.
pub fn normal(ruleset: &Ruleset) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for set in SETS {
        for (key, data) in ruleset.elements(set) {
            let is_slot = !matches!(data, Data::Value(_)) || matches!(key, Key::Destination(_));
            let line = match (key, data) {
                (Key::Slot(to, slot), Data::Target(target)) => {
                    format!("{to:?} {} {target:?}", slot & 0x8000)
                }
                (Key::Slot(to, _), Data::Value(identity)) => format!("{to:?} {identity}"),
                (key, data) => format!("{key:?} {data:?}"),
            };
            lines.insert(format!("{} {is_slot} {line}", set.as_str()));
        }
    }
    lines.extend(ruleset.chains.iter().map(|(name, print)| format!("{name} {print:?}")));
    lines
}

fn settle(table: &mut Table<MemoryKernel>, catalog: &Catalog, dirty: &Dirty) {
    table.sync(catalog, dirty).expect("synced");
    while table.needs_sweep() {
        table.sweep().expect("swept");
    }
}

/// Every destination that the catalog serves leads to one of the endpoints that the
/// catalog had before or has now, and never nowhere.
fn no_packet_is_lost(
    kernel: &MemoryKernel,
    before: &Catalog,
    now: &Catalog,
) -> Result<(), TestCaseError> {
    for destination in now.destinations() {
        let Destination::Address { address, port, .. } = destination else {
            continue;
        };
        let (Some(old), Some(new)) = (before.routes(destination), now.routes(destination)) else {
            continue;
        };
        if old.inside.endpoints.is_empty() || new.inside.endpoints.is_empty() {
            continue;
        }
        let allowed: BTreeSet<_> =
            old.inside.endpoints.iter().chain(&new.inside.endpoints).copied().collect();
        let packet = Packet {
            source: IpAddr::from([10, 244, 9, 9]),
            destination: *address,
            protocol: Protocol::Tcp,
            port: *port,
        };
        let mut tracer = Tracer { kernel, node_addresses: &[], remembered: Default::default() };
        for outcome in tracer.outcomes(&packet) {
            let found =
                matches!(outcome, Outcome::Endpoint { target, .. } if allowed.contains(&target));
            prop_assert!(found, "{destination:?}: {outcome:?}, not one of {allowed:?}");
        }
    }
    Ok(())
}

/// A second catalog that has seen the same.
pub fn replay(events: &[Event]) -> Catalog {
    table::model_of(events.iter().filter_map(change_of).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn step_by_step_at_once_and_after_kills_are_the_same(events in proptest::collection::vec(event(), 1..40)) {
        let mut catalog = replay(&[]);
        let mut table = Table::new(table::settings(), MemoryKernel::default());
        let mut dirty = Dirty::default();
        let mut synced_at = 0;
        for (index, event) in events.iter().enumerate() {
            if let Some(change) = change_of(event) {
                catalog.apply(change);
            }
            // As the agent does: what a sweep sees is what was synced.
            if matches!(event, Event::Sync | Event::Kill { .. }) {
                dirty.extend(catalog.take_dirty());
            }
            match event {
                Event::Sync => {
                    table.sync(&catalog, &dirty).expect("synced");
                    dirty = Dirty::default();
                    synced_at = index;
                }
                Event::Sweep => table.sweep().expect("swept"),
                Event::Kill { steps } => {
                    table.kernel().steps_left = Some(*steps);
                    let killed = table.sync(&catalog, &dirty).is_err();
                    let mut kernel = table.kernel().clone();
                    if killed && synced_at > 0 {
                        let mut before = replay(&events[..synced_at]);
                        before.take_dirty();
                        no_packet_is_lost(&kernel, &before, &catalog)?;
                    }
                    kernel.steps_left = None;
                    table = Table::new(table::settings(), kernel);
                    table.sync(&catalog, &Dirty::default()).expect("repaired");
                    dirty = Dirty::default();
                    synced_at = index;
                }
                _ => {}
            }
        }
        dirty.extend(catalog.take_dirty());
        settle(&mut table, &catalog, &dirty);

        let mut fresh_model = replay(&events);
        let all = fresh_model.take_dirty();
        let mut fresh = Table::new(table::settings(), MemoryKernel::default());
        settle(&mut fresh, &fresh_model, &all);
        prop_assert_eq!(normal(&table.kernel().ruleset), normal(&fresh.kernel().ruleset));

        let kernel = table.kernel().clone();
        let generation = kernel.generation;
        let mut restarted = Table::new(table::settings(), kernel);
        settle(&mut restarted, &catalog, &Dirty::default());
        prop_assert_eq!(restarted.kernel().generation, generation);
        let known = restarted.installed().expect("known").clone();
        prop_assert_eq!(&restarted.kernel().ruleset, &known);
    }
}
