//! The last known state of all objects of a kind, with indices.
//!
//! What a controller wrote itself is entered at once, so that it never acts twice on a cache that
//! lags behind its own writes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kube::Resource;
use tokio::sync::watch;

use crate::key::{Key, Life, revision};

/// One entry of an index: the index's name and the value an object is found under.
pub type IndexEntry = (&'static str, String);

/// Lists the index entries of an object.
pub type IndexFn<K> = fn(&K) -> Vec<IndexEntry>;

/// The index every cache has: all objects of a namespace.
pub const BY_NAMESPACE: &str = "namespace";

/// What happened to one object. `old` is absent for a new object, `new` for a deleted one.
#[derive(Debug)]
pub struct Change<K> {
    /// The object before.
    pub old: Option<Arc<K>>,
    /// The object now.
    pub new: Option<Arc<K>>,
}

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        Self { old: self.old.clone(), new: self.new.clone() }
    }
}

impl<K> Change<K> {
    /// Both states that exist, the old one first.
    pub fn states(&self) -> impl Iterator<Item = &Arc<K>> {
        self.old.iter().chain(self.new.iter())
    }

    /// The object's key, whether it is still there or not.
    pub fn key(&self) -> Option<Key>
    where
        K: Resource,
    {
        self.states().last().map(|object| Key::of(object.as_ref()))
    }

    /// The object's key, where it is there.
    pub fn key_now(&self) -> Option<Key>
    where
        K: Resource,
    {
        self.new.as_deref().map(Key::of)
    }

    /// The object's key, where it is there no more.
    pub fn key_gone(&self) -> Option<Key>
    where
        K: Resource,
    {
        self.key().filter(|_| self.new.is_none())
    }
}

struct Inner<K> {
    objects: HashMap<Key, Arc<K>>,
    indices: HashMap<IndexEntry, BTreeSet<Key>>,
    /// Highest revision the watch has shown: writes at or below it are already in.
    seen_revision: u64,
    /// UIDs whose deletion was acknowledged but not yet seen by the watch.
    doomed: HashSet<String>,
}

/// Objects of one kind by key, with indices.
pub struct Cache<K> {
    inner: RwLock<Inner<K>>,
    index: IndexFn<K>,
    synced: watch::Sender<bool>,
}

impl<K: Resource> Cache<K> {
    /// An empty cache that indexes objects with `index` and by namespace.
    pub fn new(index: IndexFn<K>) -> Self {
        let inner = Inner {
            objects: HashMap::new(),
            indices: HashMap::new(),
            seen_revision: 0,
            doomed: HashSet::new(),
        };
        Self { inner: RwLock::new(inner), index, synced: watch::Sender::new(false) }
    }

    /// The object of that name, if known.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.read().objects.get(key).cloned()
    }

    /// All objects found under `value` of index `name`, ordered by key.
    pub fn by_index(&self, name: &'static str, value: &str) -> Vec<Arc<K>> {
        let inner = self.read();
        let Some(keys) = inner.indices.get(&(name, value.to_owned())) else {
            return Vec::new();
        };
        keys.iter().filter_map(|key| inner.objects.get(key).cloned()).collect()
    }

    /// How many objects are found under `value` of index `name`.
    pub fn count(&self, name: &'static str, value: &str) -> usize {
        self.read().indices.get(&(name, value.to_owned())).map_or(0, BTreeSet::len)
    }

    /// All objects, in no order.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.read().objects.values().cloned().collect()
    }

    /// Whether this life of the object was deleted by this process, though the watch has not shown it yet.
    pub fn is_doomed(&self, object: &K) -> bool {
        object.meta().uid.as_ref().is_some_and(|uid| self.read().doomed.contains(uid))
    }

    /// Whether the first complete list is in.
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Resolves when the first complete list is in.
    pub async fn synced(&self) {
        let mut synced = self.synced.subscribe();
        // The sender lives in `self`, so this cannot fail while it is awaited.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// Enters an object the watch delivered. Returns the change, or nothing where the
    /// cache already holds this or a newer state of the same life.
    pub fn apply(&self, object: K) -> Option<Change<K>> {
        let mut inner = self.write();
        inner.seen_revision = inner.seen_revision.max(revision(&object));
        if object.meta().deletion_timestamp.is_some()
            && let Some(uid) = &object.meta().uid
        {
            inner.doomed.remove(uid);
        }
        self.upsert(&mut inner, object)
    }

    /// Removes an object that has gone.
    pub fn remove(&self, life: &Life) -> Option<Change<K>> {
        let mut inner = self.write();
        inner.seen_revision = inner.seen_revision.max(life.revision);
        inner.doomed.remove(&life.uid);
        // A later life under the same name may already be in by write-through.
        let known = inner.objects.get(&life.key)?;
        if known.meta().uid.as_deref().unwrap_or_default() != life.uid {
            return None;
        }
        Some(Change { old: self.take(&mut inner, &life.key), new: None })
    }

    /// Replaces everything with a complete list; returns what changed.
    pub fn replace(&self, list: Vec<K>) -> Vec<Change<K>> {
        let mut inner = self.write();
        let listed: HashMap<Key, K> =
            list.into_iter().map(|object| (Key::of(&object), object)).collect();
        let uids: HashSet<&String> =
            listed.values().filter_map(|object| object.meta().uid.as_ref()).collect();
        inner.doomed.retain(|uid| uids.contains(uid));
        let gone: Vec<Key> =
            inner.objects.keys().filter(|key| !listed.contains_key(*key)).cloned().collect();
        let mut changes: Vec<Change<K>> =
            gone.iter().map(|key| Change { old: self.take(&mut inner, key), new: None }).collect();
        for object in listed.into_values() {
            inner.seen_revision = inner.seen_revision.max(revision(&object));
            changes.extend(self.upsert(&mut inner, object));
        }
        drop(inner);
        self.synced.send_replace(true);
        changes
    }

    /// Enters an object as the API server answered a write of this process. Ignored
    /// where the watch has already passed that revision: it may have been deleted since.
    pub fn wrote(&self, object: K) -> Option<Change<K>> {
        let mut inner = self.write();
        if revision(&object) <= inner.seen_revision {
            return None;
        }
        self.upsert(&mut inner, object)
    }

    /// Notes that this process deleted that life of the object.
    pub fn deleted(&self, object: &K) {
        let mut inner = self.write();
        let key = Key::of(object);
        let alive = inner.objects.get(&key).is_some_and(|known| {
            known.meta().uid == object.meta().uid && known.meta().deletion_timestamp.is_none()
        });
        if alive && let Some(uid) = object.meta().uid.clone() {
            inner.doomed.insert(uid);
        }
    }

    /// Takes back [`Cache::deleted`]: the deletion was refused.
    pub fn spared(&self, object: &K) {
        if let Some(uid) = &object.meta().uid {
            self.write().doomed.remove(uid);
        }
    }

    /// Forgets an object that the API server says does not exist.
    pub fn forget(&self, object: &K) -> Option<Change<K>> {
        let mut inner = self.write();
        let key = Key::of(object);
        let known = inner.objects.get(&key)?;
        if known.meta().uid != object.meta().uid || revision(known.as_ref()) != revision(object) {
            return None;
        }
        Some(Change { old: self.take(&mut inner, &key), new: None })
    }

    fn upsert(&self, inner: &mut Inner<K>, object: K) -> Option<Change<K>> {
        let key = Key::of(&object);
        if let Some(known) = inner.objects.get(&key)
            && revision(known.as_ref()) >= revision(&object)
            && revision(&object) != 0
        {
            return None;
        }
        let old = self.take(inner, &key);
        let new = Arc::new(object);
        for entry in self.entries(&new, &key) {
            inner.indices.entry(entry).or_default().insert(key.clone());
        }
        inner.objects.insert(key, new.clone());
        Some(Change { old, new: Some(new) })
    }

    fn take(&self, inner: &mut Inner<K>, key: &Key) -> Option<Arc<K>> {
        let old = inner.objects.remove(key)?;
        for entry in self.entries(&old, key) {
            if let Some(keys) = inner.indices.get_mut(&entry) {
                keys.remove(key);
                if keys.is_empty() {
                    inner.indices.remove(&entry);
                }
            }
        }
        Some(old)
    }

    fn entries(&self, object: &K, key: &Key) -> Vec<IndexEntry> {
        let mut entries = (self.index)(object);
        entries.push((BY_NAMESPACE, key.namespace.clone()));
        entries
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner<K>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner<K>> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}
