//! The elements of one set. Those with a slot are kept by destination: each brings several,
//! which are then found at one look, and trees stay small. Never knows which set it is.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Bound, RangeBounds};

use super::set::{Data, Key};
use crate::routes::Destination;

/// Keys with their data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elements {
    /// Keys without a slot.
    single: BTreeMap<Key, Data>,
    /// Keys with a slot or an identity; no destination has none.
    slots: HashMap<Destination, BTreeMap<u32, Data>>,
}

/// The elements of one destination, or all of a set whose keys have no slots.
#[derive(Clone, Copy)]
pub enum Near<'a> {
    /// All without a slot.
    Single(&'a BTreeMap<Key, Data>),
    /// One destination's; `None` where it has none.
    Slots(Option<&'a BTreeMap<u32, Data>>),
}

impl<'a> Near<'a> {
    /// One element's data; the key is of the same destination.
    pub fn get(&self, key: &Key) -> Option<&'a Data> {
        match (self, key) {
            (Near::Slots(slots), Key::Slot(_, slot)) => slots.as_ref()?.get(slot),
            (Near::Single(single), key) => single.get(key),
            _ => None,
        }
    }
}

impl Elements {
    /// Where the element with this key is, and others of its destination.
    pub fn near(&self, key: &Key) -> Near<'_> {
        match key {
            Key::Slot(destination, _) => Near::Slots(self.slots.get(destination)),
            _ => Near::Single(&self.single),
        }
    }

    /// Adds an element, or replaces its data.
    pub fn insert(&mut self, key: Key, data: Data) {
        match key {
            Key::Slot(destination, slot) => {
                self.slots.entry(destination).or_default().insert(slot, data);
            }
            key => {
                self.single.insert(key, data);
            }
        }
    }

    /// Removes an element; what it was.
    pub fn remove(&mut self, key: &Key) -> Option<Data> {
        let Key::Slot(destination, slot) = key else {
            return self.single.remove(key);
        };
        let slots = self.slots.get_mut(destination)?;
        let removed = slots.remove(slot);
        if slots.is_empty() {
            self.slots.remove(destination);
        }
        removed
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.single.is_empty() && self.slots.is_empty()
    }

    /// All in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &Data)> {
        let mut destinations: Vec<_> = self.slots.iter().collect();
        destinations.sort_unstable_by_key(|(destination, _)| *destination);
        let slots = destinations.into_iter().flat_map(|(destination, slots)| {
            let slots = slots.iter();
            slots.map(|(slot, data)| (Key::Slot(destination.clone(), *slot), data))
        });
        let single = self.single.iter().map(|(key, data)| (key.clone(), data));
        single.chain(slots)
    }

    /// Those within a range of keys, which is one destination's where keys have slots.
    pub fn range(&self, range: impl RangeBounds<Key>) -> impl Iterator<Item = (Key, &Data)> {
        let of_one = match range.start_bound() {
            Bound::Included(Key::Slot(destination, _))
            | Bound::Excluded(Key::Slot(destination, _)) => self.slots.get_key_value(destination),
            _ => None,
        };
        let slots = of_one.map(|(destination, slots)| {
            let bounds = (slot_of(range.start_bound()), slot_of(range.end_bound()));
            let slots = slots.range(bounds);
            slots.map(|(slot, data)| (Key::Slot(destination.clone(), *slot), data))
        });
        let single = self.single.range(range);
        let single = single.map(|(key, data)| (key.clone(), data));
        single.chain(slots.into_iter().flatten())
    }
}

fn slot_of(bound: Bound<&Key>) -> Bound<u32> {
    let slot = |key: &Key| match key {
        Key::Slot(_, slot) => *slot,
        // Any other key is before or after all slots, and none of a set with slots.
        _ => u32::MAX,
    };
    bound.map(slot)
}
