//! From what is installed to what is wanted, in two parts. Pure; never talks to
//! the kernel.
//!
//! `make` adds and replaces so that packets find the new state; `sweep`, run
//! later, removes what a packet may still need that read the old state. Each step
//! of `make` leaves a table that is right for some mixture of old and new, so a
//! kill between any two leaves working rules:
//!
//! * grow: the slot is there before the count that reaches it;
//! * shrink: the count is lowered while the slot stays; the slot is swept;
//! * a value's chain is there before any destination has that value.

use std::collections::BTreeSet;

use super::layout;
use super::plan::Scope;
use super::rule::Chain;
use super::ruleset::{ChainPrint, Op, Ruleset, Step};
use super::set::{Data, Key, SETS, SetName, Verdict};
use super::value::{FACES, Face, PICK, chains_of, is_on_demand, verdict_of};
use crate::mode::Settings;

/// The constant part: table, sets and base chains that are missing or differ.
pub fn frame(settings: &Settings, installed: &Ruleset) -> Vec<Step> {
    let chains = layout::chains(settings);
    frame_of(&SETS, chains, layout::constant_elements(), installed)
}

/// The same for any table: its sets, its chains, each after those that it jumps to, and
/// the elements that are always there.
pub fn frame_of(
    sets: &[SetName],
    chains: Vec<Chain>,
    elements: impl IntoIterator<Item = (SetName, Key, Data)>,
    installed: &Ruleset,
) -> Vec<Step> {
    let mut step = Vec::new();
    if !installed.table {
        step.push(Op::AddTable);
    }
    for set in sets.iter().filter(|set| !installed.sets.contains(set)) {
        step.push(Op::AddSet(*set));
    }
    // Verdicts need their chains, and rules their sets: first chains without a
    // hook, then verdicts, then the hooks.
    let (hooked, plain): (Vec<_>, Vec<_>) =
        chains.into_iter().partition(|chain| chain.hook.is_some());
    for chain in plain {
        push_chain(installed, chain, &mut step);
    }
    for (set, key, data) in elements {
        replace(installed.get(set, &key), set, key, data, &mut step);
    }
    for chain in hooked {
        push_chain(installed, chain, &mut step);
    }
    if step.is_empty() {
        Vec::new()
    } else {
        vec![step]
    }
}

/// Makes a chain, or replaces its rules where they differ.
pub fn push_chain(installed: &Ruleset, chain: Chain, step: &mut Step) {
    match installed.chains.get(&chain.name) {
        None => step.push(Op::AddChain(chain)),
        Some(print) if *print == ChainPrint::of(&chain) => {}
        Some(print) if print.hook == chain.hook => step.push(Op::ReplaceRules(chain)),
        Some(_) => {
            step.push(Op::DeleteChain(chain.name.clone()));
            step.push(Op::AddChain(chain));
        }
    }
}

/// Adds an element, or replaces its data where they differ.
pub fn replace(old: Option<&Data>, set: SetName, key: Key, data: Data, step: &mut Step) {
    if old == Some(&data) {
        return;
    }
    if old.is_some() {
        // The kernel has no "replace": both in one step, so that no packet finds none.
        step.push(Op::Delete(set, key.clone()));
    }
    step.push(Op::Add(set, key, data));
}

/// What must be added or replaced for `scopes`, in order.
pub fn make(settings: &Settings, installed: &Ruleset, scopes: &[Scope]) -> Vec<Step> {
    let mut steps = picks(settings, installed, scopes);
    for stage in 0..=LAST_STAGE {
        for scope in scopes.iter().filter(|scope| stage_of(scope.set) == stage) {
            for (key, data) in &scope.elements {
                let mut step = Vec::new();
                replace(
                    installed.get(scope.set, key),
                    scope.set,
                    key.clone(),
                    data.clone(),
                    &mut step,
                );
                if !step.is_empty() {
                    steps.push(step);
                }
            }
            if is_entry(scope.set) {
                steps.extend(removals(installed, scope));
            }
        }
    }
    steps
}

/// What may be removed once `make` has been done and no packet is on its way
/// that read the state before.
pub fn sweep(installed: &Ruleset, scopes: &[Scope]) -> Vec<Step> {
    // Identities last: a packet may have read one from a slot.
    let mut steps: Vec<Step> = Vec::new();
    for stage in (0..=LAST_STAGE).rev() {
        for scope in scopes.iter().filter(|scope| stage_of(scope.set) == stage) {
            steps.extend(removals(installed, scope));
        }
    }
    steps
}

/// The chains and verdicts of values that no destination has any more.
pub fn sweep_picks(settings: &Settings, installed: &Ruleset) -> Vec<Step> {
    let mut step = Vec::new();
    for face in FACES {
        for (key, _) in installed.elements(face.pick()) {
            if matches!(key, Key::Value(value) if !installed.is_used(face, *value)) {
                step.push(Op::Delete(face.pick(), key.clone()));
            }
        }
    }
    let wanted: BTreeSet<String> = installed
        .used_values()
        .flat_map(|(face, value)| chains_of(settings, face, value))
        .map(|chain| chain.name)
        .chain(guards(installed))
        .collect();
    let unused = installed
        .chains
        .keys()
        .filter(|name| is_on_demand(name) && !wanted.contains(*name));
    // A chain before those that it jumps to.
    let (picks, rest): (Vec<_>, Vec<_>) = unused.partition(|name| name.starts_with(PICK));
    step.extend(picks.into_iter().chain(rest).cloned().map(Op::DeleteChain));
    if step.is_empty() {
        Vec::new()
    } else {
        vec![step]
    }
}

/// The chains that lists of allowed sources lead to.
pub fn guards(installed: &Ruleset) -> impl Iterator<Item = String> {
    let elements = installed.elements(SetName::PickGuard);
    elements.filter_map(|(_, data)| match data {
        Data::Verdict(Verdict::Goto(chain)) => Some(chain.clone()),
        _ => None,
    })
}

fn removals<'a>(installed: &'a Ruleset, scope: &'a Scope) -> impl Iterator<Item = Step> + 'a {
    installed
        .range(scope.set, &scope.range)
        .filter(|(key, _)| !scope.elements.contains_key(key))
        .map(|(key, _)| vec![Op::Delete(scope.set, key.clone())])
        .collect::<Vec<_>>()
        .into_iter()
}

/// Chains and verdicts for values that are new to the table.
fn picks(settings: &Settings, installed: &Ruleset, scopes: &[Scope]) -> Vec<Step> {
    let mut wanted: BTreeSet<(Face, u32)> = BTreeSet::new();
    for face in FACES {
        for scope in scopes.iter().filter(|scope| scope.set == face.values()) {
            wanted.extend(scope.elements.values().filter_map(|data| match data {
                Data::Value(value) => Some((face, *value)),
                _ => None,
            }));
        }
    }
    let mut made = BTreeSet::new();
    let mut steps = Vec::new();
    for chain in scopes.iter().flat_map(|scope| &scope.chains) {
        let mut step = Vec::new();
        if made.insert(chain.name.clone()) {
            push_chain(installed, chain.clone(), &mut step);
        }
        if !step.is_empty() {
            steps.push(step);
        }
    }
    for (face, value) in wanted {
        let mut step = Vec::new();
        for chain in chains_of(settings, face, value) {
            if made.insert(chain.name.clone()) {
                push_chain(installed, chain, &mut step);
            }
        }
        let key = Key::Value(value);
        let verdict = Data::Verdict(verdict_of(face, value));
        replace(
            installed.get(face.pick(), &key),
            face.pick(),
            key,
            verdict,
            &mut step,
        );
        if !step.is_empty() {
            steps.push(step);
        }
    }
    steps
}

const LAST_STAGE: u8 = 3;

fn stage_of(set: SetName) -> u8 {
    match set {
        SetName::StickyEndpoints | SetName::StickyNodePortEndpoints => 0,
        SetName::Guards
        | SetName::Services
        | SetName::OutsideServices
        | SetName::NodePorts
        | SetName::OutsideNodePorts => 2,
        // After the values: a Service's own port must never be refused as a
        // cluster IP's unknown one.
        SetName::ClusterIps => 3,
        _ => 1,
    }
}

/// Where a packet begins: an element of these is removed at once, since nothing
/// leads to it that was read before.
fn is_entry(set: SetName) -> bool {
    matches!(stage_of(set), 2 | 3)
}
