//! Who may use a load balancer's address (`loadBalancerSourceRanges`). Pure; never looks
//! at a Service.
//!
//! A destination with ranges has a value in the map `guards`; the value leads to a chain
//! that all destinations with the same list share, and that drops who is not in it. The
//! value is a hash of the list. Where two lists have one, the later takes the next free
//! number: what tells lists apart is the chain's name, which is a hash nobody collides.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::parts::{ALLOW, plain, rule};
use super::rule::{Chain, End, Rule, Statement};
use super::ruleset::Ruleset;
use super::scope::Scope;
use super::set::{Data, Key, SetName, Verdict};
use crate::routes::{Destination, Routes};

/// Ranges of one list that are let in, after those are joined that lie side by side; a
/// chain is one step, which must fit a socket's buffer. From the rest nobody is let in.
pub const MAX_RANGES: usize = 256;
/// Hexadecimal digits of the list's SHA-256 in a chain's name.
const NAME_DIGITS: usize = 40;
/// Those of them that are the value.
const VALUE_DIGITS: usize = 8;

/// The list as it is enforced: as few ranges as say the same, and no more than the limit.
fn enforced(ranges: &[IpNet]) -> Vec<IpNet> {
    let mut ranges = IpNet::aggregate(&ranges.to_vec());
    ranges.truncate(MAX_RANGES);
    ranges
}

/// Whether the list is longer than what is enforced of it.
pub fn is_too_long(ranges: &[IpNet]) -> bool {
    ranges.len() > MAX_RANGES && IpNet::aggregate(&ranges.to_vec()).len() > MAX_RANGES
}

/// The chain of a list: back to where the packet came from, or the end of it.
pub fn chain_of(ranges: &[IpNet]) -> Chain {
    let ranges = enforced(ranges);
    let mut text = String::new();
    for range in &ranges {
        text += &format!("{range} ");
    }
    let hash = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let mut name = ALLOW.to_owned();
    for byte in hash.as_ref() {
        name += &format!("{byte:02x}");
    }
    name.truncate(ALLOW.len() + NAME_DIGITS);
    let allow = |range| {
        rule([Statement::InNetwork(End::Source, range, true), Statement::Verdict(Verdict::Return)])
    };
    let mut rules: Vec<Rule> = ranges.into_iter().map(allow).collect();
    rules.push(rule([Statement::Verdict(Verdict::Drop)]));
    plain(&name, rules)
}

/// The value that leads to this chain, or the first that leads to none: `chain_at` says
/// where a value leads.
fn value_of<'a>(chain: &str, chain_at: impl Fn(u32) -> Option<&'a str>) -> u32 {
    let digits = chain.get(ALLOW.len()..ALLOW.len() + VALUE_DIGITS);
    let mut value = digits.map_or(0, |digits| u32::from_str_radix(digits, 16).unwrap_or(0));
    while chain_at(value).is_some_and(|other| other != chain) {
        value = value.wrapping_add(1);
    }
    value
}

/// Where a value leads in what is installed.
fn installed_at(installed: &Ruleset, value: u32) -> Option<&str> {
    match installed.get(SetName::PickGuard, &Key::Value(value))? {
        Data::Verdict(Verdict::Goto(chain)) => Some(chain),
        // Not ours: no list has this value.
        _ => Some(""),
    }
}

/// The guards of one plan.
pub struct Guards<'a> {
    installed: &'a Ruleset,
    /// Values that this plan needs, with their chains.
    needed: BTreeMap<u32, Chain>,
    /// How many destinations more, or less, have a value than in what is installed.
    moves: BTreeMap<u32, isize>,
}

impl<'a> Guards<'a> {
    /// For a plan over what is installed.
    pub fn new(installed: &'a Ruleset) -> Guards<'a> {
        Guards { installed, needed: BTreeMap::new(), moves: BTreeMap::new() }
    }

    /// What one destination with an address should have; `None` where that is nothing and
    /// nothing is there.
    pub fn plan(&mut self, destination: &Destination, routes: Option<&Routes>) -> Option<Scope> {
        let key = Key::Destination(destination.clone());
        let former = match self.installed.get(SetName::Guards, &key) {
            Some(Data::Value(value)) => Some(*value),
            _ => None,
        };
        if let Some(value) = former {
            *self.moves.entry(value).or_default() -= 1;
        }
        let mut elements = BTreeMap::new();
        if let Some(ranges) = routes.and_then(|routes| routes.allowed_sources.as_ref()) {
            let chain = chain_of(ranges);
            let chain_at = |value| match self.needed.get(&value) {
                Some(chain) => Some(&*chain.name),
                None => installed_at(self.installed, value),
            };
            // Who has a value keeps it, although a lower one may have become free.
            let kept = former.filter(|value| chain_at(*value) == Some(&*chain.name));
            let value = kept.unwrap_or_else(|| value_of(&chain.name, chain_at));
            *self.moves.entry(value).or_default() += 1;
            self.needed.insert(value, chain);
            elements.insert(key.clone(), Data::Value(value));
        }
        let scope = Scope::new(SetName::Guards, key.clone()..=key, elements);
        (!scope.is_idle(self.installed)).then_some(scope)
    }

    /// The values: those needed with their chains, and those that nobody has any more.
    pub fn finish(self) -> Vec<Scope> {
        let mut scopes = Vec::new();
        let at = |value| Key::Value(value)..=Key::Value(value);
        let is_left = |value: u32| {
            let uses = self.installed.guard_uses(value) as isize;
            uses + self.moves.get(&value).copied().unwrap_or(0) <= 0
        };
        let moved = self.moves.keys().copied().filter(|value| is_left(*value));
        let idle = self.installed.idle_guards();
        for value in moved.chain(idle) {
            if !self.needed.contains_key(&value) {
                scopes.push(Scope::new(SetName::PickGuard, at(value), BTreeMap::new()));
            }
        }
        for (value, chain) in self.needed {
            let verdict = Data::Verdict(Verdict::Goto(chain.name.clone()));
            let elements = BTreeMap::from([(Key::Value(value), verdict)]);
            let mut scope = Scope::new(SetName::PickGuard, at(value), elements);
            scope.chains.push(chain);
            scopes.push(scope);
        }
        scopes
    }
}
