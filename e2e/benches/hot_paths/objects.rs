//! What the measurements create: pods of a wanted size on a node that nobody runs, and Services.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use futures::future::try_join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams, Request};
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::say;
use crate::server::Server;

/// Connections that make and ask for objects.
pub const CONNECTIONS: usize = 16;
/// The node that the pods are bound to.
const NODE: &str = "bench-node";
const NODE_LEASES: &str = "kube-node-lease";
/// How often a node shows that it lives, as the kubelet does.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// A node of which there is only its object, alive until this is dropped.
pub struct HollowNode(JoinHandle<()>);

impl HollowNode {
    pub async fn join(client: Client) -> anyhow::Result<Self> {
        let nodes: Api<Node> = Api::all(client.clone());
        let node = json!({"metadata": {"name": NODE, "labels": {
            "kubernetes.io/hostname": NODE, "topology.kubernetes.io/zone": "zone-a",
        }}});
        ensure(&nodes, node).await.context("the node")?;
        let leases: Api<Lease> = Api::namespaced(client, NODE_LEASES);
        ensure(&leases, json!({"metadata": {"name": NODE}})).await.context("the node's lease")?;
        renew(&leases).await.context("the node's lease")?;
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True",
            "reason": "KubeletReady", "message": "hollow",
            "lastHeartbeatTime": now(), "lastTransitionTime": now()}]}});
        nodes.patch_status(NODE, &PatchParams::default(), &Patch::Merge(ready)).await?;
        Ok(Self(tokio::spawn(async move {
            loop {
                tokio::time::sleep(HEARTBEAT).await;
                if let Err(error) = renew(&leases).await {
                    say(&format!("the node's lease: {error:#}"));
                }
            }
        })))
    }
}

impl Drop for HollowNode {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn renew(leases: &Api<Lease>) -> anyhow::Result<()> {
    let spec = json!({"spec": {"holderIdentity": NODE, "leaseDurationSeconds": 40,
        "renewTime": format!("{:.6}", Timestamp::now())}});
    leases.patch(NODE, &PatchParams::default(), &Patch::Merge(spec)).await?;
    Ok(())
}

/// Creates an object that may be there from an earlier measurement.
async fn ensure<K>(api: &Api<K>, object: Value) -> anyhow::Result<()>
where
    K: DeserializeOwned + Serialize + Clone + Debug,
{
    match api.create(&PostParams::default(), &serde_json::from_value(object)?).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

/// Now, as objects have it.
pub fn now() -> String {
    format!("{:.0}", Timestamp::now())
}

/// A pod's name by its number.
pub fn pod_name(number: usize) -> String {
    format!("pod-{number:06}")
}

/// A pod's number by its name.
pub fn pod_number(name: &str) -> Option<usize> {
    name.strip_prefix("pod-")?.parse().ok()
}

/// A pod of at least `bytes` of JSON, most of it its container's environment.
pub fn pod(number: usize, bytes: usize) -> Vec<u8> {
    let mut environment = Vec::new();
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": pod_name(number), "labels": {
            "app": "bench", "pod-template-hash": "5d8f7c9b64", "number": number.to_string(),
        }},
        "spec": {
            "nodeName": NODE,
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "web", "image": "registry.example/team/web:1.2.3",
                "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}},
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
            }],
        },
    });
    let empty = pod.to_string().len();
    let mut size = empty;
    while size < bytes {
        let entry = json!({"name": format!("SETTING_{:04}", environment.len()),
            "value": format!("https://settings.example/{}", environment.len() * 7919)});
        size += entry.to_string().len() + 1;
        environment.push(entry);
    }
    pod["spec"]["containers"][0]["env"] = environment.into();
    pod.to_string().into_bytes()
}

/// `status` of a pod that runs; each number has an address of its own.
pub fn status(number: usize, ready: bool) -> Value {
    let ip = format!("10.{}.{}.{}", 128 + number / 62_500, number / 250 % 250, number % 250 + 1);
    let word = if ready { "True" } else { "False" };
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "lastTransitionTime": now()});
    json!({"status": {
        "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "startTime": now(),
        "conditions": [
            condition("PodScheduled", "True"), condition("Initialized", "True"),
            condition("ContainersReady", word), condition("Ready", word),
        ],
    }})
}

/// Clients with one connection each.
pub fn clients(server: &Server) -> anyhow::Result<Vec<Client>> {
    (0..CONNECTIONS).map(|_| server.client()).collect()
}

/// Works numbers off over all connections, one request at a time on each.
pub async fn each<F>(
    clients: &[Client],
    numbers: Range<usize>,
    work: impl Fn(Client, usize) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let next = AtomicUsize::new(numbers.start);
    let worker = |client: &Client| {
        let (client, next, work) = (client.clone(), &next, &work);
        async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    return anyhow::Ok(());
                }
                work(client.clone(), number).await?;
            }
        }
    };
    try_join_all(clients.iter().map(worker)).await?;
    Ok(())
}

/// Creates pods; the bodies are made before the first request.
pub async fn create_pods(
    clients: &[Client],
    server: &Server,
    bodies: &[Vec<u8>],
) -> anyhow::Result<()> {
    let path = server.path("api/v1", "pods");
    each(clients, 0..bodies.len(), |client, number| {
        let request = Request::new(&path).create(&PostParams::default(), bodies[number].clone());
        async move {
            client.request_text(request?).await.context("create a pod")?;
            Ok(())
        }
    })
    .await
}

/// Sets a pod's readiness.
pub async fn set_ready(
    client: &Client,
    path: &str,
    number: usize,
    ready: bool,
) -> anyhow::Result<()> {
    let patch = Patch::Merge(status(number, ready));
    let request = Request::new(path).patch_subresource(
        "status",
        &pod_name(number),
        &PatchParams::default(),
        &patch,
    )?;
    client.request_text(request).await.context("set a pod's status")?;
    Ok(())
}

/// A node and that many ready pods on it, to be dropped with the measurement.
pub async fn ready_pods(
    clients: &[Client],
    server: &Server,
    count: usize,
) -> anyhow::Result<HollowNode> {
    let node = HollowNode::join(clients[0].clone()).await?;
    let bodies: Vec<Vec<u8>> = (0..count).map(|number| pod(number, 2200)).collect();
    create_pods(clients, server, &bodies).await?;
    let path = Arc::new(server.path("api/v1", "pods"));
    each(clients, 0..count, |client, number| {
        let path = path.clone();
        async move { set_ready(&client, &path, number, true).await }
    })
    .await?;
    Ok(node)
}

/// A Service over all pods.
pub async fn create_service(
    client: &Client,
    server: &Server,
    name: &str,
) -> anyhow::Result<String> {
    let services: Api<Service> = Api::namespaced(client.clone(), &server.namespace);
    let service = json!({"metadata": {"name": name}, "spec": {
        "selector": {"app": "bench"},
        "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
    }});
    let made = services.create(&PostParams::default(), &serde_json::from_value(service)?).await?;
    Ok(made.name_any())
}
