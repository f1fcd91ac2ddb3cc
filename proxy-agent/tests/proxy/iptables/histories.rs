//! Random histories: however a state was reached — step by step, at once, after a kill or
//! after what others did — the rules are the same, and between any two transactions packets
//! find a way.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proxy_agent::catalog::Catalog;
use proxy_agent::mode::Mode;
use proxy_agent::mode::iptables::batch::Limit;
use proxy_agent::mode::iptables::programs::Rules;
use proxy_agent::mode::iptables::{Iptables, remove};
use proxy_agent::routes::{Destination, Dirty, Family, Target};

use super::super::changes::{self, Edit, OPTIONS, edit, no_packet_is_lost};
use super::super::{objects, table};
use super::memory::Memory;
use super::tracer::Tracer;

/// So little that a few rules are too many for one transaction.
const TIGHT: Limit = Limit { bytes: 6_000 };

/// One event of a history.
#[derive(Clone, Debug)]
enum Event {
    Edit(Edit),
    Sync,
    /// The agent is killed after so many transactions of its next sync, and begins anew.
    Kill {
        transactions: usize,
    },
    /// Somebody removes a rule, and the agent looks.
    Vandal {
        chain: usize,
        rule: usize,
    },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => edit(OPTIONS, 8).prop_map(Event::Edit),
        4 => Just(Event::Sync),
        1 => (0usize..8).prop_map(|transactions| Event::Kill { transactions }),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(chain, rule)| Event::Vandal { chain, rule }),
    ]
}

fn replay(events: &[Event]) -> Catalog {
    changes::replay(events.iter().filter_map(|event| match event {
        Event::Edit(edit) => Some(edit),
        _ => None,
    }))
}

/// The rules, without the order of those whose order does not matter.
fn normal(memory: &Memory) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for (table, chains) in &memory.tables {
        for (chain, rules) in chains {
            let mut rules = rules.clone();
            let shared = ["SERVICES", "NODEPORTS", "FIREWALL"];
            if shared.iter().any(|end| chain.ends_with(end)) {
                let last = |rule: &str| rule.contains("NOTE:") || rule.contains("no such port");
                rules.sort_by_key(|rule| (last(rule), rule.clone()));
            }
            all.insert(format!("{table} {chain}"), rules);
        }
    }
    all
}

/// No rule that must be last is before one that need not.
fn is_ordered(memory: &Memory) -> bool {
    let last = |rule: &String| rule.contains("NOTE:") || rule.contains("no such port");
    let mut chains = memory.tables.values().flat_map(BTreeMap::values);
    chains.all(|rules| rules.is_sorted_by_key(last))
}

/// The endpoints that the owners of a destination have, before and now: while the policy
/// changes, any of them; and the former owner of an address may change before it loses it.
fn owned(before: &Catalog, now: &Catalog, to: &Destination) -> BTreeSet<Target> {
    let owners = [before, now].map(|catalog| catalog.claimed(to).map(|(owner, _)| owner));
    let endpoints = [before, now].into_iter().flat_map(move |catalog| {
        let owners = owners.into_iter().flatten();
        owners.flat_map(move |owner| catalog.endpoints(owner, Family::V4))
    });
    endpoints.map(|endpoint| endpoint.target).collect()
}

fn vandalize(memory: &mut Memory, chain: usize, rule: usize) {
    let mut chains: Vec<&mut Vec<String>> = memory
        .tables
        .values_mut()
        .flat_map(BTreeMap::values_mut)
        .filter(|rules| !rules.is_empty())
        .collect();
    let Some(count) = std::num::NonZero::new(chains.len()) else {
        return;
    };
    let rules = &mut chains[chain % count];
    let at = rule % rules.len();
    rules.remove(at);
    memory.transactions += 1;
}

struct Run {
    mode: Iptables<Memory>,
    catalog: Catalog,
    dirty: Dirty,
    synced_at: usize,
}

impl Run {
    fn step(&mut self, events: &[Event], index: usize) -> Result<(), TestCaseError> {
        self.dirty.extend(self.catalog.take_dirty());
        match &events[index] {
            Event::Sync => self.mode.sync(&self.catalog, &self.dirty).expect("synced"),
            Event::Kill { transactions } => {
                self.mode.rules().left = Some(*transactions);
                let killed = self.mode.sync(&self.catalog, &self.dirty).is_err();
                let mut memory = self.mode.rules().clone();
                if killed && self.synced_at > 0 {
                    let mut before = replay(&events[..self.synced_at]);
                    before.take_dirty();
                    let tracer = Tracer::new(&memory, Vec::new(), |_| "");
                    let allowed = |to: &Destination| Some(owned(&before, &self.catalog, to));
                    no_packet_is_lost(&before, &self.catalog, None, allowed, |packet| {
                        tracer.chances(packet).into_keys().collect()
                    })?;
                }
                memory.left = None;
                self.mode = Iptables::new(table::settings(), memory);
                self.mode.sync(&self.catalog, &Dirty::default()).expect("repaired");
            }
            Event::Vandal { chain, rule } => {
                vandalize(self.mode.rules(), *chain, *rule);
                self.mode.distrust();
                self.mode.sync(&self.catalog, &self.dirty).expect("repaired");
            }
            Event::Edit(_) => return Ok(()),
        }
        self.dirty = Dirty::default();
        self.synced_at = index;
        Ok(())
    }
}

fn check(events: &[Event], limit: Limit) -> Result<(), TestCaseError> {
    let memory = Memory { limit, ..Memory::default() };
    let mut run = Run {
        mode: Iptables::new(table::settings(), memory.clone()),
        catalog: replay(&[]),
        dirty: Dirty::default(),
        synced_at: 0,
    };
    for (index, event) in events.iter().enumerate() {
        if let Event::Edit(edit) = event {
            run.catalog.apply(edit.change());
        } else {
            run.step(events, index)?;
        }
    }
    run.dirty.extend(run.catalog.take_dirty());
    run.mode.sync(&run.catalog, &run.dirty).expect("synced");
    prop_assert!(is_ordered(run.mode.rules()));

    let mut catalog = replay(events);
    let all = catalog.take_dirty();
    let mut fresh = Iptables::new(table::settings(), memory);
    fresh.sync(&catalog, &all).expect("synced");
    prop_assert_eq!(normal(run.mode.rules()), normal(fresh.rules()));

    let mut restarted = Iptables::new(table::settings(), run.mode.rules().clone());
    restarted.sync(&run.catalog, &Dirty::default()).expect("synced");
    prop_assert_eq!(restarted.transactions(), 0);

    remove(run.mode.rules()).expect("removed");
    prop_assert_eq!(normal(run.mode.rules()), normal(&Memory::default()));
    prop_assert!(!run.mode.rules().save().expect("saved").contains("KUBE-"));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn step_by_step_at_once_and_after_kills_are_the_same(events in proptest::collection::vec(event(), 1..40)) {
        check(&events, Limit::NFT)?;
    }

    #[test]
    fn the_same_with_many_small_transactions(events in proptest::collection::vec(event(), 1..30)) {
        check(&events, TIGHT)?;
    }
}

#[test]
fn what_was_missed_is_found_at_the_next_look() {
    let before = "svc a 10.96.0.1 80/tcp\nep a 10.244.1.11:8080 node-1\nsvc b 10.96.0.2 80/tcp";
    let after = "svc a 10.96.0.1 80/tcp node-port=30001\nep a 10.244.1.12:8080 node-1";
    let mut catalog = table::catalog_of(objects::changes(before));
    let dirty = catalog.take_dirty();
    let mut mode = Iptables::new(table::settings(), Memory::default());
    mode.sync(&catalog, &dirty).expect("synced");
    let mut catalog = table::catalog_of(objects::changes(after));
    catalog.take_dirty();
    mode.distrust();
    assert!(mode.knows(), "nobody else was at work");
    mode.sync(&catalog, &Dirty::default()).expect("synced");
    let mut fresh = Iptables::new(table::settings(), Memory::default());
    fresh.sync(&catalog, &Dirty::default()).expect("synced");
    assert_eq!(normal(mode.rules()), normal(fresh.rules()));
}
