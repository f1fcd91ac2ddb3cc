//! What the controllers of this crate share: the client, and the objects that several watch.
//!
//! What only one controller watches, that makes for itself with `informers`.

use std::sync::Arc;

use client::{IndexEntry, Informer, Informers, no_index};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;

use crate::options::Options;
use crate::{owner, pod};

/// Objects by the UID of their controller.
pub const BY_OWNER: &str = "owner";
/// Objects without a controller by namespace.
pub const ORPHANS: &str = "orphans";
/// Pods by node name.
pub const PODS_BY_NODE: &str = "node";
/// Unfinished pods by "node group", see [`pod::group_of`].
pub const PODS_BY_NODE_AND_GROUP: &str = "node and group";

/// The client, the shared informers and the options.
pub struct World {
    /// Writes, and reads what no informer holds.
    pub client: Client,
    /// Makes further informers.
    pub informers: Informers,
    /// All pods.
    pub pods: Arc<Informer<Pod>>,
    /// All nodes.
    pub nodes: Arc<Informer<Node>>,
    /// All ReplicaSets.
    pub replica_sets: Arc<Informer<ReplicaSet>>,
    /// All Deployments.
    pub deployments: Arc<Informer<Deployment>>,
    /// All DaemonSets.
    pub daemon_sets: Arc<Informer<DaemonSet>>,
    /// All namespaces.
    pub namespaces: Arc<Informer<Namespace>>,
    /// The certificates by which pods trust the API server, as PEM.
    pub root_ca: Option<String>,
    /// The program's options.
    pub options: Options,
}

impl World {
    /// Knows nothing yet.
    pub fn new(
        client: Client,
        informers: &Informers,
        options: Options,
        root_ca: Option<String>,
    ) -> Arc<Self> {
        Arc::new(Self {
            pods: informers.all(index_pod),
            nodes: informers.all(no_index),
            replica_sets: informers.all(|set| vec![index_owner(&set.metadata)]),
            deployments: informers.all(no_index),
            daemon_sets: informers.all(no_index),
            namespaces: informers.all(no_index),
            informers: informers.clone(),
            root_ca,
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
            entries.push((PODS_BY_NODE_AND_GROUP, format!("{node} {}", pod::group_of(pod))));
        }
    }
    entries
}
