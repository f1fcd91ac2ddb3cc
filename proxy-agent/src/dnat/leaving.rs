//! What no destination needs any more, while packets may still be on their way to it. Each
//! element stays for a whole interval between two sweeps after it was last needed, however
//! often its destination changes meanwhile. Pure; never talks to the kernel.

use std::collections::{BTreeMap, BTreeSet};

use super::diff;
use crate::nft::face::{FACES, Face};
use crate::nft::ruleset::{Op, Ruleset, Step};
use crate::nft::scope::Scope;
use crate::nft::set::{Data, Key, SetName};
use crate::settings::Settings;

/// What is to be removed, and since which sweep.
#[derive(Debug, Default)]
pub struct Leaving {
    /// How many there have been.
    sweeps: u64,
    elements: BTreeMap<(SetName, Key), u64>,
    /// Values that no destination has.
    values: BTreeMap<(Face, u32), u64>,
    /// Whether destinations may have got other values since the last sweep.
    values_unseen: bool,
}

impl Leaving {
    /// Takes in what a sync has made of `scopes`.
    pub fn note(&mut self, installed: &Ruleset, scopes: &[Scope]) {
        self.values_unseen = true;
        for scope in scopes {
            if diff::is_entry(scope.set) {
                self.keep_values(scope);
                continue;
            }
            let (first, last) = (scope.range.start().clone(), scope.range.end().clone());
            let again: Vec<_> = self
                .elements
                .range((scope.set, first)..=(scope.set, last))
                .map(|(element, _)| element)
                .filter(|(_, key)| scope.wants(key))
                .cloned()
                .collect();
            for element in again {
                self.elements.remove(&element);
            }
            for key in scope.unwanted(installed) {
                let element = (scope.set, key);
                self.elements.entry(element).or_insert(self.sweeps);
            }
        }
    }

    fn keep_values(&mut self, scope: &Scope) {
        for face in FACES.into_iter().filter(|face| face.values() == scope.set) {
            for data in scope.elements.values() {
                if let Data::Value(value) = data {
                    self.values.remove(&(face, *value));
                }
            }
        }
    }

    /// What may be removed now. Whoever calls this does so at once, or begins anew with a
    /// dump.
    pub fn sweep(&mut self, settings: &Settings, installed: &Ruleset) -> Vec<Step> {
        let sweeps = self.sweeps;
        self.sweeps += 1;
        self.values_unseen = false;
        let mut steps: Vec<Step> = Vec::new();
        // In the order of sets: slots before the identities that they hold.
        self.elements.retain(|(set, key), since| {
            let is_due = *since < sweeps;
            if is_due {
                steps.push(vec![Op::Delete(*set, key.clone())]);
            }
            !is_due
        });
        for face in FACES {
            for (key, _) in installed.elements(face.pick()) {
                if let Key::Value(value) = key
                    && !installed.is_used(face, value)
                {
                    self.values.entry((face, value)).or_insert(sweeps);
                }
            }
        }
        let mut due = BTreeSet::new();
        self.values.retain(|value, since| {
            let is_due = *since < sweeps;
            if is_due {
                due.insert(*value);
            }
            !is_due
        });
        steps.extend(diff::sweep_picks(settings, installed, &due));
        // What is gone may have been the last that led to a chain.
        self.values_unseen = !steps.is_empty();
        steps
    }

    /// Whether another sweep would find nothing.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty() && self.values.is_empty() && !self.values_unseen
    }
}
