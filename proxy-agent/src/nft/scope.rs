//! What should be in a part of a set, beside what is there.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeInclusive};

use super::rule::Chain;
use super::ruleset::Ruleset;
use super::set::{Data, Key, SetName};

/// Within `range` of `set` there should be exactly `elements`, and what is in `kept` already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The set.
    pub set: SetName,
    /// The keys that this is about.
    pub range: RangeInclusive<Key>,
    /// The wanted elements, but for those in `kept` that are there as they should be: a
    /// change among many endpoints is then a plan of few.
    pub elements: BTreeMap<Key, Data>,
    /// The first part of `range`, where every key is wanted.
    pub kept: Option<RangeInclusive<Key>>,
    /// Chains that the elements lead to.
    pub chains: Vec<Chain>,
}

impl Scope {
    /// Elements that lead to no chain, or to such as are there.
    pub fn new(set: SetName, range: RangeInclusive<Key>, elements: BTreeMap<Key, Data>) -> Scope {
        Scope { set, range, elements, kept: None, chains: Vec::new() }
    }

    /// Whether there is nothing to do: none is wanted, and none is there.
    pub fn is_idle(&self, installed: &Ruleset) -> bool {
        let (first, last) = (self.range.start(), self.range.end());
        let range = (Bound::Included(first), Bound::Included(last));
        let is_there = || installed.range(self.set, range).next().is_some();
        self.elements.is_empty() && self.kept.is_none() && !is_there()
    }

    /// Whether there should be an element with this key of `range`.
    pub fn wants(&self, key: &Key) -> bool {
        let kept = self.kept.as_ref();
        self.elements.contains_key(key) || kept.is_some_and(|kept| kept.contains(key))
    }

    /// The keys that are there and should not be.
    pub fn unwanted<'a>(&'a self, installed: &'a Ruleset) -> impl Iterator<Item = Key> + 'a {
        let first = match &self.kept {
            Some(kept) => Bound::Excluded(kept.end()),
            None => Bound::Included(self.range.start()),
        };
        let rest = (first, Bound::Included(self.range.end()));
        let keys = installed.range(self.set, rest).map(|(key, _)| key);
        keys.filter(move |key| !self.elements.contains_key(key))
    }
}
