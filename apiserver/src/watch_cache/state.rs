//! What the cache knows of one kind at one moment: an immutable value that readers share.
//!
//! Never changes in place: every change makes a new state beside the old one.

use std::sync::Arc;

use imbl::{OrdMap, Vector};
use store::Revision;

use crate::json::Json;

use super::entry::Entry;

/// Past events kept for each kind, so that a watch can go on where another one ended and a
/// watcher may lag behind. What is pushed out ends the watchers that still need it (410).
pub const EVENTS_KEPT: usize = 8_192;

/// Bytes of JSON that the kept events of a kind may hold on to, beside the count: those of
/// versions that are no more.
pub const EVENT_BYTES_KEPT: usize = 16 << 20;

/// How a watcher is told of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// The object came into being, or into the selection.
    Added,
    /// The object changed.
    Modified,
    /// The object went away, or out of the selection.
    Deleted,
}

impl EventType {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One change of one object.
#[derive(Debug)]
pub struct Event {
    /// Revision of the change.
    pub revision: Revision,
    /// The version before, if there was one.
    pub previous: Option<Arc<Entry>>,
    /// The version after, if there is one.
    pub current: Option<Arc<Entry>>,
}

impl Event {
    /// The object as told with this type: the version after, or for a deletion the version
    /// before as of the event's revision.
    pub fn object(&self, how: EventType) -> Option<Json> {
        match (how, &self.previous, &self.current) {
            (EventType::Deleted, Some(previous), _) | (_, Some(previous), None) => {
                Some(previous.json.at(self.revision))
            }
            (_, _, Some(current)) => Some(current.json.clone()),
            (_, None, None) => None,
        }
    }

    /// Bytes that only the event holds: the version after is the object, or the next event's.
    fn size(&self) -> usize {
        self.previous.as_ref().map_or(0, |entry| entry.size())
    }
}

/// All objects of a kind and its newest events, as of one revision.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Revision of the newest change of this kind (or of the listing).
    pub revision: Revision,
    /// Objects by key, in key order.
    pub items: OrdMap<Arc<str>, Arc<Entry>>,
    /// Newest events, oldest first.
    pub events: Vector<Arc<Event>>,
    /// Sequence number of `events[0]`; every event of the kind has the next one.
    pub first_seq: u64,
    /// Every event after this revision is in `events`.
    pub floor: Revision,
    event_bytes: usize,
}

impl State {
    /// The state after a listing, before any event. `first_seq` leaves a gap to a state
    /// before it, so that watchers of that one notice that they missed something.
    pub fn listed(items: OrdMap<Arc<str>, Arc<Entry>>, revision: Revision, first_seq: u64) -> Self {
        Self { revision, items, first_seq, floor: revision, ..Self::default() }
    }

    /// Sequence number that the next event will get.
    pub fn next_seq(&self) -> u64 {
        self.first_seq + self.events.len() as u64
    }

    /// Takes a change in; `None` removes the object.
    pub fn apply(&mut self, key: &str, revision: Revision, current: Option<Arc<Entry>>) {
        let previous = match &current {
            Some(entry) => self.items.insert(entry.key.clone(), entry.clone()),
            None => self.items.remove(key),
        };
        self.revision = revision;
        if previous.is_none() && current.is_none() {
            return;
        }
        let event = Event { revision, previous, current };
        self.event_bytes += event.size();
        self.events.push_back(Arc::new(event));
        while self.events.len() > EVENTS_KEPT
            || (self.event_bytes > EVENT_BYTES_KEPT && self.events.len() > 1)
        {
            self.drop_oldest();
        }
    }

    /// Drops the events up to a revision, and the versions that only they hold.
    pub fn forget(&mut self, revision: Revision) {
        while self.events.front().is_some_and(|event| event.revision <= revision) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.events.pop_front() {
            self.event_bytes -= oldest.size();
            self.first_seq += 1;
            self.floor = oldest.revision;
        }
    }

    /// Sequence number of the first event after `revision`; `None` if it is no longer kept.
    pub fn seq_after(&self, revision: Revision) -> Option<u64> {
        if revision < self.floor {
            return None;
        }
        let (mut low, mut high) = (0, self.events.len());
        while low < high {
            let middle = (low + high) / 2;
            if self.events[middle].revision <= revision {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Some(self.first_seq + low as u64)
    }

    /// The event with this sequence number, if it exists and is still kept.
    pub fn event(&self, seq: u64) -> Option<&Arc<Event>> {
        let at = seq.checked_sub(self.first_seq)?;
        self.events.get(usize::try_from(at).ok()?)
    }
}
