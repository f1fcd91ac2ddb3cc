//! Keeps a cache in step with the API server and tells whoever asked about each change.
//!
//! Never polls and never drops a change: a broken watch is resumed, a lost one listed anew.

use std::fmt::Debug;
use std::sync::{Arc, PoisonError, RwLock};

use futures::StreamExt;
use futures::future::BoxFuture;
use kube::runtime::watcher;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use crate::cache::{Cache, Change, IndexFn};
use crate::retry::retried;

type Handler<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

/// A watched kind: its cache, and the handlers called on each change.
pub struct Informer<K> {
    api: Api<K>,
    /// The objects as last seen.
    pub cache: Cache<K>,
    handlers: RwLock<Vec<Handler<K>>>,
}

impl<K> Informer<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    /// An informer over what `api` covers; `index` lists the index entries of an object.
    pub fn new(api: Api<K>, index: IndexFn<K>) -> Arc<Self> {
        Arc::new(Self { api, cache: Cache::new(index), handlers: RwLock::default() })
    }

    /// Calls `handler` on each change from now on. Handlers must be quick: they run
    /// between two events of the watch.
    pub fn on_change(&self, handler: impl Fn(&Change<K>) + Send + Sync + 'static) {
        self.handlers.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(handler));
    }

    /// Enters what this process wrote, and tells the handlers.
    pub fn wrote(&self, object: K) {
        if let Some(change) = self.cache.wrote(object) {
            self.tell(&change);
        }
    }

    /// [`Informer::run`] as a task among others.
    pub fn task(self: &Arc<Self>) -> BoxFuture<'static, ()> {
        let informer = self.clone();
        Box::pin(async move { informer.run().await })
    }

    /// Watches for ever.
    pub async fn run(&self) {
        let kind = K::kind(&());
        let mut listing = Vec::new();
        let mut events = retried(watcher(self.api.clone(), watcher::Config::default())).boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listing.clear(),
                Ok(watcher::Event::InitApply(object)) => listing.push(object),
                Ok(watcher::Event::InitDone) => {
                    for change in self.cache.replace(std::mem::take(&mut listing)) {
                        self.tell(&change);
                    }
                }
                Ok(watcher::Event::Apply(object)) => {
                    if let Some(change) = self.cache.apply(object) {
                        self.tell(&change);
                    }
                }
                Ok(watcher::Event::Delete(object)) => {
                    if let Some(change) = self.cache.remove(&object) {
                        self.tell(&change);
                    }
                }
                Err(error) => tracing::warn!(%kind, %error, "watch failed; trying again"),
            }
        }
    }

    fn tell(&self, change: &Change<K>) {
        for handler in self.handlers.read().unwrap_or_else(PoisonError::into_inner).iter() {
            handler(change);
        }
    }
}
