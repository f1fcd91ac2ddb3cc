//! Feeds the watch cache from the store: lists once, then follows one watch of everything.
//!
//! One watch for all kinds, so that one number says how far the whole cache has come. When
//! the watch breaks it resumes after the last revision taken in; when that is compacted it
//! lists anew, and watchers that would miss something end with 410. Never skips a revision.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use api::kind::Kind;
use bytes::Bytes;
use futures::StreamExt;
use imbl::OrdMap;
use store::{Error, Event, ListOptions, Revision, Store, WatchItem};
use tokio::sync::{Notify, mpsc, oneshot};
use tracing::{error, warn};

use crate::{
    allocate::Allocators,
    keys::{ALLOCATIONS, ROOT, SERVERS},
    resource::{Resource, Resources, Table},
};

use super::{
    Progress,
    announced::Announced,
    entry::Entry,
    state::{EVENTS_KEPT, State},
};

/// Keys fetched by one call while listing.
const LIST_PAGE: usize = 2_000;

/// How many revisions a starting server goes back for the events of watches that resume. As
/// many as are kept for one kind: more would not be kept anyway.
const HISTORY_REVISIONS: Revision = EVENTS_KEPT as Revision;

/// Pause before the store is asked again after an error.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Changes of the table that wait for the feed at once.
pub const MAX_CHANGES: usize = 16;

/// A change of the table of resources, and where to say what became of it. It is the feed's to
/// make, so that no event of a kind is taken in before the kind's cache is filled.
pub enum Change {
    /// Serves one more kind.
    Add(Arc<dyn Kind>, oneshot::Sender<Result<(), String>>),
    /// Serves the kind of a group, version and plural no more; whether there was one.
    Remove([String; 3], oneshot::Sender<bool>),
}

/// What the feed keeps up to date.
pub struct Feed {
    /// Where changes come from.
    pub store: Arc<dyn Store>,
    /// The kinds and their caches.
    pub resources: Arc<Resources>,
    /// What this server's writers say of what they store.
    pub announced: Arc<Announced>,
    /// Told after each batch.
    pub progress: Arc<Progress>,
    /// Which addresses and ports are taken is derived from the same watch.
    pub allocators: Arc<Allocators>,
    /// Told when the key of an API server comes or goes.
    pub servers_changed: Arc<Notify>,
    /// Kinds that come and go.
    pub changes: mpsc::Receiver<Change>,
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
        self.announced.clear();
        for resource in self.resources.table().stored() {
            self.list_resource(resource, revision).await?;
        }
        self.list_allocations(revision).await?;
        self.progress.advance(revision);
        Ok(revision)
    }

    /// Follows the store for ever, from after `revision`.
    pub async fn follow(mut self, mut revision: Revision) {
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

    async fn follow_once(&mut self, revision: &mut Revision) -> Result<(), Error> {
        let mut watch = self.store.watch(ROOT, *revision + 1).await?;
        loop {
            let item = tokio::select! {
                item = watch.next() => item,
                Some(change) = self.changes.recv() => {
                    self.change(change).await;
                    continue;
                }
            };
            let Some(item) = item else {
                return Ok(());
            };
            let reached = match item? {
                WatchItem::Events(events) => self.take_in(events, *revision),
                WatchItem::Progress(reached) => reached,
            };
            *revision = reached.max(*revision);
            self.progress.advance(*revision);
        }
    }

    /// Changes the table. Whoever asked may have gone: then nobody is told.
    async fn change(&self, change: Change) {
        match change {
            Change::Add(kind, told) => {
                let _ = told.send(self.add(kind).await);
            }
            Change::Remove([group, version, plural], told) => {
                let found = self.resources.table().without(&group, &version, &plural);
                let is_found = found.is_some();
                if let Some((table, gone)) = found {
                    self.resources.replace(table);
                    gone.removed.cancel();
                }
                let _ = told.send(is_found);
            }
        }
    }

    /// Fills the cache of a kind, then serves it: nobody sees it half filled.
    async fn add(&self, kind: Arc<dyn Kind>) -> Result<(), String> {
        let (table, resource) = Table::with(&self.resources.table(), kind)?;
        let listed = async {
            // It may hold more than the other caches yet: `take_in` leaves out what it has.
            let newest = self.store.current_revision().await?;
            self.list_resource(&resource, newest).await
        };
        listed.await.map_err(|error| error.to_string())?;
        self.resources.replace(table);
        Ok(())
    }

    /// Applies a batch of whole revisions; events at or before `after` are known already.
    fn take_in(&self, events: Vec<Event>, after: Revision) -> Revision {
        let mut reached = after;
        let table = self.resources.table();
        let mut changed: BTreeMap<usize, (&Arc<Resource>, State)> = BTreeMap::new();
        for event in events {
            let (key, revision, value) = match &event {
                Event::Put { kv, .. } => (&kv.key, kv.mod_revision, Some(&kv.value)),
                Event::Delete { previous, revision } => (&previous.key, *revision, None),
            };
            if revision <= after {
                continue;
            }
            reached = reached.max(revision);
            let Some((at, resource)) = table.by_store_key(key) else {
                self.allocators.observe(key, value.is_some());
                let renewed = matches!(&event, Event::Put { previous: Some(_), .. });
                if !renewed && key.starts_with(SERVERS) {
                    self.servers_changed.notify_one();
                }
                continue;
            };
            let name = &key[resource.prefix.len()..];
            let before = resource.cache.load();
            // A kind that came just now was listed at a revision that is still to come here.
            if revision <= before.revision {
                continue;
            }
            let (_, state) = changed.entry(at).or_insert_with(|| (resource, State::clone(&before)));
            let current = value.and_then(|value| match self.announced.take(key, value) {
                Some(known) => Entry::new(name, value.clone(), revision, known).ok().map(Arc::new),
                None => read_entry(resource, name, value.clone(), revision),
            });
            state.apply(name, revision, current);
        }
        for (resource, state) in changed.into_values() {
            resource.cache.publish(state);
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
                if let Some(entry) = read_entry(resource, name, kv.value.clone(), kv.mod_revision) {
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
                    prefix: ALLOCATIONS.to_owned(),
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
    value: Bytes,
    revision: Revision,
) -> Option<Arc<Entry>> {
    match Entry::of(&*resource.kind, name, value, revision) {
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
