//! What exists in every cluster: namespaces, the `default/kubernetes` Service and its
//! endpoints, made or mended at each start; and the regular compaction of the store.
//!
//! Never overwrites what a user made of them, but for the server's own address.

use std::{net::IpAddr, sync::Arc, time::Duration};

use anyhow::Context;
use serde_json::{Value, json};
use store::Revision;
use tracing::{debug, warn};

use crate::{
    failure::Failure,
    registry::{self, put},
    server::Server,
};

/// Namespaces of every cluster.
const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// History is forgotten every five minutes, but for the last five minutes, as upstream.
const COMPACTION_INTERVAL: Duration = Duration::from_secs(300);

/// Under which address and port the cluster reaches this server.
#[derive(Debug, Clone, Copy)]
pub struct Advertised {
    /// `--advertise-address`.
    pub address: IpAddr,
    /// The port that is served.
    pub port: u16,
}

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
    if advertised.address.is_loopback() {
        warn!(
            "{} is a loopback address that no pod can reach: default/kubernetes gets no endpoints; set --advertise-address",
            advertised.address
        );
        return Ok(());
    }
    publish_endpoints(server, advertised).await
}

async fn publish_endpoints(server: &Server, advertised: Advertised) -> anyhow::Result<()> {
    let Advertised { address, port } = advertised;
    let endpoints = json!({
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" },
        },
        "subsets": [{
            "addresses": [{ "ip": address }],
            "ports": [{ "name": "https", "port": port, "protocol": "TCP" }],
        }],
    });
    let slice = json!({
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": { "kubernetes.io/service-name": "kubernetes" },
        },
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{ "addresses": [address], "conditions": { "ready": true } }],
        "ports": [{ "name": "https", "port": port, "protocol": "TCP" }],
    });
    for (group, plural, object) in [
        ("", "endpoints", endpoints),
        ("discovery.k8s.io", "endpointslices", slice),
    ] {
        let resource = server.resources.find(group, "v1", plural);
        let resource = resource.with_context(|| format!("{plural} are not served"))?;
        put(server, resource, "default", "kubernetes", object)
            .await
            .map_err(|failure| {
                anyhow::anyhow!("publishing {plural} default/kubernetes: {}", failure.0)
            })?;
    }
    Ok(())
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
    let object = api::decode::from_value(resource.kind, object)
        .context(what.clone())?
        .object;
    match registry::create(server, resource, namespace, object, false).await {
        // Another API server was faster.
        Ok(_) | Err(Failure(api::status::ApiError { code: 409, .. })) => Ok(()),
        Err(failure) => Err(anyhow::anyhow!("{what}: {}", failure.0)),
    }
}

/// Compacts the store for ever: what was the newest revision one interval ago.
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
        }
        before = server.progress.reached();
    }
}
