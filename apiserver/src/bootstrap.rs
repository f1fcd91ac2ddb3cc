//! What exists in every cluster: namespaces, the `default/kubernetes` Service and its
//! endpoints, looked after while the server runs; and the regular compaction of the store.
//!
//! Never overwrites what a user made of them, but for the server's own address.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use serde_json::{Value, json};
use store::Revision;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::{
    advertise::{self, Advertised},
    failure::Failure,
    memory, registry,
    server::Server,
};

/// Namespaces of every cluster.
const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// History is forgotten every five minutes, but for the last five minutes, as upstream.
const COMPACTION_INTERVAL: Duration = Duration::from_secs(300);

/// Between two looks at whether all is still there, as upstream.
pub const BOOTSTRAP_INTERVAL: Duration = Duration::from_secs(10);

/// Makes what is missing.
pub async fn bootstrap(server: &Server, advertised: Advertised) -> anyhow::Result<()> {
    for name in NAMESPACES {
        let namespace = json!({ "metadata": { "name": name } });
        create_missing(server, "", "namespaces", None, namespace).await?;
    }
    let range = &server.allocators.cluster_ips[0];
    let service = json!({
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": { "component": "apiserver", "provider": "kubernetes" },
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": range.address(0),
            "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": advertised.port }],
        },
    });
    create_missing(server, "", "services", Some("default"), service).await?;
    advertise::publish(server, advertised).await
}

/// Looks after what [`bootstrap`] makes for ever: a user may have deleted some of it. When
/// another API server comes or goes, its address is written at once.
pub async fn bootstrap_regularly(server: Arc<Server>, advertised: Advertised, pause: Duration) {
    loop {
        let outcome = match timeout(pause, server.servers_changed.notified()).await {
            Ok(()) => advertise::publish(&server, advertised).await,
            Err(_) => bootstrap(&server, advertised).await,
        };
        if let Err(error) = outcome {
            warn!("looking after default/kubernetes: {error:#}");
        }
    }
}

async fn create_missing(
    server: &Server,
    group: &str,
    plural: &str,
    namespace: Option<&str>,
    object: Value,
) -> anyhow::Result<()> {
    let resource = server.resources.find(group, "v1", plural);
    let resource = resource.with_context(|| format!("{plural} are not served"))?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let key = resource.store_key(namespace, name);
    if server.store.get(&key, 0).await?.kv.is_some() {
        return Ok(());
    }
    let what = format!("creating {plural} {name}");
    let object = api::decode::from_value(&*resource.kind, object).context(what.clone())?.object;
    match registry::create(server, &resource, namespace, object, false).await {
        // Another API server was faster.
        Ok(_) | Err(Failure(api::status::ApiError { code: 409, .. })) => Ok(()),
        Err(failure) => Err(anyhow::anyhow!("{what}: {}", failure.0)),
    }
}

/// Compacts the store for ever, up to what was the newest revision one interval ago, and the
/// caches' events with it.
pub async fn compact_regularly(server: Arc<Server>) {
    let mut before: Revision = 0;
    loop {
        tokio::time::sleep(COMPACTION_INTERVAL).await;
        if before > 0 {
            match server.store.compact(before).await {
                Ok(()) => debug!("compacted the store up to revision {before}"),
                Err(store::Error::Compacted { .. }) => {}
                Err(error) => warn!("compacting the store: {error}"),
            }
            for resource in server.resources.table().stored() {
                resource.cache.forget(before);
            }
            memory::give_back();
        }
        before = server.progress.reached();
    }
}
