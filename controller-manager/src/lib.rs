//! The controllers that are not about Services' endpoints: Deployment, ReplicaSet,
//! DaemonSet, scheduler, node lifecycle, garbage collector, namespaces, service accounts.
//!
//! Never keeps state of its own: everything is in the API server, or was seen there.

pub mod amount;
pub mod controllers;
pub mod daemon_set;
pub mod deployment;
pub mod garbage_collector;
pub mod kinds;
pub mod namespace;
pub mod node_lifecycle;
pub mod owner;
pub mod pod;
pub mod pod_collector;
pub mod pod_control;
pub mod replica_set;
pub mod scheduler;
pub mod service_account;

use std::fmt::Debug;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use informer::{IndexEntry, Informer};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

/// Options of the controller manager.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Kubeconfig file; without it KUBECONFIG or the in-cluster credentials are used.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Silence after which a node counts as lost.
    #[arg(long, value_name = "SECONDS", default_value_t = 40)]
    pub node_monitor_grace_period_seconds: u64,
    /// How long pods without a toleration of their own stay bound to a node that is
    /// lost or not ready.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub default_unreachable_toleration_seconds: u64,
}

/// Objects by the UID of their controller.
pub const BY_OWNER: &str = "owner";
/// Objects without a controller by namespace.
pub const ORPHANS: &str = "orphans";
/// The namespace of the nodes' Leases.
const NODE_LEASES: &str = "kube-node-lease";
/// Pods by node name.
pub const PODS_BY_NODE: &str = "node";
/// Unfinished pods by "node group", see [`scheduler::group_of`].
pub const PODS_BY_NODE_AND_GROUP: &str = "node and group";

/// The watched objects all controllers of this crate share.
pub struct World {
    client: Client,
    pods: Arc<Informer<Pod>>,
    nodes: Arc<Informer<Node>>,
    replica_sets: Arc<Informer<ReplicaSet>>,
    deployments: Arc<Informer<Deployment>>,
    daemon_sets: Arc<Informer<DaemonSet>>,
    namespaces: Arc<Informer<Namespace>>,
    service_accounts: Arc<Informer<ServiceAccount>>,
    /// The nodes' Leases only.
    leases: Arc<Informer<Lease>>,
    options: Options,
}

impl World {
    fn new(client: Client, options: Options) -> Arc<Self> {
        Arc::new(Self {
            pods: Informer::new(Api::all(client.clone()), index_pod),
            nodes: Informer::new(Api::all(client.clone()), |_| Vec::new()),
            replica_sets: Informer::new(Api::all(client.clone()), |set| {
                vec![index_owner(&set.metadata)]
            }),
            deployments: Informer::new(Api::all(client.clone()), |_| Vec::new()),
            daemon_sets: Informer::new(Api::all(client.clone()), |_| Vec::new()),
            namespaces: Informer::new(Api::all(client.clone()), |_| Vec::new()),
            service_accounts: Informer::new(Api::all(client.clone()), |_| Vec::new()),
            leases: Informer::new(Api::namespaced(client.clone(), NODE_LEASES), |_| Vec::new()),
            options,
            client,
        })
    }
}

fn index_owner(meta: &ObjectMeta) -> IndexEntry {
    match owner::controller_of(meta) {
        Some(owner) => (BY_OWNER, owner.uid.clone()),
        None => (ORPHANS, meta.namespace.clone().unwrap_or_default()),
    }
}

fn index_pod(pod: &Pod) -> Vec<IndexEntry> {
    let mut entries = vec![index_owner(&pod.metadata)];
    if let Some(node) = pod::node_name(pod) {
        entries.push((PODS_BY_NODE, node.to_owned()));
        if !pod::is_finished(pod) {
            entries.push((
                PODS_BY_NODE_AND_GROUP,
                format!("{node} {}", scheduler::group_of(pod)),
            ));
        }
    }
    entries
}

/// Whether the API server refused with that HTTP status.
fn is_status<T>(answer: &kube::Result<T>, code: u16) -> bool {
    matches!(answer, Err(kube::Error::Api(status)) if status.code == code)
}

/// Whether a creation failed because the namespace is on its way out: retrying is no use.
fn is_namespace_terminating(error: &anyhow::Error) -> bool {
    let Some(kube::Error::Api(status)) = error.downcast_ref::<kube::Error>() else {
        return false;
    };
    let causes = status
        .details
        .iter()
        .flat_map(|details| details.causes.iter());
    status.code == 403
        && causes
            .into_iter()
            .any(|cause| cause.reason == "NamespaceTerminating")
}

fn watching<K>(informer: &Arc<Informer<K>>) -> BoxFuture<'static, ()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let informer = informer.clone();
    Box::pin(async move { informer.run().await })
}

/// Runs the controllers until `stop` resolves.
///
/// # Errors
/// The kubeconfig leads nowhere. An unreachable API server is waited for.
pub async fn run(
    options: Options,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let client = informer::client::connect(options.kubeconfig.as_deref()).await?;
    let world = World::new(client, options);
    let mut tasks: Vec<BoxFuture<'static, ()>> = controllers::ALL
        .iter()
        .map(|start| start(world.clone()))
        .collect();
    // Handlers are registered above, before the first event can come.
    tasks.push(watching(&world.pods));
    tasks.push(watching(&world.nodes));
    tasks.push(watching(&world.replica_sets));
    tasks.push(watching(&world.deployments));
    tasks.push(watching(&world.daemon_sets));
    tasks.push(watching(&world.namespaces));
    tasks.push(watching(&world.service_accounts));
    tasks.push(watching(&world.leases));
    tracing::info!("controller manager started");
    informer::client::run_until(tasks, stop).await
}
