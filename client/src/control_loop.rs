//! What every controller is: a queue of keys, what puts them there, and workers that bring the
//! cluster in line with each.

use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

use crate::cache::Change;
use crate::connect::ApiServer;
use crate::election;
use crate::election::options::LeaderElection;
use crate::informer::{Informer, Informers};
use crate::key::Key;
use crate::queue::WorkQueue;
use crate::refusal::is_namespace_terminating;

/// Starts a controller: registers its handlers at once, works as the future.
pub type Start<W> = fn(Arc<W>) -> BoxFuture<'static, ()>;

/// Brings the cluster in line with what is wanted of one object.
pub trait Reconciler<T = Key>: Send + Sync + 'static {
    /// Looks at the object and acts. May ask to look again after a delay. An error brings the
    /// key back after a growing one, but that its namespace is on its way out: then nothing is
    /// left to do.
    fn sync(&self, key: &T) -> impl Future<Output = anyhow::Result<Option<Duration>>> + Send;
}

/// A controller's queue and workers, while its handlers are being registered.
pub struct ControlLoop<T = Key> {
    name: &'static str,
    workers: usize,
    queue: Arc<WorkQueue<T>>,
    /// What has to be known before the first key is worked on.
    needs: Vec<BoxFuture<'static, ()>>,
}

impl<T> ControlLoop<T>
where
    T: Clone + Eq + Hash + Display + Send + Sync + 'static,
{
    /// A loop that works on at most `workers` keys at a time; `name` is for the log.
    pub fn new(name: &'static str, workers: usize) -> Self {
        Self { name, workers, queue: WorkQueue::new(), needs: Vec::new() }
    }

    /// The queue, for what is no handler of one change.
    pub fn queue(&self) -> Arc<WorkQueue<T>> {
        self.queue.clone()
    }

    /// Begins the work only when `known` has resolved.
    pub fn after(&mut self, known: impl Future<Output = ()> + Send + 'static) {
        self.needs.push(Box::pin(known));
    }

    /// Begins the work only when the informer's first list is in.
    pub fn needs<K>(&mut self, informer: &Arc<Informer<K>>)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let informer = informer.clone();
        self.after(async move { informer.cache.synced().await });
    }

    /// Has the keys that a change concerns looked at. The work waits for the first list.
    pub fn watch<K, I>(
        &mut self,
        informer: &Arc<Informer<K>>,
        keys: impl Fn(&Change<K>) -> I + Send + Sync + 'static,
    ) where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
        I: IntoIterator<Item = T>,
    {
        self.needs(informer);
        let queue = self.queue.clone();
        informer.on_change(move |change| keys(change).into_iter().for_each(|key| queue.add(key)));
    }

    /// As [`ControlLoop::watch`], where the keys are found in what is known of `world`, which
    /// holds the informer: the handler does not hold it in turn.
    pub fn watch_in<W, K, I>(
        &mut self,
        world: &Arc<W>,
        informer: &Arc<Informer<K>>,
        keys: impl Fn(&W, &Change<K>) -> I + Send + Sync + 'static,
    ) where
        W: Send + Sync + 'static,
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
        I: IntoIterator<Item = T>,
    {
        let world = Arc::downgrade(world);
        self.watch(informer, move |change| {
            world.upgrade().into_iter().flat_map(|world| keys(&world, change)).collect::<Vec<T>>()
        });
    }

    /// As [`ControlLoop::watch_in`], and the keys are looked at only after `delay`.
    pub fn watch_later<W, K, I>(
        &mut self,
        world: &Arc<W>,
        informer: &Arc<Informer<K>>,
        delay: Duration,
        keys: impl Fn(&W, &Change<K>) -> I + Send + Sync + 'static,
    ) where
        W: Send + Sync + 'static,
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
        I: IntoIterator<Item = T>,
    {
        let (queue, world) = (self.queue.clone(), Arc::downgrade(world));
        self.watch(informer, move |change| {
            let world = world.upgrade();
            let keys = world.into_iter().flat_map(|world| keys(&world, change));
            keys.for_each(|key| queue.add_after(key, delay));
            None
        });
    }

    /// Works for ever.
    pub fn run(self, work: impl Reconciler<T>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            join_all(self.needs).await;
            let sync = |key: T| {
                let work = &work;
                async move {
                    match work.sync(&key).await {
                        Err(error) if is_namespace_terminating(&error) => Ok(None),
                        outcome => outcome,
                    }
                }
            };
            self.queue.run(self.name, self.workers, sync).await;
        })
    }
}

/// Runs a program's controllers over what they share, which `world` makes, while this instance
/// leads, until `stop` resolves. `name` is the program's and its Lease's.
///
/// # Errors
/// The kubeconfig leads nowhere, the leader's Lease was lost, or the options of its election
/// do not fit together. An unreachable API server is waited for.
pub async fn run<W>(
    name: &'static str,
    options: &LeaderElection,
    api_server: &ApiServer,
    stop: impl Future<Output = ()>,
    world: impl FnOnce(Client, &Informers) -> Arc<W>,
    controllers: &[Start<W>],
) -> anyhow::Result<()> {
    let work = |client: Client| {
        let informers = Informers::new(client.clone());
        let world = world(client, &informers);
        let starts = controllers.iter();
        let mut tasks: Vec<_> = starts.map(|start| start(world.clone())).collect();
        // Handlers are registered above, before the first event can come.
        tasks.extend(informers.take_tasks());
        tracing::info!("{name} started");
        tasks
    };
    election::run(options, name, api_server, stop, work).await
}
