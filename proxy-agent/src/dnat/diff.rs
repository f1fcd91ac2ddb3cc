//! From what is installed to what is wanted, in two parts. Pure; never talks to
//! the kernel.
//!
//! `make` adds and replaces so that packets find the new state; what a packet may still
//! need that read the old state is removed later (`leaving`). Each step
//! of `make` leaves a table that is right for some mixture of old and new, so a
//! kill between any two leaves working rules:
//!
//! * grow: the slot is there before the count that reaches it;
//! * shrink: the count is lowered while the slot stays; the slot is swept;
//! * a value's chain is there before any destination has that value, and in a transaction
//!   before: a packet under way sees new elements of maps at once, but the rules of the
//!   moment when it entered its hook, and of a chain that is new it would see none.

use std::collections::BTreeSet;

use super::layout;
use super::value::{PICK, chains_of, is_on_demand, verdict_of};
use crate::nft::diff::{frame_of, guards, push_chain, replace};
use crate::nft::face::{FACES, Face};
use crate::nft::parts::unserved_elements;
use crate::nft::ruleset::{Op, Ruleset, Step};
use crate::nft::scope::Scope;
use crate::nft::set::{Data, Key, SETS, SetName};
use crate::settings::Settings;

/// The constant part: table, sets and base chains that are missing or differ.
pub fn frame(settings: &Settings, installed: &Ruleset) -> Vec<Step> {
    let chains = layout::chains(settings);
    frame_of(&SETS, chains, unserved_elements(), installed)
}

/// Operations of one step where each could be one: so few that a step is small beside a
/// transaction, and so many that steps are few beside operations.
const GROUP: usize = 64;

/// What must be added or replaced for `scopes`, in order, in transactions after those of
/// [`picks`].
pub fn make(installed: &Ruleset, scopes: &[Scope]) -> Vec<Step> {
    let mut steps = Vec::new();
    for stage in 0..=LAST_STAGE {
        let of_stage = scopes.iter().filter(|scope| stage_of(scope.set) == stage);
        if stage >= FIRST_ENTRY_STAGE {
            steps.extend(entries(installed, of_stage));
            continue;
        }
        let mut step = Vec::new();
        for scope in of_stage {
            let near = installed.near(scope.set, scope.range.start());
            for (key, data) in &scope.elements {
                let old = near.and_then(|near| near.get(key));
                replace(old, scope.set, key.clone(), data.clone(), &mut step);
                if step.len() >= GROUP {
                    steps.push(std::mem::take(&mut step));
                }
            }
        }
        steps.extend((!step.is_empty()).then_some(step));
    }
    steps
}

/// Where packets begin: elements of these are removed at once too, since nothing leads to
/// them that was read before. All of one destination is one step, so that packets from
/// inside and from outside find the same state of it.
fn entries<'a>(installed: &Ruleset, scopes: impl Iterator<Item = &'a Scope>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut last = None;
    for scope in scopes {
        if last.replace(&scope.range) != Some(&scope.range) {
            steps.push(Vec::new());
        }
        let Some(step) = steps.last_mut() else {
            continue;
        };
        for (key, data) in &scope.elements {
            let old = installed.get(scope.set, key);
            replace(old, scope.set, key.clone(), data.clone(), step);
        }
        step.extend(removals(installed, scope).flatten());
    }
    steps.retain(|step| !step.is_empty());
    steps
}

/// Removes the verdicts of `unused` values, and the chains that no verdict leads to. One
/// a step: there is no limit to how many become unused at once.
pub fn sweep_picks(
    settings: &Settings,
    installed: &Ruleset,
    unused: &BTreeSet<(Face, u32)>,
) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    for face in FACES {
        for (key, _) in installed.elements(face.pick()) {
            let Key::Value(value) = key else { continue };
            if unused.contains(&(face, value)) {
                steps.push(vec![Op::Delete(face.pick(), key)]);
            } else {
                let chains = chains_of(settings, face, value).into_iter();
                wanted.extend(chains.map(|chain| chain.name));
            }
        }
    }
    wanted.extend(guards(installed));
    let unused =
        installed.chains.keys().filter(|name| is_on_demand(name) && !wanted.contains(*name));
    // A chain before those that it jumps to.
    let (picks, rest): (Vec<_>, Vec<_>) = unused.partition(|name| name.starts_with(PICK));
    let unused = picks.into_iter().chain(rest).cloned();
    steps.extend(unused.map(|name| vec![Op::DeleteChain(name)]));
    steps
}

fn removals<'a>(installed: &'a Ruleset, scope: &'a Scope) -> impl Iterator<Item = Step> + 'a {
    let unwanted = scope.unwanted(installed);
    unwanted.map(|key| vec![Op::Delete(scope.set, key)])
}

/// Chains and verdicts for values that are new to the table: to be committed before `make`
/// is.
pub fn picks(settings: &Settings, installed: &Ruleset, scopes: &[Scope]) -> Vec<Step> {
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
        replace(installed.get(face.pick(), &key), face.pick(), key, verdict, &mut step);
        if !step.is_empty() {
            steps.push(step);
        }
    }
    steps
}

const FIRST_ENTRY_STAGE: u8 = 2;
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

/// Where packets begin.
pub fn is_entry(set: SetName) -> bool {
    stage_of(set) >= FIRST_ENTRY_STAGE
}
