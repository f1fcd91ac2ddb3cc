//! A queue of keys to look at, and the workers that do.
//!
//! Never runs one key twice at a time, never loses one: a key added while it is worked
//! on is looked at again, one that failed comes back with growing delay. Holds each key
//! once, so its length is bounded by the number of objects.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::back_off::BackOff;

/// Before a failed key is tried again.
const RETRY: BackOff = BackOff::new(Duration::from_millis(5), Duration::from_secs(30));

struct State<T> {
    ready: VecDeque<T>,
    /// Keys in `ready`.
    queued: HashSet<T>,
    /// Keys worked on now.
    active: HashSet<T>,
    /// Keys added while they were worked on.
    dirty: HashSet<T>,
    /// Keys that become ready later, by time; the number keeps equal times apart.
    delayed: BTreeMap<(Instant, u64), T>,
    due: HashMap<T, (Instant, u64)>,
    failures: HashMap<T, BackOff>,
    next_number: u64,
}

/// A queue of keys with retry and delay; see the module.
pub struct WorkQueue<T> {
    state: Mutex<State<T>>,
    wake: Notify,
}

impl<T: Clone + Eq + Hash + Display> WorkQueue<T> {
    /// An empty queue.
    pub fn new() -> Arc<Self> {
        let state = State {
            ready: VecDeque::new(),
            queued: HashSet::new(),
            active: HashSet::new(),
            dirty: HashSet::new(),
            delayed: BTreeMap::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
            next_number: 0,
        };
        Arc::new(Self { state: Mutex::new(state), wake: Notify::new() })
    }

    /// Has the key looked at as soon as a worker is free.
    pub fn add(&self, key: T) {
        self.state().add(key);
        self.wake.notify_one();
    }

    /// Has the key looked at after `delay`; an earlier time already noted stays.
    pub fn add_after(&self, key: T, delay: Duration) {
        self.state().delay(key, Instant::now() + delay);
        self.wake.notify_one();
    }

    /// Works the queue for ever with at most `concurrency` keys in flight. `reconcile`
    /// may ask to see its key again after a delay; its errors are logged and retried.
    pub async fn run<F, Fut>(&self, name: &str, concurrency: usize, reconcile: F)
    where
        F: Fn(T) -> Fut,
        Fut: Future<Output = anyhow::Result<Option<Duration>>>,
    {
        let mut in_flight = FuturesUnordered::new();
        loop {
            tokio::select! {
                key = self.next(), if in_flight.len() < concurrency => {
                    let work = reconcile(key.clone());
                    in_flight.push(async move { (key, work.await) });
                }
                Some((key, outcome)) = in_flight.next() => self.finish(name, key, outcome),
            }
        }
    }

    /// Waits for the next key and marks it as worked on. Cancelling loses nothing.
    async fn next(&self) -> T {
        loop {
            let wait_until = {
                let mut state = self.state();
                state.release_due(Instant::now());
                if let Some(key) = state.ready.pop_front() {
                    state.queued.remove(&key);
                    state.active.insert(key.clone());
                    return key;
                }
                state.delayed.keys().next().map(|(at, _)| *at)
            };
            match wait_until {
                Some(at) => {
                    tokio::select! {
                        () = self.wake.notified() => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => self.wake.notified().await,
            }
        }
    }

    fn finish(&self, name: &str, key: T, outcome: anyhow::Result<Option<Duration>>) {
        let mut state = self.state();
        state.active.remove(&key);
        match outcome {
            Ok(again) => {
                state.failures.remove(&key);
                if let Some(delay) = again {
                    state.delay(key.clone(), Instant::now() + delay);
                }
            }
            Err(error) => {
                let back_off = state.failures.entry(key.clone()).or_insert(RETRY);
                let delay = back_off.lengthen();
                let failures = back_off.failures();
                tracing::debug!(controller = name, %key, error = format!("{error:#}"), ?delay, "will try again");
                if failures == LOUD_FAILURES {
                    tracing::warn!(controller = name, %key, error = format!("{error:#}"), "keeps failing; trying on");
                }
                state.delay(key.clone(), Instant::now() + delay);
            }
        }
        if state.dirty.remove(&key) {
            state.add(key);
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A key that failed this often in a row is worth a warning: conflicts pass sooner.
const LOUD_FAILURES: u32 = 6;

impl<T: Clone + Eq + Hash> State<T> {
    fn add(&mut self, key: T) {
        if self.active.contains(&key) {
            self.dirty.insert(key);
        } else if self.queued.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    fn delay(&mut self, key: T, at: Instant) {
        if let Some(known) = self.due.get(&key).copied() {
            if known.0 <= at {
                return;
            }
            self.delayed.remove(&known);
        }
        self.next_number += 1;
        let slot = (at, self.next_number);
        self.delayed.insert(slot, key.clone());
        self.due.insert(key, slot);
    }

    fn release_due(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            self.due.remove(&key);
            self.add(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Runs the queue until `done` says so; time is virtual and jumps when all wait.
    async fn run_until<F, Fut>(queue: &WorkQueue<u32>, done: &Notify, reconcile: F)
    where
        F: Fn(u32) -> Fut,
        Fut: Future<Output = anyhow::Result<Option<Duration>>>,
    {
        tokio::select! {
            () = queue.run("test", 2, reconcile) => {}
            () = done.notified() => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_key_comes_back_until_it_succeeds() {
        let queue = WorkQueue::new();
        let (tries, done) = (AtomicU32::new(0), Notify::new());
        queue.add(7);
        run_until(&queue, &done, |_| async {
            if tries.fetch_add(1, Ordering::SeqCst) < 20 {
                anyhow::bail!("not yet");
            }
            done.notify_one();
            Ok(None)
        })
        .await;
        assert_eq!(tries.load(Ordering::SeqCst), 21);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_added_in_flight_is_looked_at_again_and_never_twice_at_a_time() {
        let queue = WorkQueue::new();
        let (runs, at_once, done) = (AtomicU32::new(0), AtomicU32::new(0), Notify::new());
        queue.add(1);
        run_until(&queue, &done, |key| {
            let (queue, runs, at_once, done) = (&queue, &runs, &at_once, &done);
            async move {
                assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0);
                let run = runs.fetch_add(1, Ordering::SeqCst);
                if run == 0 {
                    queue.add(key);
                    queue.add(key);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
                at_once.fetch_sub(1, Ordering::SeqCst);
                if run == 1 {
                    done.notify_one();
                }
                Ok(None)
            }
        })
        .await;
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    }
}
