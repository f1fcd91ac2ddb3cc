//! The controllers that are not about Services' endpoints: Deployment, ReplicaSet,
//! scheduler, node lifecycle, garbage collector, namespaces, service accounts.
//!
//! Never keeps state of its own: everything is in the API server, or was seen there.

pub mod controllers;
pub mod deployment;
pub mod owner;
pub mod pod;
pub mod replica_set;
pub mod scheduler;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use informer::{IndexEntry, Informer};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client};

/// Options of the controller manager.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Kubeconfig file; without it KUBECONFIG or the in-cluster credentials are used.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// Objects by the UID of their controller.
pub const BY_OWNER: &str = "owner";
/// Objects without a controller by namespace.
pub const ORPHANS: &str = "orphans";
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
}

impl World {
    fn new(client: Client) -> Arc<Self> {
        Arc::new(Self {
            pods: Informer::new(Api::all(client.clone()), index_pod),
            nodes: Informer::new(Api::all(client.clone()), |_| Vec::new()),
            replica_sets: Informer::new(Api::all(client.clone()), |set| {
                vec![index_owner(&set.metadata)]
            }),
            deployments: Informer::new(Api::all(client.clone()), |_| Vec::new()),
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

/// Runs the controllers until `stop` resolves.
///
/// # Errors
/// The kubeconfig leads nowhere. An unreachable API server is waited for.
pub async fn run(
    options: Options,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let client = informer::client::connect(options.kubeconfig.as_deref()).await?;
    let world = World::new(client);
    let mut tasks: Vec<BoxFuture<'static, ()>> = controllers::ALL
        .iter()
        .map(|start| start(world.clone()))
        .collect();
    // Handlers are registered above, before the first event can come.
    let (pods, nodes) = (world.pods.clone(), world.nodes.clone());
    let (replica_sets, deployments) = (world.replica_sets.clone(), world.deployments.clone());
    tasks.push(Box::pin(async move { pods.run().await }));
    tasks.push(Box::pin(async move { nodes.run().await }));
    tasks.push(Box::pin(async move { replica_sets.run().await }));
    tasks.push(Box::pin(async move { deployments.run().await }));
    tracing::info!("controller manager started");
    informer::client::run_until(tasks, stop).await
}
