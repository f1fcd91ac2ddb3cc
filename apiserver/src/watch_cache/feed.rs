//! Feeds the watch cache from the store: lists once, then follows one watch of everything.
//!
//! One watch for all kinds, so that one number says how far the whole cache has come. When
//! the watch breaks it resumes after the last revision taken in; when that is compacted it
//! lists anew, and watchers that would miss something end with 410. Never skips a revision.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::StreamExt;
use imbl::OrdMap;
use store::{Error, Event, ListOptions, Revision, Store, WatchItem};
use tokio::sync::Notify;
use tracing::{error, warn};

use crate::{
    allocate::Allocators,
    resource::{Resource, Resources},
};

use super::{
    Progress,
    entry::Entry,
    state::{EVENTS_KEPT, State},
};

/// Everything this server stores lies below this prefix.
pub const ROOT: &str = "/registry/";

/// Keys fetched by one call while listing.
const LIST_PAGE: usize = 2_000;

/// How many revisions a starting server goes back for the events of watches that resume. As
/// many as are kept for one kind: more would not be kept anyway.
const HISTORY_REVISIONS: Revision = EVENTS_KEPT as Revision;

/// Pause before the store is asked again after an error.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// What the feed keeps up to date.
pub struct Feed {
    /// Where changes come from.
    pub store: Arc<dyn Store>,
    /// The kinds and their caches.
    pub resources: Arc<Resources>,
    /// Told after each batch.
    pub progress: Arc<Progress>,
    /// Which addresses and ports are taken is derived from the same watch.
    pub allocators: Arc<Allocators>,
    /// Told when the key of an API server comes or goes.
    pub servers_changed: Arc<Notify>,
}

impl Feed {
    /// Lists everything as of a revision some way back, and returns it: what follows it then
    /// comes as events, so that a watch can go on over a restart of the server.
    pub async fn list_with_history(&self) -> Result<Revision, Error> {
        let newest = self.store.current_revision().await?;
        let wanted = (newest - HISTORY_REVISIONS).max(1);
        match self.list_at(wanted).await {
            Err(Error::Compacted { oldest, .. }) if (wanted + 1..=newest).contains(&oldest) => {
                self.list_at(oldest).await
            }
            other => other,
        }
    }

    /// Lists everything as it is now, and returns its revision.
    async fn list(&self) -> Result<Revision, Error> {
        self.list_at(self.store.current_revision().await?).await
    }

    async fn list_at(&self, revision: Revision) -> Result<Revision, Error> {
        for resource in self.resources.all() {
            self.list_resource(resource, revision).await?;
        }
        self.list_allocations(revision).await?;
        self.progress.advance(revision);
        Ok(revision)
    }

    /// Follows the store for ever, from after `revision`.
    pub async fn follow(&self, mut revision: Revision) {
        loop {
            match self.follow_once(&mut revision).await {
                Ok(()) => warn!("the store ended the watch; resuming after {revision}"),
                Err(Error::Compacted { wanted, oldest }) => {
                    warn!("revision {wanted} is compacted (oldest {oldest}); listing anew");
                    match self.list().await {
                        Ok(listed) => revision = listed,
                        Err(error) => error!("listing anew: {error}"),
                    }
                }
                Err(error) => warn!("watching the store: {error}; resuming after {revision}"),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn follow_once(&self, revision: &mut Revision) -> Result<(), Error> {
        let mut watch = self.store.watch(ROOT, *revision + 1).await?;
        while let Some(item) = watch.next().await {
            let reached = match item? {
                WatchItem::Events(events) => self.take_in(events, *revision),
                WatchItem::Progress(reached) => reached,
            };
            *revision = reached.max(*revision);
            self.progress.advance(*revision);
        }
        Ok(())
    }

    /// Applies a batch of whole revisions; events at or before `after` are known already.
    fn take_in(&self, events: Vec<Event>, after: Revision) -> Revision {
        let mut reached = after;
        let mut changed: BTreeMap<usize, State> = BTreeMap::new();
        for event in events {
            let (key, revision, value) = match &event {
                Event::Put { kv, .. } => (&kv.key, kv.mod_revision, Some(&kv.value)),
                Event::Delete { previous, revision } => (&previous.key, *revision, None),
            };
            if revision <= after {
                continue;
            }
            reached = reached.max(revision);
            let Some(resource) = self.resources.by_store_key(key) else {
                self.allocators.observe(key, value.is_some());
                let renewed = matches!(&event, Event::Put { previous: Some(_), .. });
                if !renewed && key.starts_with(crate::advertise::PREFIX) {
                    self.servers_changed.notify_one();
                }
                continue;
            };
            let name = &key[resource.prefix.len()..];
            let state = changed
                .entry(resource.index)
                .or_insert_with(|| State::clone(&resource.cache.load()));
            let current = value.and_then(|value| read_entry(resource, name, value, revision));
            state.apply(name, revision, current);
        }
        for (index, state) in changed {
            self.resources.all()[index].cache.publish(state);
        }
        reached
    }

    async fn list_resource(&self, resource: &Resource, revision: Revision) -> Result<(), Error> {
        let mut items = OrdMap::new();
        let mut after = None;
        loop {
            let page = self
                .store
                .list(ListOptions {
                    prefix: resource.prefix.clone(),
                    after,
                    limit: LIST_PAGE,
                    revision,
                })
                .await?;
            for kv in &page.items {
                let name = &kv.key[resource.prefix.len()..];
                if let Some(entry) = read_entry(resource, name, &kv.value, kv.mod_revision) {
                    items.insert(entry.key.clone(), entry);
                }
            }
            after = page.items.last().map(|kv| kv.key.clone());
            if page.remaining == 0 || after.is_none() {
                break;
            }
        }
        let first_seq = resource.cache.load().next_seq() + 1;
        resource.cache.publish(State::listed(items, revision, first_seq));
        Ok(())
    }

    async fn list_allocations(&self, revision: Revision) -> Result<(), Error> {
        let mut after = None;
        let mut keys = Vec::new();
        loop {
            let page = self
                .store
                .list(ListOptions {
                    prefix: crate::allocate::PREFIX.to_owned(),
                    after,
                    limit: LIST_PAGE,
                    revision,
                })
                .await?;
            after = page.items.last().map(|kv| kv.key.clone());
            keys.extend(page.items.into_iter().map(|kv| kv.key));
            if page.remaining == 0 || after.is_none() {
                break;
            }
        }
        self.allocators.reset(&keys);
        Ok(())
    }
}

/// `None`, with a log line that names the key, if the stored value is no object of the kind:
/// one damaged object must not take the others with it.
fn read_entry(
    resource: &Resource,
    name: &str,
    value: &[u8],
    revision: Revision,
) -> Option<Arc<Entry>> {
    match Entry::of(resource.kind, name, value, revision) {
        Ok(entry) => Some(Arc::new(entry)),
        Err(error) => {
            error!(
                "{}{name} at revision {revision} is not readable and is left out: {error}",
                resource.prefix
            );
            None
        }
    }
}
