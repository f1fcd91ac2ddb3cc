//! What is (believed to be) in the kernel, and the operations that change it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;

use super::elements::{Elements, Near};
use super::face::{FACES, Face};
use super::render;
use super::rule::{Chain, Hook};
use super::set::{Data, Key, SetName};

/// One change of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Makes the table.
    AddTable,
    /// Removes the table with all that is in it.
    DeleteTable,
    /// Makes an empty set.
    AddSet(SetName),
    /// Makes a chain with its rules.
    AddChain(Chain),
    /// Replaces the rules of a chain.
    ReplaceRules(Chain),
    /// Removes a chain with its rules.
    DeleteChain(String),
    /// Adds an element.
    Add(SetName, Key, Data),
    /// Removes an element.
    Delete(SetName, Key),
}

/// Operations that take effect together. A transaction may be split between
/// steps, never inside one.
pub type Step = Vec<Op>;

/// A chain as it can be compared: rules by their fingerprints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainPrint {
    /// Its hook.
    pub hook: Option<Hook>,
    /// Its rules' fingerprints in order.
    pub rules: Vec<u64>,
}

impl ChainPrint {
    /// The print of a chain.
    pub fn of(chain: &Chain) -> ChainPrint {
        ChainPrint {
            hook: chain.hook,
            rules: chain.rules.iter().map(render::fingerprint).collect(),
        }
    }
}

/// The table's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Whether the table is there at all.
    pub table: bool,
    /// The sets that are there.
    pub sets: BTreeSet<SetName>,
    /// The chains by name.
    pub chains: BTreeMap<String, ChainPrint>,
    elements: BTreeMap<SetName, Elements>,
    /// How many destinations have a value.
    uses: BTreeMap<(Face, u32), usize>,
    /// How many destinations have the value of a list.
    guard_uses: BTreeMap<u32, usize>,
    /// Values that lead to a list's chain and that no destination has.
    idle_guards: BTreeSet<u32>,
}

impl Ruleset {
    /// Does to this what the kernel does.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::AddTable => self.table = true,
            Op::DeleteTable => *self = Ruleset::default(),
            Op::AddSet(set) => {
                self.sets.insert(*set);
            }
            Op::AddChain(chain) | Op::ReplaceRules(chain) => {
                self.chains.insert(chain.name.clone(), ChainPrint::of(chain));
            }
            Op::DeleteChain(name) => {
                self.chains.remove(name);
            }
            Op::Add(set, key, data) => self.insert(*set, key.clone(), data.clone()),
            Op::Delete(set, key) => self.remove(*set, key),
        }
    }

    /// Adds an element.
    pub fn insert(&mut self, set: SetName, key: Key, data: Data) {
        if let (Some(face), Data::Value(value)) = (face_of(set), &data) {
            *self.uses.entry((face, *value)).or_default() += 1;
        }
        let guard = guard_of(set, &key, Some(&data));
        if let (SetName::Guards, Some(value)) = (set, guard) {
            *self.guard_uses.entry(value).or_default() += 1;
        }
        self.elements.entry(set).or_default().insert(key, data);
        guard.into_iter().for_each(|value| self.note_guard(value));
    }

    fn note_guard(&mut self, value: u32) {
        let leads = self.get(SetName::PickGuard, &Key::Value(value)).is_some();
        if leads && self.guard_uses(value) == 0 {
            self.idle_guards.insert(value);
        } else {
            self.idle_guards.remove(&value);
        }
    }

    /// Removes an element, if it is there.
    pub fn remove(&mut self, set: SetName, key: &Key) {
        let Some(elements) = self.elements.get_mut(&set) else {
            return;
        };
        let removed = elements.remove(key);
        if elements.is_empty() {
            self.elements.remove(&set);
        }
        if let Some(value) = guard_of(set, key, removed.as_ref()) {
            if set == SetName::Guards {
                match self.guard_uses(value) {
                    0 | 1 => self.guard_uses.remove(&value),
                    uses => self.guard_uses.insert(value, uses - 1),
                };
            }
            self.note_guard(value);
        }
        if let (Some(face), Some(Data::Value(value))) = (face_of(set), removed)
            && let Some(uses) = self.uses.get_mut(&(face, value))
        {
            *uses -= 1;
            if *uses == 0 {
                self.uses.remove(&(face, value));
            }
        }
    }

    /// One element's data.
    pub fn get(&self, set: SetName, key: &Key) -> Option<&Data> {
        self.near(set, key)?.get(key)
    }

    /// Where the element with this key is, and others of its destination.
    pub fn near(&self, set: SetName, key: &Key) -> Option<Near<'_>> {
        Some(self.elements.get(&set)?.near(key))
    }

    /// A set's elements within a range of keys, of one destination where they have slots.
    pub fn range(
        &self,
        set: SetName,
        range: impl RangeBounds<Key>,
    ) -> impl Iterator<Item = (Key, &Data)> {
        let elements = self.elements.get(&set);
        elements.map(|all| all.range(range)).into_iter().flatten()
    }

    /// All elements of a set in the order of their keys.
    pub fn elements(&self, set: SetName) -> impl Iterator<Item = (Key, &Data)> {
        let elements = self.elements.get(&set);
        elements.map(Elements::iter).into_iter().flatten()
    }

    /// The values that destinations have.
    pub fn used_values(&self) -> impl Iterator<Item = (Face, u32)> {
        self.uses.keys().copied()
    }

    /// Whether any destination has this value.
    pub fn is_used(&self, face: Face, value: u32) -> bool {
        self.uses.contains_key(&(face, value))
    }

    /// How many destinations have the value of a list of allowed sources.
    pub fn guard_uses(&self, value: u32) -> usize {
        self.guard_uses.get(&value).copied().unwrap_or(0)
    }

    /// Values that lead to a list of allowed sources, and that no destination has.
    pub fn idle_guards(&self) -> impl Iterator<Item = u32> {
        self.idle_guards.iter().copied()
    }
}

/// The value of a list that an element has or leads on from.
fn guard_of(set: SetName, key: &Key, data: Option<&Data>) -> Option<u32> {
    match (set, key, data) {
        (SetName::Guards, _, Some(Data::Value(value))) => Some(*value),
        (SetName::PickGuard, Key::Value(value), Some(_)) => Some(*value),
        _ => None,
    }
}

fn face_of(set: SetName) -> Option<Face> {
    FACES.into_iter().find(|face| face.values() == set)
}
