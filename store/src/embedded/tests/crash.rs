//! Crashes at any operation of the disk, any number of times, with any part of what was not
//! synced left over: whatever was acknowledged is there, and everything there is whole.
//!
//! A failing case prints its lives; each has the seed of its crash.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::join_all;
use proptest::prelude::*;

use crate::{
    Embedded, Event, ListOptions, Op, Revision, Store,
    embedded::tests::{Sim, history, open, write},
};

/// What one transaction wants of each key; none removes it.
type Wanted = BTreeMap<u8, Option<(u8, usize)>>;

/// What happens between two crashes.
#[derive(Debug, Clone)]
struct Life {
    /// Transactions of a batch are in flight together.
    batches: Vec<Vec<Wanted>>,
    /// A compaction after each batch of this number, if any.
    compact_after: Option<usize>,
    /// The power goes at this operation of the disk.
    fuse: usize,
    /// Of the crash that ends it.
    seed: u64,
}

fn wanted() -> impl Strategy<Value = Wanted> {
    // Key 9 is always set, so that every transaction changes something.
    let values = (any::<u8>(), 0_usize..300);
    let others = prop::collection::btree_map(0_u8..6, prop::option::of(values.clone()), 0..4);
    (values, others).prop_map(|(always, mut wanted)| {
        wanted.insert(9, Some(always));
        wanted
    })
}

fn life() -> impl Strategy<Value = Life> {
    let batches = prop::collection::vec(prop::collection::vec(wanted(), 1..5), 1..8);
    let compact_after = prop::option::of(1_usize..4);
    (batches, compact_after, 0_usize..60, any::<u64>()).prop_map(
        |(batches, compact_after, fuse, seed)| Life { batches, compact_after, fuse, seed },
    )
}

fn value((byte, length): (u8, usize)) -> Bytes {
    vec![byte; length].into()
}

fn ops(wanted: &Wanted) -> Vec<Op> {
    let op = |(key, value_of): (&u8, &Option<(u8, usize)>)| {
        let key = format!("/{key}");
        match *value_of {
            Some(of) => Op::Put { key, value: value(of), lease: 0 },
            None => Op::Delete { key },
        }
    };
    wanted.iter().map(op).collect()
}

/// Keys with value, creation and change.
type Keys = BTreeMap<String, (Bytes, Revision, Revision)>;

/// What must be found: the acknowledged transactions, by revision from 2 on.
#[derive(Default)]
struct Model {
    acknowledged: Vec<Wanted>,
}

impl Model {
    fn newest(&self) -> Revision {
        1 + self.acknowledged.len() as Revision
    }

    /// The keys as of each revision from 1 on.
    fn states(&self) -> Vec<Keys> {
        let mut states = vec![Keys::new()];
        for (index, wanted) in self.acknowledged.iter().enumerate() {
            let revision = index as Revision + 2;
            let mut keys = states[index].clone();
            for (key, of) in wanted {
                let key = format!("/{key}");
                let created = keys.get(&key).map_or(revision, |(_, created, _)| *created);
                match *of {
                    Some(of) => drop(keys.insert(key, (value(of), created, revision))),
                    None => drop(keys.remove(&key)),
                }
            }
            states.push(keys);
        }
        states
    }

    /// Takes over transactions that nobody was told about but that are there, whole.
    async fn adopt(&mut self, store: &Embedded, mut in_flight: Vec<Wanted>) {
        while self.newest() < store.state().revision {
            let found = in_flight.iter().position(|candidate| {
                self.acknowledged.push(candidate.clone());
                let fits = self.matches(store, self.newest());
                self.acknowledged.pop();
                fits
            });
            let found = found.expect("a revision that nobody wrote, or a part of one");
            self.acknowledged.push(in_flight.swap_remove(found));
        }
    }

    fn matches(&self, store: &Embedded, revision: Revision) -> bool {
        let states = self.states();
        keys_at(store, revision) == states[revision as usize - 1]
    }

    /// Compares everything that can be read.
    async fn check(&self, store: &Embedded) {
        let states = self.states();
        let state = store.state();
        assert_eq!(state.revision, self.newest(), "acknowledged writes are missing");
        let oldest = state.compacted.max(1);
        for revision in oldest..=state.revision {
            let expected = &states[revision as usize - 1];
            assert_eq!(&keys_at(store, revision), expected, "at {revision}");
        }
        let all = history(store, oldest).await;
        let mut seen: Vec<_> = all.iter().map(revision_of).collect();
        seen.dedup();
        let kept = oldest.max(2)..=state.revision;
        assert!(seen.iter().copied().eq(kept.clone()), "revisions: {seen:?}");
        check_replay(&states, &all);
        for from in kept {
            let start = all.partition_point(|event| revision_of(event) < from);
            assert_eq!(history(store, from).await, all[start..]);
        }
    }
}

/// The events turn each state into the next one.
fn check_replay(states: &[Keys], events: &[Event]) {
    for events in events.chunk_by(|a, b| revision_of(a) == revision_of(b)) {
        let revision = revision_of(&events[0]);
        let mut keys = states[revision as usize - 2].clone();
        for event in events {
            match event {
                Event::Put { kv, previous } => {
                    let now = (kv.value.clone(), kv.create_revision, kv.mod_revision);
                    let before = keys.insert(kv.key.clone(), now);
                    let told = previous.as_ref().map(|kv| kv.value.clone());
                    assert_eq!(told, before.map(|(value, _, _)| value));
                }
                Event::Delete { previous, .. } => {
                    let before = keys.remove(&previous.key).expect("it was there");
                    assert_eq!(before.0, previous.value);
                }
            }
        }
        assert_eq!(keys, states[revision as usize - 1]);
    }
}

fn revision_of(event: &Event) -> Revision {
    match event {
        Event::Put { kv, .. } => kv.mod_revision,
        Event::Delete { revision, .. } => *revision,
    }
}

fn keys_at(store: &Embedded, revision: Revision) -> Keys {
    let options = ListOptions { revision, ..Default::default() };
    let list = store.state().list(&options).unwrap();
    let items = list.items.into_iter();
    items.map(|kv| (kv.key, (kv.value, kv.create_revision, kv.mod_revision))).collect()
}

/// Writes until the life ends or the power goes; what was not acknowledged.
async fn live(store: &Embedded, model: &mut Model, life: &Life) -> Vec<Wanted> {
    for (index, batch) in life.batches.iter().enumerate() {
        let writes = batch.iter().map(|wanted| write(store, ops(wanted)));
        let outcomes = join_all(writes).await;
        let mut done = BTreeMap::new();
        let mut unknown = Vec::new();
        for (wanted, outcome) in batch.iter().zip(outcomes) {
            match outcome {
                Ok(revision) => drop(done.insert(revision, wanted.clone())),
                Err(_) => unknown.push(wanted.clone()),
            }
        }
        for (revision, wanted) in done {
            assert_eq!(revision, model.newest() + 1);
            model.acknowledged.push(wanted);
        }
        if !unknown.is_empty() {
            return unknown;
        }
        if life.compact_after.is_some_and(|n| index % n == n - 1) {
            let newest = model.newest();
            let half = (store.state().compacted + newest) / 2;
            if store.compact(half).await.is_ok() {
                assert_eq!(store.state().compacted, half.max(1));
            }
        }
    }
    Vec::new()
}

async fn survive(lives: Vec<Life>) {
    let mut disk = Sim::default();
    let mut model = Model::default();
    for life in lives {
        disk.set_fuse(life.fuse);
        let mut in_flight = Vec::new();
        // The power may go while the store is opened: then this life has no writes.
        if let Ok(store) = open(&disk) {
            in_flight = live(&store, &mut model, &life).await;
        }
        disk = disk.crash(life.seed);
        let store = open(&disk).unwrap_or_else(|e| panic!("refused after a crash: {e}"));
        model.adopt(&store, in_flight).await;
        model.check(&store).await;
        drop(store);
        // What was found once is there for good.
        disk = disk.crash(life.seed ^ 1);
        let again = open(&disk).unwrap_or_else(|e| panic!("refused at the second start: {e}"));
        model.check(&again).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn acknowledged_writes_survive_any_crash(lives in prop::collection::vec(life(), 1..5)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(survive(lives));
    }
}
