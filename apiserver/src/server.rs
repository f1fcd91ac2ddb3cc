//! What every request works with: store, kinds with their caches, allocators, identities.
//!
//! Never handles a request itself.

use std::sync::Arc;

use store::{LeaseId, Store};
use tokio::{sync::Mutex, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    allocate::{Allocators, repair::repair},
    authenticate::Tokens,
    discovery::Documents,
    failure::Failure,
    metrics::Metrics,
    resource::Resources,
    stream::node::NodeClient,
    watch_cache::{Progress, feed::Feed},
};

/// How long an Event is kept, as upstream.
const EVENT_TTL_S: i64 = 3_600;

/// Events written within this time share one lease.
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
    /// See [`Server::stop`].
    pub stop: CancellationToken,
}

impl Server {
    /// Fills the caches from the store and keeps them up to date until `stop`.
    pub async fn start(parts: Parts) -> Result<Arc<Self>, store::Error> {
        let server = Arc::new(Self {
            resources: Arc::new(Resources::new(api::kinds::all())),
            progress: Arc::new(Progress::default()),
            allocators: Arc::new(parts.allocators),
            tokens: parts.tokens,
            nodes: parts.nodes,
            metrics: Metrics::default(),
            documents: Documents::default(),
            stop: parts.stop,
            event_lease: Mutex::new(None),
            store: parts.store,
        });
        let feed = Feed {
            store: server.store.clone(),
            resources: server.resources.clone(),
            progress: server.progress.clone(),
            allocators: server.allocators.clone(),
        };
        if let Some(services) = server.resources.core("services") {
            // A full disk is no reason not to serve what can be read.
            if let Err(error) = repair(&*server.store, services).await {
                tracing::warn!("repairing the allocations of Services: {error}");
            }
        }
        let revision = feed.list_with_history().await?;
        let stop = server.stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(feed.follow(revision)).await });
        if server.progress.wait_fresh(&*server.store).await.is_err() {
            tracing::warn!("the store is slow to replay its history; reads wait for it");
        }
        Ok(server)
    }

    /// The lease that a newly written Event is kept for.
    pub async fn event_lease(&self) -> Result<LeaseId, Failure> {
        let mut current = self.event_lease.lock().await;
        if let Some((lease, granted)) = *current
            && granted.elapsed().as_secs() < EVENT_LEASE_SHARED_S
        {
            return Ok(lease);
        }
        let shared = i64::try_from(EVENT_LEASE_SHARED_S).unwrap_or_default();
        let lease = self.store.grant_lease(EVENT_TTL_S + shared).await?;
        *current = Some((lease, Instant::now()));
        Ok(lease)
    }
}
