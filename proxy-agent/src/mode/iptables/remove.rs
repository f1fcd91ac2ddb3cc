//! Takes all of kube-proxy's chains away, this mode's and those of a stock kube-proxy. Never
//! touches a chain of another name, nor deletes one that somebody else's rules lead to.

use anyhow::{Context, Result};

use super::batch::{inputs, sections};
use super::diff::{Op, Step};
use super::names::{MARK_MASQ, Table, rank};
use super::parse::{Found, parse_save};
use super::programs::{Rules, says_there_are_none};

/// Removes the jumps, then the chains; whether there were any.
///
/// # Errors
/// The rules cannot be read or changed. Where the machine cannot have any, there are none.
pub fn remove(rules: &mut impl Rules) -> Result<bool> {
    let text = match rules.save() {
        Ok(text) => text,
        Err(error) if says_there_are_none(&error) => return Ok(false),
        Err(error) => return Err(error.context("cannot read the iptables rules")),
    };
    let found = parse_save(&text).context("cannot read the iptables rules")?;
    let steps = steps(&found);
    let is_there = !steps.is_empty();
    for input in inputs(&sections(steps, rules.limit())) {
        rules.restore(&input).context("cannot remove the iptables rules")?;
    }
    Ok(is_there)
}

fn steps(found: &Found) -> Vec<Step> {
    let mut steps = Vec::new();
    for of in Table::ALL {
        let jumps = found.jumps.iter().filter(|((table, _), _)| *table == of);
        for ((table, chain), rules) in jumps {
            steps.extend(rules.iter().map(|rule| {
                vec![Op::Remove { table: *table, chain: chain.clone(), rule: rule.clone() }]
            }));
        }
        let chains = found.chains.iter().filter(|((table, _), _)| *table == of);
        let mut chains: Vec<(&(Table, String), &Vec<String>)> = chains.collect();
        // First those that nobody leads to, last endpoints and what they lead to.
        chains.sort_by_key(|((_, chain), _)| match rank(chain) {
            Some(rank) => 1 + rank,
            None if chain == MARK_MASQ => usize::MAX,
            None => 0,
        });
        for (key, rules) in chains {
            steps.extend(remove_chain(key, rules, found.referred.contains(key)));
        }
    }
    steps
}

/// A chain that somebody else's rules lead to stays, and leads nowhere; the one that only
/// marks may go on doing so.
fn remove_chain(
    (table, chain): &(Table, String),
    rules: &[String],
    is_referred: bool,
) -> Option<Step> {
    let (table, chain) = (*table, chain.clone());
    match is_referred {
        false => Some(vec![Op::Delete { table, chain }]),
        true if rules.is_empty() || chain == MARK_MASQ => None,
        true => Some(vec![Op::Write { table, chain, rules: Vec::new() }]),
    }
}
