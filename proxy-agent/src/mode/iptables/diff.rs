//! From what is installed to what is wanted. Pure; never talks to the kernel.
//!
//! A packet between two transactions finds the old state or the new one:
//!
//! * an address is refused in `filter` before it leads nowhere in `nat`, and leads
//!   somewhere before it is no longer refused;
//! * what one unit has in `nat` changes in one step, but for ways that others may take over:
//!   the old way goes when the new one is there, before it;
//! * a chain is deleted when nothing leads to it any more.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::frame::{self, SHARED, Shared};
use super::names::{Table, rank};
use super::parse::{Found, are, normal};
use super::plan::{Unit, UnitPlan};
use crate::settings::Settings;

/// One change. Rules are in the notation of `iptables-save`, without the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Makes the chain, or empties it, and fills it.
    Write {
        /// Its table.
        table: Table,
        /// Its name.
        chain: String,
        /// Its rules.
        rules: Vec<String>,
    },
    /// Puts a rule before the one that is at `position` (from 1).
    Insert {
        /// The chain's table.
        table: Table,
        /// The chain.
        chain: String,
        /// Where.
        position: usize,
        /// The rule.
        rule: String,
    },
    /// Puts a rule at the end.
    Append {
        /// The chain's table.
        table: Table,
        /// The chain.
        chain: String,
        /// The rule.
        rule: String,
    },
    /// Removes the first rule that is the same.
    Remove {
        /// The chain's table.
        table: Table,
        /// The chain.
        chain: String,
        /// The rule.
        rule: String,
    },
    /// Removes the chain and all that is in it.
    Delete {
        /// Its table.
        table: Table,
        /// Its name.
        chain: String,
    },
}

impl Op {
    /// The table that it changes.
    pub fn table(&self) -> Table {
        match self {
            Op::Write { table, .. }
            | Op::Insert { table, .. }
            | Op::Append { table, .. }
            | Op::Remove { table, .. }
            | Op::Delete { table, .. } => *table,
        }
    }
}

/// Changes of one table that belong into one transaction.
pub type Step = Vec<Op>;

/// A unit as it is, or is to be, installed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitState {
    /// Its own chains with the prints of their rules.
    chains: Vec<(String, u64)>,
    /// Its rules in shared chains: the chain, whether it comes last, the rule.
    entries: Vec<(Shared, bool, String)>,
}

/// What is known of the kernel's rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// By unit.
    pub units: HashMap<Unit, UnitState>,
}

/// A number that stays the same as long as the rules do.
fn print(rules: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    rules.hash(&mut hasher);
    hasher.finish()
}

/// A unit's plan as text.
struct Wanted {
    chains: Vec<(String, Vec<String>)>,
    entries: Vec<(Shared, bool, String)>,
}

impl Wanted {
    fn of(plan: &UnitPlan) -> Wanted {
        let chains = plan.chains.iter().map(|chain| {
            let rules = chain.rules.iter().map(|rule| rule.render()).collect();
            (chain.name.clone(), rules)
        });
        let entries = plan.entries.iter();
        Wanted {
            chains: chains.collect(),
            entries: entries.map(|entry| (entry.shared, entry.last, entry.rule.render())).collect(),
        }
    }

    fn state(self) -> UnitState {
        let chains = self.chains.into_iter();
        UnitState {
            chains: chains.map(|(name, rules)| (name, print(&rules))).collect(),
            entries: self.entries,
        }
    }
}

/// Changes of shared chains and units, in the order that packets need.
#[derive(Default)]
struct Steps {
    frame: Vec<Step>,
    refuse: Vec<Step>,
    lead: Vec<Step>,
    unlead: Vec<Step>,
    unrefuse: Vec<Step>,
    delete: Vec<(usize, Op)>,
}

impl Steps {
    fn into_order(mut self) -> Vec<Step> {
        self.delete.sort_by_key(|(rank, _)| *rank);
        let mut steps = self.frame;
        for part in [self.refuse, self.lead, self.unlead, self.unrefuse] {
            steps.extend(part);
        }
        steps.extend(self.delete.into_iter().map(|(_, op)| vec![op]));
        steps.retain(|step| !step.is_empty());
        steps
    }

    /// The steps for one unit; each entry of `adds` and `removes` differs.
    fn unit(
        &mut self,
        writes: Step,
        adds: Vec<(Shared, bool, String)>,
        removes: Vec<(Shared, String)>,
    ) {
        let mut lead = writes;
        let mut refuse = Vec::new();
        let mut unrefuse = Vec::new();
        for (shared, last, rule) in adds {
            let place = match (shared.table, shared == frame::REFUSED && last) {
                (Table::Nat | Table::Mangle, _) => &mut lead,
                // Not before all of the cluster IP's ports lead somewhere.
                (Table::Filter, true) => &mut unrefuse,
                (Table::Filter, false) => &mut refuse,
            };
            place.push(entry(shared, last, rule));
        }
        let mut unlead = Vec::new();
        for (shared, rule) in removes {
            let op = Op::Remove { table: shared.table, chain: shared.chain.to_owned(), rule };
            match shared.table {
                // After what comes instead, which another unit may have.
                Table::Nat | Table::Mangle => unlead.push(op),
                Table::Filter => unrefuse.push(op),
            }
        }
        self.refuse.push(refuse);
        self.lead.push(lead);
        self.unlead.push(unlead);
        self.unrefuse.push(unrefuse);
    }

    fn delete(&mut self, chain: &str) {
        let op = Op::Delete { table: Table::Nat, chain: chain.to_owned() };
        self.delete.push((rank(chain).unwrap_or(0), op));
    }
}

fn entry(shared: Shared, last: bool, rule: String) -> Op {
    let (table, chain) = (shared.table, shared.chain.to_owned());
    match last {
        true => Op::Append { table, chain, rule },
        false => Op::Insert { table, chain, position: 1, rule },
    }
}

fn write(chain: &str, rules: &[String]) -> Op {
    Op::Write { table: Table::Nat, chain: chain.to_owned(), rules: rules.to_vec() }
}

/// The steps for these units, by what was installed for them before.
pub fn change(installed: &mut Installed, plans: Vec<(Unit, UnitPlan)>) -> Vec<Step> {
    let mut steps = Steps::default();
    let mut kept = BTreeSet::new();
    let mut gone = Vec::new();
    // From the last: each goes to the top, and the first ends there.
    for (unit, plan) in plans.into_iter().rev() {
        let wanted = Wanted::of(&plan);
        let old = installed.units.remove(&unit).unwrap_or_default();
        let is_written = |name: &String, rules: &[String]| {
            old.chains.iter().any(|(n, p)| n == name && *p == print(rules))
        };
        let writes = wanted.chains.iter();
        let writes = writes.filter(|(name, rules)| !is_written(name, rules));
        let writes = writes.map(|(name, rules)| write(name, rules)).collect();
        let mut left = old.entries;
        let mut adds = Vec::new();
        for entry in &wanted.entries {
            match left.iter().position(|old| old == entry) {
                Some(at) => drop(left.swap_remove(at)),
                None => adds.push(entry.clone()),
            }
        }
        let removes = left.into_iter().map(|(shared, _, rule)| (shared, rule));
        steps.unit(writes, adds, removes.collect());
        kept.extend(wanted.chains.iter().map(|(name, _)| name.clone()));
        gone.extend(old.chains.into_iter().map(|(name, _)| name));
        let state = wanted.state();
        if state != UnitState::default() {
            installed.units.insert(unit, state);
        }
    }
    gone.iter().filter(|name| !kept.contains(*name)).for_each(|name| steps.delete(name));
    steps.into_order()
}

/// The steps from what was found to all units of a catalog, and what is installed after
/// them.
pub fn repair(
    settings: &Settings,
    mut found: Found,
    plans: Vec<(Unit, UnitPlan)>,
) -> (Installed, Vec<Step>) {
    let mut steps = Steps { frame: frame_steps(settings, &found), ..Steps::default() };
    let mut shared = SharedRules::new(settings, &mut found, &plans);
    let always = frame::entries(settings).into_iter();
    let always = always.map(|(shared, last, rule)| (shared, last, rule.render()));
    let always = shared.missing(always.collect());
    steps.unit(Vec::new(), always, Vec::new());
    let mut installed = Installed::default();
    for (unit, plan) in plans.into_iter().rev() {
        let wanted = Wanted::of(&plan);
        let mut writes = Vec::new();
        for (name, rules) in &wanted.chains {
            let there = found.chains.remove(&(Table::Nat, name.clone()));
            if !there.is_some_and(|there| are(&there, rules)) {
                writes.push(write(name, rules));
            }
        }
        let adds = shared.missing(wanted.entries.clone());
        steps.unit(writes, adds, Vec::new());
        installed.units.insert(unit, wanted.state());
    }
    for rule in shared.left() {
        steps.unit(Vec::new(), Vec::new(), vec![rule]);
    }
    for ((table, chain), rules) in &found.chains {
        if *table != Table::Nat || rank(chain).is_none() {
            continue;
        }
        if !found.referred.contains(&(*table, chain.clone())) {
            steps.delete(chain);
        } else if !rules.is_empty() {
            // Somebody else's rule leads here: it finds nothing from now on.
            steps.unlead.push(vec![write(chain, &[])]);
        }
    }
    (installed, steps.into_order())
}

/// Chains of constant content, empty shared chains, and jumps, where they are missing or
/// differ.
fn frame_steps(settings: &Settings, found: &Found) -> Vec<Step> {
    let mut steps = Vec::new();
    for table in Table::ALL {
        let mut step = Vec::new();
        for shared in SHARED.into_iter().filter(|shared| shared.table == table) {
            let chain = shared.chain.to_owned();
            if !found.chains.contains_key(&(table, chain.clone())) {
                let rules = Vec::new();
                step.push(Op::Write { table, chain, rules });
            }
        }
        for (_, chain, rules) in frame::chains(settings).into_iter().filter(|(t, ..)| *t == table) {
            let rules: Vec<String> = rules.iter().map(|rule| rule.render()).collect();
            let chain = chain.to_owned();
            let there = found.chains.get(&(table, chain.clone()));
            if !there.is_some_and(|there| are(there, &rules)) {
                step.push(Op::Write { table, chain, rules });
            }
        }
        for (_, chain, rules) in frame::jumps().into_iter().filter(|(t, ..)| *t == table) {
            let rules: Vec<String> = rules.iter().map(|rule| rule.render()).collect();
            let there = found.jumps.get(&(table, chain.to_owned()));
            let there = there.map_or(&[][..], Vec::as_slice);
            if !are(there, &rules) {
                let chain = chain.to_owned();
                step.extend(there.iter().map(|rule| Op::Remove {
                    table,
                    chain: chain.clone(),
                    rule: rule.clone(),
                }));
                step.extend(rules.into_iter().rev().map(|rule| Op::Insert {
                    table,
                    chain: chain.clone(),
                    position: 1,
                    rule,
                }));
            }
        }
        steps.push(step);
    }
    steps
}

/// What was found in shared chains and is not wanted yet.
struct SharedRules {
    /// Each rule as often as it is there, as it is shown.
    there: HashMap<(Shared, String), Vec<String>>,
    /// Rules that must be last and are not: they are put at the end anew.
    misplaced: Vec<(Shared, String)>,
}

impl SharedRules {
    fn new(settings: &Settings, found: &mut Found, plans: &[(Unit, UnitPlan)]) -> SharedRules {
        let tail = frame::entries(settings).into_iter();
        let tail = tail.filter(|(_, last, _)| *last);
        let tail = tail.map(|(shared, _, rule)| (shared, rule.render()));
        let entries = plans.iter().flat_map(|(_, plan)| &plan.entries);
        let last = entries.filter(|entry| entry.last);
        let last = last.map(|entry| (entry.shared, entry.rule.render()));
        let last: BTreeSet<(Shared, String)> = last.chain(tail).collect();
        let mut rules = SharedRules { there: HashMap::new(), misplaced: Vec::new() };
        for shared in SHARED {
            let key = (shared.table, shared.chain.to_owned());
            let shown = found.chains.remove(&key).unwrap_or_default();
            let chain: Vec<(Shared, String)> =
                shown.iter().map(|rule| (shared, normal(rule))).collect();
            let tail_begins = chain.iter().rposition(|rule| !last.contains(rule));
            let tail_begins = tail_begins.map_or(0, |at| at + 1);
            for (at, (rule, shown)) in chain.into_iter().zip(shown).enumerate() {
                if at < tail_begins && last.contains(&rule) {
                    rules.misplaced.push((shared, shown));
                } else {
                    rules.there.entry(rule).or_default().push(shown);
                }
            }
        }
        rules
    }

    /// Those of a unit's rules that are not there; the others count as taken.
    fn missing(&mut self, entries: Vec<(Shared, bool, String)>) -> Vec<(Shared, bool, String)> {
        let mut missing = Vec::new();
        for (shared, last, rule) in entries {
            let there = self.there.get_mut(&(shared, rule.clone()));
            if there.and_then(Vec::pop).is_none() {
                missing.push((shared, last, rule));
            }
        }
        missing
    }

    /// What nobody wanted, as often as it is there.
    fn left(self) -> Vec<(Shared, String)> {
        let mut left = self.misplaced;
        for ((shared, _), shown) in self.there {
            left.extend(shown.into_iter().map(|rule| (shared, rule)));
        }
        left.sort_unstable();
        left
    }
}
