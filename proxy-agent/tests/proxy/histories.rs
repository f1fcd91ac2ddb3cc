//! Random histories: however a state was reached — step by step, at once, after a
//! kill — the table is the same, and at each step in between packets find a way.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proxy_agent::catalog::Catalog;
use proxy_agent::dnat::Table;
use proxy_agent::nft::ruleset::Ruleset;
use proxy_agent::nft::set::{Data, Key, SETS};
use proxy_agent::routes::Dirty;

use super::changes::{self, Edit, OPTIONS, edit, no_packet_is_lost};
use super::memory_kernel::MemoryKernel;
use super::table;
use super::tracer::Tracer;

/// One event of a history.
#[derive(Clone, Debug)]
pub enum Event {
    Edit(Edit),
    Sync,
    Sweep,
    /// The agent is killed after so many steps of its next transaction, and begins anew.
    Kill {
        steps: usize,
    },
}

pub fn event() -> impl Strategy<Value = Event> {
    let more = ["lb=203.0.113.7", "sources=10.0.0.0/8", "sources=10.0.0.0/8,203.0.113.0/24"];
    prop_oneof![
        8 => edit(&[OPTIONS, &more].concat(), 6).prop_map(Event::Edit),
        4 => Just(Event::Sync),
        2 => Just(Event::Sweep),
        1 => (0usize..12).prop_map(|steps| Event::Kill { steps }),
    ]
}

/// A second catalog that has seen the same.
pub fn replay(events: &[Event]) -> Catalog {
    changes::replay(events.iter().filter_map(|event| match event {
        Event::Edit(edit) => Some(edit),
        _ => None,
    }))
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn step_by_step_at_once_and_after_kills_are_the_same(events in proptest::collection::vec(event(), 1..40)) {
        let mut catalog = replay(&[]);
        let mut table = Table::new(table::settings(), MemoryKernel::default());
        let mut dirty = Dirty::default();
        let mut synced_at = 0;
        for (index, event) in events.iter().enumerate() {
            // As the agent does: what a sweep sees is what was synced.
            if matches!(event, Event::Sync | Event::Kill { .. }) {
                dirty.extend(catalog.take_dirty());
            }
            match event {
                Event::Edit(edit) => catalog.apply(edit.change()),
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
                        no_packet_is_lost(&before, &catalog, None, |_| None, |packet| {
                            let remembered = Default::default();
                            Tracer { kernel: &kernel, node_addresses: &[], remembered }
                                .outcomes(packet)
                        })?;
                    }
                    kernel.steps_left = None;
                    table = Table::new(table::settings(), kernel);
                    table.sync(&catalog, &Dirty::default()).expect("repaired");
                    dirty = Dirty::default();
                    synced_at = index;
                }
            }
        }
        dirty.extend(catalog.take_dirty());
        settle(&mut table, &catalog, &dirty);

        let mut fresh_catalog = replay(&events);
        let all = fresh_catalog.take_dirty();
        let mut fresh = Table::new(table::settings(), MemoryKernel::default());
        settle(&mut fresh, &fresh_catalog, &all);
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
