//! Nodes that an earlier start of the lab had and this one has not: their Node objects and
//! pods go, so that the nodes asked for are the nodes there are. Never touches a node that
//! the lab does not name itself.

use anyhow::{Context, Result};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, ResourceExt};

use crate::cluster::bootstrap::LEASE_NAMESPACE;

use super::topology::is_worker_name;

/// Removes every worker that is not in `names`. Returns the names of those removed.
pub async fn remove(client: &Client, names: &[String]) -> Result<Vec<String>> {
    let nodes: Api<Node> = Api::all(client.clone());
    let list = nodes.list(&ListParams::default()).await;
    let mut removed = Vec::new();
    for node in list.context("list the nodes of the last start")? {
        let name = node.name_any();
        if names.contains(&name) || !is_worker_name(&name) {
            continue;
        }
        gone(nodes.delete(&name, &DeleteParams::default()).await)
            .with_context(|| format!("remove node {name}"))?;
        let leases: Api<Lease> = Api::namespaced(client.clone(), LEASE_NAMESPACE);
        gone(leases.delete(&name, &DeleteParams::default()).await)
            .with_context(|| format!("remove the lease of node {name}"))?;
        remove_pods(client, &name)
            .await
            .with_context(|| format!("remove the pods of node {name}"))?;
        removed.push(name);
    }
    Ok(removed)
}

/// At once: nobody is left who could end them.
async fn remove_pods(client: &Client, node: &str) -> Result<()> {
    let of_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let pods: Api<Pod> = Api::all(client.clone());
    for pod in pods.list(&of_node).await? {
        let namespace = pod.namespace().unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        gone(pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await)?;
    }
    Ok(())
}

/// What is gone already is as good as deleted.
fn gone<T>(deleted: kube::Result<T>) -> kube::Result<()> {
    match deleted {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(|_| ()),
    }
}
