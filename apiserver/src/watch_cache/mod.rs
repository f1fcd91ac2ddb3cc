//! The watch cache: every object of every kind in the store's own bytes, kept up to date by
//! one watch of the store, with the newest events of each kind for watchers.
//!
//! Readers load an immutable state and never take a lock that the feed needs. Never writes
//! to the store.

pub mod announced;
pub mod entry;
pub mod feed;
pub mod share;
pub mod state;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use store::{Revision, Store};
use tokio::sync::watch;

use crate::failure::Failure;

use self::{
    share::{Shared, Shares},
    state::State,
};

/// How long a read waits for the cache to reach a revision before it fails with 504.
pub const FRESH_WAIT: Duration = Duration::from_secs(5);

/// How often the store is asked for its progress while a read waits for it.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The cached objects of one kind.
#[derive(Debug)]
pub struct KindCache {
    state: ArcSwap<State>,
    changed: watch::Sender<u64>,
    shares: Shares,
}

impl Default for KindCache {
    fn default() -> Self {
        Self {
            state: ArcSwap::from_pointee(State::default()),
            changed: watch::channel(0).0,
            shares: Shares::default(),
        }
    }
}

impl KindCache {
    /// The newest state.
    pub fn load(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Wakes when there is a newer state than the last one seen.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// What the watchers share that want the same events in the same form.
    pub fn share(&self, what: String) -> Arc<Shared> {
        self.shares.join(what)
    }

    /// Drops the events up to a revision: the store has forgotten them, too. Where that meets
    /// a change, the change wins, and the events go the next time.
    pub fn forget(&self, revision: Revision) {
        self.shares.forget();
        self.state.rcu(|state| {
            let mut state = State::clone(state);
            state.forget(revision);
            state
        });
    }

    fn publish(&self, state: State) {
        let seq = state.next_seq();
        self.state.store(Arc::new(state));
        self.changed.send_replace(seq);
    }
}

/// How far the cache has come in the store's history.
#[derive(Debug)]
pub struct Progress {
    reached: watch::Sender<Revision>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { reached: watch::channel(0).0 }
    }
}

impl Progress {
    /// Every kind's state holds every change up to this revision. Load it *before* a
    /// state: then the state is at least as new.
    pub fn reached(&self) -> Revision {
        *self.reached.borrow()
    }

    /// Waits until the cache holds a revision.
    pub async fn wait(&self, revision: Revision) -> Result<(), Failure> {
        if self.reached() >= revision {
            return Ok(());
        }
        let mut receiver = self.reached.subscribe();
        let waited = tokio::time::timeout(FRESH_WAIT, receiver.wait_for(|r| *r >= revision)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Failure::timeout(format!(
                "Too large resource version: {revision}, current: {}",
                self.reached()
            ))),
        }
    }

    /// Waits until the cache holds everything that was committed before this call.
    pub async fn wait_fresh(&self, store: &dyn Store) -> Result<(), Failure> {
        let current = store.current_revision().await?;
        if self.reached() >= current {
            return Ok(());
        }
        // Where the newest writes are outside of what is watched, only asking tells. Again
        // and again, since the watch that was asked may break.
        let asking = async {
            loop {
                store.request_progress().await;
                tokio::time::sleep(ASK_AGAIN).await;
            }
        };
        tokio::select! {
            waited = self.wait(current) => waited,
            never = asking => never,
        }
    }

    fn advance(&self, revision: Revision) {
        self.reached.send_if_modified(|reached| {
            let newer = revision > *reached;
            *reached = revision.max(*reached);
            newer
        });
    }
}
