//! What a cluster has from its first second on, and how one finds out through the API that it is
//! ready. Never overwrites an object that is there already, but the proxy's credential and its
//! place.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Secret};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::ranges::Ranges;
use super::{dns, proxy};

const SYSTEM_NAMESPACE: &str = "kube-system";
/// Where nodes have their leases.
pub const LEASE_NAMESPACE: &str = "kube-node-lease";
/// Between two looks at something that becomes ready by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A client with the admin's credential.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    client::ApiServer::of_file(kubeconfig).connect().await
}

/// Waits until the API server says that it is ready.
pub async fn api_ready(client: &Client) -> Result<()> {
    loop {
        let request = http_get("/readyz")?;
        if client.request_text(request).await.is_ok_and(|text| text.starts_with("ok")) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn http_get(path: &str) -> Result<http::Request<Vec<u8>>> {
    Ok(http::Request::get(path).body(Vec::new())?)
}

/// Makes the DNS Service and the node proxy, where they are not there yet, and gives the
/// proxy the credential of this start.
pub async fn objects(client: &Client, ranges: &Ranges, kubeconfig: &Path) -> Result<()> {
    let kubeconfig = std::fs::read_to_string(kubeconfig)?;
    let credential = proxy::secret(&kubeconfig)?;
    if !create(client, &credential).await? {
        let patch = Patch::Merge(json!({"stringData": credential.string_data}));
        let api: Api<Secret> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
        api.patch(proxy::NAME, &PatchParams::default(), &patch)
            .await
            .context("renew the proxy's credential")?;
    }
    if !create(client, &proxy::config_map(ranges)?).await? {
        mend_proxy_config(client).await?;
    }
    create(client, &proxy::daemon_set()?).await?;
    create(client, &dns::service(ranges)?).await.map(drop)
}

/// A lab that was made when the proxy's configuration did not say where its credential is.
async fn mend_proxy_config(client: &Client) -> Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let found = api.get_opt(proxy::NAME).await?;
    let config = found.and_then(|map| map.data?.remove(proxy::CONFIG_FILE));
    if let Some(mended) = config.as_deref().and_then(proxy::mended) {
        let patch = Patch::Merge(json!({"data": {proxy::CONFIG_FILE: mended}}));
        api.patch(proxy::NAME, &PatchParams::default(), &patch)
            .await
            .context("mend the proxy's configuration")?;
    }
    Ok(())
}

/// Says whether it was not there yet.
async fn create<K>(client: &Client, object: &K) -> Result<bool>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    loop {
        match api.create(&PostParams::default(), object).await {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => return Ok(false),
            // The namespace comes from the API server itself, a moment after it is ready.
            Err(kube::Error::Api(status)) if status.code == 404 => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(kube::Error::Api(status)) => {
                let name = object.meta().name.clone().unwrap_or_default();
                bail!("create {} {name}: {}", K::kind(&()), status.message)
            }
            // The API server may be on its way back from a crash.
            Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}

/// Waits until every node is ready by its own word since `started`: what an earlier run
/// left in the store does not count.
pub async fn nodes_ready(client: &Client, names: &[String], started: Timestamp) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let leases: Api<Lease> = Api::namespaced(client.clone(), LEASE_NAMESPACE);
    loop {
        let everything = ListParams::default();
        if let (Ok(nodes), Ok(leases)) =
            (nodes.list(&everything).await, leases.list(&everything).await)
        {
            let ready = |name: &String| {
                nodes.iter().any(|n| n.metadata.name.as_ref() == Some(name) && is_ready(n))
                    && leases.iter().any(|lease| {
                        lease.metadata.name.as_ref() == Some(name)
                            && renewed_at(lease).is_some_and(|at| at >= started)
                    })
            };
            if names.iter().all(ready) {
                return Ok(());
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Fails where a node is not there or not Ready.
pub async fn node_is_ready(client: &Client, name: &str) -> Result<()> {
    let node = Api::<Node>::all(client.clone()).get(name).await?;
    if is_ready(&node) {
        return Ok(());
    }
    bail!("the node {name} is not Ready")
}

/// Waits until the node proxy is ready on so many nodes.
pub async fn proxies_ready(client: &Client, nodes: usize) -> Result<()> {
    let api: Api<DaemonSet> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    loop {
        let ready = match api.get_opt(proxy::NAME).await {
            Ok(Some(set)) => set.status.map_or(0, |status| status.number_ready),
            _ => 0,
        };
        if usize::try_from(ready).is_ok_and(|ready| ready >= nodes) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Waits until the DNS Service has an endpoint that is ready.
pub async fn dns_has_endpoints(client: &Client) -> Result<()> {
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let of_dns = ListParams::default().labels("kubernetes.io/service-name=kube-dns");
    loop {
        if let Ok(slices) = api.list(&of_dns).await
            && slices
                .iter()
                .flat_map(|slice| slice.endpoints.iter().flatten())
                .any(|endpoint| endpoint.conditions.as_ref().and_then(|c| c.ready) == Some(true))
        {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Whether a node's Ready condition is true.
pub fn is_ready(node: &Node) -> bool {
    node.status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn renewed_at(lease: &Lease) -> Option<Timestamp> {
    Some(lease.spec.as_ref()?.renew_time.as_ref()?.0)
}
