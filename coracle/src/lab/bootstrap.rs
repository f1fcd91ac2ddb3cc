//! What a lab's cluster has from its first second on, and how the host finds out that it
//! is ready: through the API, and for DNS by a real query through the cluster IP. Never
//! overwrites an object that is there already, but the proxy's credential and its place.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::broker::Broker;
use super::manifests::DNS_LABEL;
use super::proxy;
use super::topology::Topology;

const SYSTEM_NAMESPACE: &str = "kube-system";
/// Where nodes have their leases.
pub const LEASE_NAMESPACE: &str = "kube-node-lease";
/// Between two looks at something that becomes ready by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// For one query's answer.
const DNS_ANSWER_TIMEOUT: Duration = Duration::from_millis(250);

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
pub async fn objects(client: &Client, topology: &Topology, kubeconfig: &Path) -> Result<()> {
    let kubeconfig = std::fs::read_to_string(kubeconfig)?;
    let credential = proxy::secret(&kubeconfig)?;
    if !create(client, &credential).await? {
        let patch = Patch::Merge(json!({"stringData": credential.string_data}));
        let api: Api<Secret> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
        api.patch(proxy::NAME, &PatchParams::default(), &patch)
            .await
            .context("renew the proxy's credential")?;
    }
    if !create(client, &proxy::config_map(topology)?).await? {
        mend_proxy_config(client).await?;
    }
    create(client, &proxy::daemon_set()?).await?;
    create(client, &dns_service(topology)?).await.map(drop)
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

fn dns_service(topology: &Topology) -> Result<Service> {
    Ok(serde_json::from_value(json!({
        "metadata": {
            "name": "kube-dns",
            "labels": {
                "k8s-app": DNS_LABEL,
                "kubernetes.io/cluster-service": "true",
                "kubernetes.io/name": "CoreDNS",
            },
        },
        "spec": {
            "clusterIP": topology.dns_service(),
            "selector": {"k8s-app": DNS_LABEL},
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            ],
        },
    }))?)
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

/// Waits until the cluster's DNS answers a query that is sent from a node to its
/// cluster IP: address, proxy, pod and its sight of the API are all tried by that.
pub async fn dns_answers(broker: &Broker, from: &str, dns: Ipv4Addr) -> Result<()> {
    let to = SocketAddr::from((dns, 53));
    loop {
        if let Ok(Ok(true)) =
            tokio::time::timeout(DNS_ANSWER_TIMEOUT, dns_answers_once(broker, from, to)).await
        {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn dns_answers_once(broker: &Broker, from: &str, to: SocketAddr) -> Result<bool> {
    let socket = broker.datagrams(from, to).await?;
    socket.send(&dns_query("kubernetes.default.svc.cluster.local")).await?;
    let mut answer = [0u8; 512];
    let length = socket.recv(&mut answer).await?;
    // No error code, and at least one record in the answer section.
    Ok(length > 12 && answer[3] & 0x0f == 0 && u16::from_be_bytes([answer[6], answer[7]]) > 0)
}

/// A query for the A records of `name`.
fn dns_query(name: &str) -> Vec<u8> {
    let mut query = vec![0x2a, 0x01, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    query
}
