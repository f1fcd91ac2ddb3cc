//! What a watch has received and its reader has not taken: bounded, in events.
//!
//! Progress that follows progress replaces it, so an idle watch nobody reads stays small.
//! Never drops an event: a full queue makes its filler wait, or ends the watch.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{Error, WatchItem, limits::WATCH_LAG_EVENTS_MAX};

/// A watch's queue, between one filler and one reader.
#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
    drained: Notify,
}

#[derive(Default)]
struct Inner {
    items: VecDeque<WatchItem>,
    events: usize,
    end: Option<Error>,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item. A full queue waits for the reader if `patient`, and fails otherwise.
    pub async fn push(&self, item: WatchItem, patient: bool) -> Result<(), Error> {
        let events = match &item {
            WatchItem::Events(events) => events.len(),
            WatchItem::Progress(_) => 0,
        };
        loop {
            let drained = self.drained.notified();
            {
                let mut inner = self.lock();
                if inner.events == 0 || inner.events + events <= WATCH_LAG_EVENTS_MAX {
                    if let (WatchItem::Progress(_), Some(WatchItem::Progress(_))) =
                        (&item, inner.items.back())
                    {
                        inner.items.pop_back();
                    }
                    inner.items.push_back(item);
                    inner.events += events;
                    self.changed.notify_one();
                    return Ok(());
                }
            }
            if !patient {
                return Err(Error::TooSlow { limit: WATCH_LAG_EVENTS_MAX });
            }
            drained.await;
        }
    }

    /// No more items come; the error is the last thing that is read.
    pub fn end(&self, error: Error) {
        self.lock().end = Some(error);
        self.changed.notify_one();
    }

    /// The next item, or the error that ended the watch.
    pub async fn pop(&self) -> Result<WatchItem, Error> {
        loop {
            let changed = self.changed.notified();
            {
                let mut inner = self.lock();
                if let Some(item) = inner.items.pop_front() {
                    if let WatchItem::Events(events) = &item {
                        inner.events -= events.len();
                        self.drained.notify_one();
                    }
                    return Ok(item);
                }
                if let Some(end) = &inner.end {
                    return Err(end.clone());
                }
            }
            changed.await;
        }
    }
}
