//! ReplicaSets: as many pods as asked for.
//!
//! Never counts on the watch alone: what it created or deleted itself counts at once.

mod rank;
mod reconcile;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use client::cache::BY_NAMESPACE;
use client::{ControlLoop, Key, Reconciler, Recorder};
use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;

use crate::World;
use crate::owner::controller_of;
use crate::pod_control::PodControl;
use crate::world::{BY_OWNER, ORPHANS};

use reconcile::{Actions, Observed, could_adopt, new_pod, reconcile, set_failure};

/// ReplicaSets worked on at the same time.
const CONCURRENT_SYNCS: usize = 32;

struct Controller {
    world: Arc<World>,
    pods: PodControl,
}

/// Registers what makes a ReplicaSet be looked at, and returns the loop that does.
pub fn start(world: Arc<World>) -> BoxFuture<'static, ()> {
    let mut control = ControlLoop::new("replicaset", CONCURRENT_SYNCS);
    control.watch(&world.replica_sets, |change| change.key_now());
    control.watch_in(&world, &world.pods, |world, change| {
        change.states().flat_map(|pod| owners_of(world, pod)).collect::<Vec<Key>>()
    });
    let recorder = Recorder::start(world.client.clone(), "replicaset-controller", None);
    control.run(Controller { pods: PodControl::new(world.clone(), recorder), world })
}

/// The ReplicaSets a pod concerns: its controller, or those that could adopt it.
fn owners_of(world: &World, pod: &Pod) -> Vec<Key> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    match controller_of(&pod.metadata) {
        Some(owner) if owner.kind == "ReplicaSet" => vec![Key::new(namespace, owner.name.clone())],
        Some(_) => Vec::new(),
        None => {
            let all = world.replica_sets.cache.by_index(BY_NAMESPACE, namespace);
            let matching = all.iter().filter(|replica_set| could_adopt(replica_set, pod));
            matching.map(|replica_set| Key::of(replica_set.as_ref())).collect()
        }
    }
}

impl Reconciler for Controller {
    async fn sync(&self, key: &Key) -> anyhow::Result<Option<Duration>> {
        let Some(replica_set) = self.world.replica_sets.cache.get(key) else {
            return Ok(None);
        };
        let cache = &self.world.pods.cache;
        let mut pods =
            cache.by_index(BY_OWNER, replica_set.metadata.uid.as_deref().unwrap_or_default());
        let known = pods.len();
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_some() || !cache.is_doomed(pod));
        let doomed = known - pods.len();
        pods.extend(cache.by_index(ORPHANS, &key.namespace));
        let related = self.related_pods(&replica_set);
        let now = Timestamp::now();
        let actions =
            reconcile(Observed { replica_set: &replica_set, pods, doomed, related: &related }, now);
        self.run(&replica_set, actions, now).await
    }
}

impl Controller {
    /// Pods of all ReplicaSets of the same Deployment.
    fn related_pods(&self, replica_set: &ReplicaSet) -> Vec<Arc<Pod>> {
        let owner = controller_of(&replica_set.metadata);
        let siblings =
            owner.map(|owner| self.world.replica_sets.cache.by_index(BY_OWNER, &owner.uid));
        let mut uids: Vec<String> =
            siblings.iter().flatten().filter_map(|sibling| sibling.metadata.uid.clone()).collect();
        if uids.is_empty() {
            uids.extend(replica_set.metadata.uid.clone());
        }
        uids.iter().flat_map(|uid| self.world.pods.cache.by_index(BY_OWNER, uid)).collect()
    }

    async fn run(
        &self,
        replica_set: &ReplicaSet,
        actions: Actions,
        now: Timestamp,
    ) -> anyhow::Result<Option<Duration>> {
        self.pods.claim(replica_set, &actions.adopt, &actions.release).await?;
        let new = vec![new_pod(replica_set); actions.create];
        let created = self.pods.create(replica_set, new).await;
        let deleted = self.pods.delete(replica_set, actions.delete).await;
        let mut status = actions.status;
        let failure = match (&created, &deleted) {
            (Err(error), _) => Some(("FailedCreate", format!("{error:#}"))),
            (_, Err(error)) => Some(("FailedDelete", format!("{error:#}"))),
            _ => None,
        };
        set_failure(&mut status, failure, now);
        let written = self.write_status(replica_set, status).await;
        created?;
        deleted?;
        written?;
        Ok(actions.again_after)
    }

    async fn write_status(
        &self,
        replica_set: &ReplicaSet,
        status: ReplicaSetStatus,
    ) -> anyhow::Result<()> {
        if replica_set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let namespace = replica_set.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<ReplicaSet> = Api::namespaced(self.world.client.clone(), namespace);
        let name = replica_set.metadata.name.as_deref().unwrap_or_default();
        let changed = ReplicaSet { status: Some(status), ..replica_set.clone() };
        let answer = api.replace_status(name, &PostParams::default(), &changed).await;
        self.world.replica_sets.keep(answer).context("writing the status of a ReplicaSet")
    }
}
