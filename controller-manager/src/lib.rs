//! The controllers that are not about Services' endpoints: Deployment, ReplicaSet,
//! DaemonSet, scheduler, node lifecycle, garbage collector, namespaces, service accounts.
//!
//! Never keeps state of its own: everything is in the API server, or was seen there.

pub mod amount;
pub mod controllers;
pub mod kinds;
mod options;
pub mod owner;
pub mod pod;
pub mod pod_control;
mod template;
mod world;

pub use options::Options;
pub use world::World;

/// The Lease of this program's instances, named as upstream's.
const LEASE: &str = "kube-controller-manager";

/// Runs the controllers while this instance leads, until `stop` resolves.
///
/// # Errors
/// The kubeconfig leads nowhere, the leader's Lease was lost, or the options of its election
/// do not fit together. An unreachable API server is waited for.
pub async fn run(
    options: Options,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let (api_server, election) = (options.api_server.clone(), options.election.clone());
    let root_ca = options.root_ca().await?;
    let world = |client, informers: &_| World::new(client, informers, options, root_ca);
    client::control_loop::run(LEASE, &election, &api_server, stop, world, controllers::ALL).await
}
