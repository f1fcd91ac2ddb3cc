//! A cache kept in step with the API server, and whoever asked told about each change.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use futures::StreamExt;
use futures::future::BoxFuture;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use crate::cache::{Cache, Change, IndexFn};
use crate::follow::{Update, follow};

type Handler<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

/// A watched kind: its cache, and the handlers called on each change.
pub struct Informer<K> {
    api: Api<K>,
    fields: String,
    /// The objects as last seen.
    pub cache: Cache<K>,
    handlers: RwLock<Vec<Handler<K>>>,
}

impl<K> Informer<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    /// An informer over what `api` covers, of that what matches the field selector `fields` if
    /// it is not empty; `index` lists the index entries of an object.
    pub fn new(api: Api<K>, fields: impl Into<String>, index: IndexFn<K>) -> Arc<Self> {
        let (fields, cache) = (fields.into(), Cache::new(index));
        Arc::new(Self { api, fields, cache, handlers: RwLock::default() })
    }

    /// Calls `handler` on each change from now on. Handlers must be quick: they run
    /// between two events of the watch.
    pub fn on_change(&self, handler: impl Fn(&Change<K>) + Send + Sync + 'static) {
        self.handlers.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(handler));
    }

    /// Enters what this process wrote, and tells the handlers.
    pub fn wrote(&self, object: K) {
        self.tell(self.cache.wrote(object));
    }

    /// Enters what the API server answered, unless that is that the object has gone.
    ///
    /// # Errors
    /// The API server's, but for 404.
    pub fn keep(&self, written: kube::Result<K>) -> kube::Result<()> {
        match written {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            written => self.wrote(written?),
        }
        Ok(())
    }

    /// [`Informer::run`] as a task among others.
    pub fn task(self: &Arc<Self>) -> BoxFuture<'static, ()> {
        let informer = self.clone();
        Box::pin(async move { informer.run().await })
    }

    /// Watches for ever.
    pub async fn run(&self) {
        // A list counts as a whole: nobody sees half of what a new one says.
        let mut listing: Option<Vec<K>> = None;
        let mut updates = follow(self.api.clone(), &self.fields);
        while let Some(update) = updates.next().await {
            match (update, &mut listing) {
                (Update::Listing, listing) => *listing = Some(Vec::new()),
                (Update::Set(object), Some(list)) => list.push(object),
                (Update::Set(object), None) => self.tell(self.cache.apply(object)),
                (Update::Gone(_), Some(_)) => {}
                (Update::Gone(life), None) => self.tell(self.cache.remove(&life)),
                (Update::Synced, listing) => {
                    self.tell(self.cache.replace(listing.take().unwrap_or_default()));
                }
            }
        }
    }

    fn tell(&self, changes: impl IntoIterator<Item = Change<K>>) {
        let handlers = self.handlers.read().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            handlers.iter().for_each(|handler| handler(&change));
        }
    }
}

/// Makes informers, and keeps their tasks to be run together, once the handlers are registered.
#[derive(Clone)]
pub struct Informers {
    client: Client,
    tasks: Arc<Mutex<Vec<BoxFuture<'static, ()>>>>,
}

impl Informers {
    /// Informers that ask through `client`.
    pub fn new(client: Client) -> Self {
        Self { client, tasks: Arc::default() }
    }

    /// One over all objects of a kind.
    pub fn all<K>(&self, index: IndexFn<K>) -> Arc<Informer<K>>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        self.some(Api::all(self.client.clone()), "", index)
    }

    /// One over some objects of a kind: see [`Informer::new`].
    pub fn some<K>(&self, api: Api<K>, fields: &str, index: IndexFn<K>) -> Arc<Informer<K>>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let informer = Informer::new(api, fields, index);
        self.tasks().push(informer.task());
        informer
    }

    /// The tasks of all that were made since this was last called.
    pub fn take_tasks(&self) -> Vec<BoxFuture<'static, ()>> {
        std::mem::take(&mut *self.tasks())
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, Vec<BoxFuture<'static, ()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The index of objects that are only looked up by name or namespace.
pub fn no_index<K>(_: &K) -> Vec<crate::IndexEntry> {
    Vec::new()
}
