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
    allocate::Allocators,
    authenticate::Tokens,
    discovery::Documents,
    failure::Failure,
    metrics::Metrics,
    resource::Resources,
    stream::node::NodeClient,
    watch_cache::{
        Progress,
        announced::Announced,
        feed::{Change, MAX_CHANGES},
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
    /// Objects on their way through the store to the caches.
    pub announced: Arc<Announced>,
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
    /// A server whose caches are empty still, and where it says which kinds come and go. `Err`
    /// names what two kinds have in common.
    pub fn new(parts: Parts) -> Result<(Self, mpsc::Receiver<Change>), String> {
        let (changes, changes_of_feed) = mpsc::channel(MAX_CHANGES);
        let server = Self {
            resources: Arc::new(Resources::new(api::kinds::all())?),
            changes,
            progress: Arc::new(Progress::default()),
            announced: Arc::default(),
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
        };
        Ok((server, changes_of_feed))
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
