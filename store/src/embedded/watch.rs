//! Watches: each is a position in the shared history.
//!
//! There is no queue per watch and so no gap between what was and what comes: a watch reads
//! the kept revisions from its position on and sleeps at the newest. One that nobody reads
//! costs nothing, and is told [`Error::TooSlow`] or [`Error::Compacted`] when it is read
//! again. Never holds the writer up.

use std::sync::Arc;

use futures::stream;
use tokio::{sync::watch, time};

use crate::{
    Error, Event, Revision, WatchItem, WatchStream,
    embedded::state::State,
    limits::{WATCH_BATCH_EVENTS, WATCH_LAG_EVENTS_MAX, WATCH_PROGRESS_PERIOD},
};

/// Revisions that are looked through before other tasks get a turn.
const REVISIONS_A_TURN: usize = 4096;

/// A watch's position.
struct Cursor {
    states: watch::Receiver<Arc<State>>,
    prefix: String,
    /// The oldest revision that is wanted.
    from: Revision,
    /// The oldest revision not looked at.
    next: Revision,
    /// Whether it has been at the newest revision, so that it may be too slow.
    caught_up: bool,
    /// The last progress that was reported.
    reported: Revision,
}

/// A watch from `from` on; 0 is from now on.
pub(super) fn start(
    mut states: watch::Receiver<Arc<State>>,
    prefix: &str,
    from: Revision,
) -> Result<WatchStream, Error> {
    let state = states.borrow_and_update().clone();
    let from = match from {
        0 => state.revision + 1,
        from => from,
    };
    check_kept(&state, from)?;
    let cursor = Cursor {
        states,
        prefix: prefix.to_owned(),
        from,
        next: from.min(state.revision + 1).max(state.base() + 1),
        caught_up: false,
        reported: 0,
    };
    Ok(Box::pin(stream::unfold(Some(cursor), |cursor| async {
        let mut cursor = cursor?;
        match cursor.item().await {
            Ok(item) => Some((Ok(item), Some(cursor))),
            Err(error) => Some((Err(error), None)),
        }
    })))
}

fn check_kept(state: &State, from: Revision) -> Result<(), Error> {
    if from < state.compacted {
        return Err(Error::Compacted { wanted: from, oldest: state.compacted });
    }
    Ok(())
}

impl Cursor {
    async fn item(&mut self) -> Result<WatchItem, Error> {
        loop {
            let state = self.states.borrow_and_update().clone();
            if self.next <= state.revision {
                check_kept(&state, self.next)?;
                self.check_lag(&state)?;
                let events = self.advance(&state);
                if !events.is_empty() {
                    return Ok(WatchItem::Events(events));
                }
                tokio::task::yield_now().await;
                continue;
            }
            if !self.caught_up || self.reported < state.revision {
                self.caught_up = true;
                self.reported = state.revision;
                return Ok(WatchItem::Progress(state.revision));
            }
            // An idle watch must not keep an old state alive.
            drop(state);
            match time::timeout(WATCH_PROGRESS_PERIOD, self.states.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Error::Unavailable("the store was closed".into())),
                Err(_) => return Ok(WatchItem::Progress(self.next - 1)),
            }
        }
    }

    /// The next matching events, of whole revisions; none if there are none so far.
    fn advance(&mut self, state: &State) -> Vec<Event> {
        let mut events = Vec::new();
        let start = (self.next - state.base() - 1) as usize;
        let commits = state.commits.focus();
        let commits = commits.narrow(start..).into_iter();
        for commit in commits.take(REVISIONS_A_TURN) {
            if self.next >= self.from {
                let mine = commit.changes.iter();
                let mine = mine.filter(|change| change.key.starts_with(&self.prefix));
                events.extend(mine.filter_map(|change| change.event()));
            }
            self.next += 1;
            if events.len() >= WATCH_BATCH_EVENTS {
                break;
            }
        }
        if !events.is_empty() {
            self.reported = self.next - 1;
        }
        events
    }

    /// Fails if too much has come since this watch was last read.
    fn check_lag(&mut self, state: &State) -> Result<(), Error> {
        if !self.caught_up {
            return Ok(());
        }
        let seen = state.commit(self.next).map_or(0, |c| c.changes_before);
        if state.changes_total() - seen <= WATCH_LAG_EVENTS_MAX as u64 {
            return Ok(());
        }
        let start = (self.next - state.base() - 1) as usize;
        let waiting = state.commits.focus().narrow(start..);
        let waiting = waiting
            .into_iter()
            .flat_map(|commit| commit.changes.iter())
            .filter(|change| change.key.starts_with(&self.prefix))
            .take(WATCH_LAG_EVENTS_MAX + 1)
            .count();
        if waiting > WATCH_LAG_EVENTS_MAX {
            return Err(Error::TooSlow { limit: WATCH_LAG_EVENTS_MAX });
        }
        Ok(())
    }
}
