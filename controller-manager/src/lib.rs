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

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use client::{IndexEntry, Informer, LeaderElection};
pub(crate) use client::{is_namespace_terminating, is_status};
use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client};

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
    /// How one of several instances is chosen to work.
    #[command(flatten)]
    pub election: LeaderElection,
}

/// The Lease of this program's instances, named as upstream's.
const NAME: &str = "kube-controller-manager";

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
            entries.push((PODS_BY_NODE_AND_GROUP, format!("{node} {}", scheduler::group_of(pod))));
        }
    }
    entries
}

/// Runs the controllers while this instance leads, until `stop` resolves.
///
/// # Errors
/// The kubeconfig leads nowhere, the leader's Lease was lost, or the options of its election
/// do not fit together. An unreachable API server is waited for.
pub async fn run(
    options: Options,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let (election, kubeconfig) = (options.election.clone(), options.kubeconfig.clone());
    let work = |client| tasks(&World::new(client, options));
    client::election::run(&election, NAME, kubeconfig.as_deref(), stop, work).await
}

fn tasks(world: &Arc<World>) -> Vec<BoxFuture<'static, ()>> {
    let starts = controllers::ALL.iter();
    let mut tasks: Vec<_> = starts.map(|start| start(world.clone())).collect();
    // Handlers are registered above, before the first event can come.
    tasks.extend([
        world.pods.task(),
        world.nodes.task(),
        world.replica_sets.task(),
        world.deployments.task(),
        world.daemon_sets.task(),
        world.namespaces.task(),
        world.service_accounts.task(),
        world.leases.task(),
    ]);
    tracing::info!("controller manager started");
    tasks
}
