//! What every request works with: store, kinds with their caches, allocators, identities.
//!
//! Never handles a request itself.

use std::{sync::Arc, time::Duration};

use api::kind::Kind;
use store::{LeaseId, Store};
use tokio::{
    sync::{Mutex, Notify, mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    allocate::{Allocators, repair::repair},
    authenticate::Tokens,
    discovery::Documents,
    failure::Failure,
    metrics::Metrics,
    resource::Resources,
    stream::node::NodeClient,
    watch_cache::{
        Progress,
        feed::{Change, Feed, MAX_CHANGES},
    },
};

/// Events written within this time, or a twentieth of how long they are kept, share one lease.
const EVENT_LEASE_SHARED_S: u64 = 60;

/// The state of an API server.
pub struct Server {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The served kinds and their caches.
    pub resources: Arc<Resources>,
    /// How far the caches have come.
    pub progress: Arc<Progress>,
    /// Cluster IPs and node ports.
    pub allocators: Arc<Allocators>,
    /// Known bearer tokens.
    pub tokens: Tokens,
    /// The way to the node agents.
    pub nodes: NodeClient,
    /// Counters.
    pub metrics: Metrics,
    /// Discovery and OpenAPI documents.
    pub documents: Documents,
    /// Ends watches when the server stops.
    pub stop: CancellationToken,
    /// Told when the key of an API server comes or goes in the store.
    pub servers_changed: Arc<Notify>,
    changes: mpsc::Sender<Change>,
    event_ttl_s: u64,
    event_lease: Mutex<Option<(LeaseId, Instant)>>,
}

/// What a server is made of.
pub struct Parts {
    /// See [`Server::store`].
    pub store: Arc<dyn Store>,
    /// See [`Server::allocators`].
    pub allocators: Allocators,
    /// See [`Server::tokens`].
    pub tokens: Tokens,
    /// See [`Server::nodes`].
    pub nodes: NodeClient,
    /// How long an Event is kept; a second at least.
    pub event_ttl: Duration,
    /// See [`Server::stop`].
    pub stop: CancellationToken,
}

impl Server {
    /// Fills the caches from the store and keeps them up to date until `stop`.
    pub async fn start(parts: Parts) -> Result<Arc<Self>, store::Error> {
        let (changes, changes_of_feed) = mpsc::channel(MAX_CHANGES);
        let server = Arc::new(Self {
            resources: Arc::new(Resources::new(api::kinds::all()).map_err(store::Error::Invalid)?),
            changes,
            progress: Arc::new(Progress::default()),
            allocators: Arc::new(parts.allocators),
            tokens: parts.tokens,
            nodes: parts.nodes,
            metrics: Metrics::default(),
            documents: Documents::default(),
            stop: parts.stop,
            servers_changed: Arc::default(),
            event_ttl_s: parts.event_ttl.as_secs().max(1),
            event_lease: Mutex::new(None),
            store: parts.store,
        });
        let feed = Feed {
            store: server.store.clone(),
            resources: server.resources.clone(),
            progress: server.progress.clone(),
            allocators: server.allocators.clone(),
            servers_changed: server.servers_changed.clone(),
            changes: changes_of_feed,
        };
        // A full disk is no reason not to serve what can be read.
        if let Err(error) = repair(&*server.store, &server.resources.table()).await {
            tracing::warn!("repairing the allocations: {error}");
        }
        let revision = feed.list_with_history().await?;
        let stop = server.stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(feed.follow(revision)).await });
        if server.progress.wait_fresh(&*server.store).await.is_err() {
            tracing::warn!("the store is slow to replay its history; reads wait for it");
        }
        Ok(server)
    }

    /// Serves one more kind from now on. `Err` says which of its names is taken.
    pub async fn add_kind(&self, kind: Arc<dyn Kind>) -> Result<(), String> {
        let (told, outcome) = oneshot::channel();
        let sent = self.changes.send(Change::Add(kind, told)).await;
        let stopped = || "the server is stopping".to_owned();
        sent.map_err(|_| stopped())?;
        outcome.await.map_err(|_| stopped())?
    }

    /// Serves a kind no more, under none of its versions: its watches end. What is stored of it
    /// stays in the store. Whether it was served.
    pub async fn remove_kind(&self, group: &str, version: &str, plural: &str) -> bool {
        let (told, outcome) = oneshot::channel();
        let path = [group, version, plural].map(str::to_owned);
        let sent = self.changes.send(Change::Remove(path, told)).await;
        sent.is_ok() && outcome.await.unwrap_or(false)
    }

    /// The lease that a newly written object is kept for, of a kind that expires.
    pub async fn event_lease(&self) -> Result<LeaseId, Failure> {
        let mut current = self.event_lease.lock().await;
        let shared_s = EVENT_LEASE_SHARED_S.min(self.event_ttl_s / 20);
        if let Some((lease, granted)) = *current
            && granted.elapsed().as_secs() < shared_s
        {
            return Ok(lease);
        }
        let ttl_s = i64::try_from(self.event_ttl_s + shared_s).unwrap_or(i64::MAX);
        let lease = self.store.grant_lease(ttl_s).await?;
        *current = Some((lease, Instant::now()));
        Ok(lease)
    }
}
