//! Starts a server: repairs what the store holds, fills the caches, follows the store.

use std::sync::Arc;

use crate::{
    allocate::repair::repair,
    server::{Parts, Server},
    watch_cache::feed::Feed,
};

/// Fills the caches from the store and keeps them up to date until [`Parts::stop`].
pub async fn start(parts: Parts) -> Result<Arc<Server>, store::Error> {
    let (server, changes) = Server::new(parts).map_err(store::Error::Invalid)?;
    let server = Arc::new(server);
    let feed = Feed {
        store: server.store.clone(),
        resources: server.resources.clone(),
        announced: server.announced.clone(),
        progress: server.progress.clone(),
        allocators: server.allocators.clone(),
        servers_changed: server.servers_changed.clone(),
        changes,
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
