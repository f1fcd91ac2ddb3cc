//! From what is installed to what is wanted, as far as it is the same for every table.
//! Pure.

use super::rule::Chain;
use super::ruleset::{ChainPrint, Op, Ruleset, Step};
use super::set::{Data, Key, SetName, Verdict};

/// The constant part of a table: its sets, its chains, each after those that it jumps to, and
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
    if step.is_empty() { Vec::new() } else { vec![step] }
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

/// The chains that lists of allowed sources lead to.
pub fn guards(installed: &Ruleset) -> impl Iterator<Item = String> {
    let elements = installed.elements(SetName::PickGuard);
    elements.filter_map(|(_, data)| match data {
        Data::Verdict(Verdict::Goto(chain)) => Some(chain.clone()),
        _ => None,
    })
}
