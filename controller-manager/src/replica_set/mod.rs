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
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use informer::{EventType, Key, Recorder, WorkQueue};
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};

use crate::owner::{controller_of, reference_patch};
use crate::{BY_OWNER, ORPHANS, World, is_namespace_terminating, is_status};

use reconcile::{Actions, Observed, could_adopt, new_pod, reconcile, set_failure};

/// ReplicaSets worked on at the same time.
const CONCURRENT_SYNCS: usize = 32;
/// Pods created at once in the first batch; each batch that succeeds doubles the next,
/// so that a template that is refused is refused a few times and not hundreds.
const FIRST_BATCH: usize = 4;
/// Pods created or deleted at the same time for one ReplicaSet.
const CONCURRENT_PODS: usize = 64;

struct Controller {
    world: Arc<World>,
    recorder: Recorder,
}

/// Registers what makes a ReplicaSet be looked at, and returns the loop that does.
pub fn start(world: Arc<World>) -> BoxFuture<'static, ()> {
    let queue = WorkQueue::new();
    let to = queue.clone();
    world.replica_sets.on_change(move |change| {
        change
            .new
            .iter()
            .for_each(|replica_set| to.add(Key::of(replica_set.as_ref())));
    });
    let (view, to) = (Arc::downgrade(&world), queue.clone());
    world.pods.on_change(move |change| {
        let Some(world) = view.upgrade() else { return };
        for pod in change.states() {
            owners_of(&world, pod)
                .into_iter()
                .for_each(|key| to.add(key));
        }
    });
    let (recorder, events) = Recorder::new(world.client.clone(), "replicaset-controller");
    let controller = Controller { world, recorder };
    Box::pin(async move {
        controller.world.replica_sets.cache.synced().await;
        controller.world.pods.cache.synced().await;
        let work = |key: Key| {
            let controller = &controller;
            async move { controller.sync(&key).await }
        };
        tokio::join!(events, queue.run("replicaset", CONCURRENT_SYNCS, work));
    })
}

/// The ReplicaSets a pod concerns: its controller, or those that could adopt it.
fn owners_of(world: &World, pod: &Pod) -> Vec<Key> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    match controller_of(&pod.metadata) {
        Some(owner) if owner.kind == "ReplicaSet" => vec![Key::new(namespace, owner.name.clone())],
        Some(_) => Vec::new(),
        None => {
            let all = world
                .replica_sets
                .cache
                .by_index(informer::cache::BY_NAMESPACE, namespace);
            let matching = all
                .iter()
                .filter(|replica_set| could_adopt(replica_set, pod));
            matching
                .map(|replica_set| Key::of(replica_set.as_ref()))
                .collect()
        }
    }
}

impl Controller {
    async fn sync(&self, key: &Key) -> anyhow::Result<Option<Duration>> {
        let Some(replica_set) = self.world.replica_sets.cache.get(key) else {
            return Ok(None);
        };
        let cache = &self.world.pods.cache;
        let mut pods = cache.by_index(
            BY_OWNER,
            replica_set.metadata.uid.as_deref().unwrap_or_default(),
        );
        let known = pods.len();
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_some() || !cache.is_doomed(pod));
        let doomed = known - pods.len();
        pods.extend(cache.by_index(ORPHANS, &key.namespace));
        let related = self.related_pods(&replica_set);
        let now = Timestamp::now();
        let actions = reconcile(
            Observed {
                replica_set: &replica_set,
                pods,
                doomed,
                related: &related,
            },
            now,
        );
        self.run(&replica_set, actions, now).await
    }

    /// Pods of all ReplicaSets of the same Deployment.
    fn related_pods(&self, replica_set: &ReplicaSet) -> Vec<Arc<Pod>> {
        let owner = controller_of(&replica_set.metadata);
        let siblings =
            owner.map(|owner| self.world.replica_sets.cache.by_index(BY_OWNER, &owner.uid));
        let mut uids: Vec<String> = siblings
            .iter()
            .flatten()
            .filter_map(|sibling| sibling.metadata.uid.clone())
            .collect();
        if uids.is_empty() {
            uids.extend(replica_set.metadata.uid.clone());
        }
        uids.iter()
            .flat_map(|uid| self.world.pods.cache.by_index(BY_OWNER, uid))
            .collect()
    }

    async fn run(
        &self,
        replica_set: &ReplicaSet,
        actions: Actions,
        now: Timestamp,
    ) -> anyhow::Result<Option<Duration>> {
        let namespace = replica_set
            .metadata
            .namespace
            .as_deref()
            .unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.world.client.clone(), namespace);
        for (pods, adopt) in [(&actions.adopt, true), (&actions.release, false)] {
            for pod in pods {
                let patch = Patch::Merge(reference_patch(replica_set, pod.as_ref(), adopt));
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                let answer = api.patch(name, &PatchParams::default(), &patch).await;
                if !is_status(&answer, 404) {
                    self.world
                        .pods
                        .wrote(answer.context("adopting or releasing a pod")?);
                }
            }
        }
        let created = self.create(&api, replica_set, actions.create).await;
        let deleted = self.delete(&api, replica_set, actions.delete).await;
        let mut status = actions.status;
        let failure = match (&created, &deleted) {
            (Err(error), _) => Some(("FailedCreate", format!("{error:#}"))),
            (_, Err(error)) => Some(("FailedDelete", format!("{error:#}"))),
            _ => None,
        };
        set_failure(&mut status, failure, now);
        let written = self.write_status(replica_set, status).await;
        match created {
            Err(error) if is_namespace_terminating(&error) => return Ok(None),
            other => other?,
        }
        deleted?;
        written?;
        Ok(actions.again_after)
    }

    async fn create(
        &self,
        api: &Api<Pod>,
        replica_set: &ReplicaSet,
        count: usize,
    ) -> anyhow::Result<()> {
        let pod = new_pod(replica_set);
        let (mut left, mut batch) = (count, FIRST_BATCH);
        while left > 0 {
            let now = left.min(batch);
            let answers: Vec<kube::Result<Pod>> = stream::iter(0..now)
                .map(|_| async { api.create(&PostParams::default(), &pod).await })
                .buffer_unordered(CONCURRENT_PODS)
                .collect()
                .await;
            let mut failure = None;
            for answer in answers {
                match answer {
                    Ok(created) => {
                        let name = created.metadata.name.clone().unwrap_or_default();
                        self.recorder.event(
                            replica_set,
                            EventType::Normal,
                            "SuccessfulCreate",
                            format!("Created pod: {name}"),
                        );
                        self.world.pods.wrote(created);
                    }
                    Err(error) => failure = Some(anyhow::Error::from(error)),
                }
            }
            if let Some(error) = failure {
                if !is_namespace_terminating(&error) {
                    self.recorder.event(
                        replica_set,
                        EventType::Warning,
                        "FailedCreate",
                        format!("Error creating: {error:#}"),
                    );
                }
                return Err(error);
            }
            left -= now;
            batch *= 2;
        }
        Ok(())
    }

    async fn delete(
        &self,
        api: &Api<Pod>,
        replica_set: &ReplicaSet,
        pods: Vec<Arc<Pod>>,
    ) -> anyhow::Result<()> {
        let answers: Vec<anyhow::Result<()>> = stream::iter(pods)
            .map(|pod| async move {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                let same_life = Preconditions {
                    uid: pod.metadata.uid.clone(),
                    resource_version: None,
                };
                let params = DeleteParams {
                    preconditions: Some(same_life),
                    ..DeleteParams::default()
                };
                self.world.pods.cache.deleted(&pod);
                let answer = api.delete(name, &params).await;
                match answer {
                    Ok(_) => {
                        self.recorder.event(
                            replica_set,
                            EventType::Normal,
                            "SuccessfulDelete",
                            format!("Deleted pod: {name}"),
                        );
                        Ok(())
                    }
                    answer if is_status(&answer, 404) || is_status(&answer, 409) => Ok(()),
                    Err(error) => {
                        self.world.pods.cache.spared(&pod);
                        self.recorder.event(
                            replica_set,
                            EventType::Warning,
                            "FailedDelete",
                            format!("Error deleting: {error}"),
                        );
                        Err(error.into())
                    }
                }
            })
            .buffer_unordered(CONCURRENT_PODS)
            .collect()
            .await;
        answers.into_iter().collect()
    }

    async fn write_status(
        &self,
        replica_set: &ReplicaSet,
        status: ReplicaSetStatus,
    ) -> anyhow::Result<()> {
        if replica_set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let namespace = replica_set
            .metadata
            .namespace
            .as_deref()
            .unwrap_or_default();
        let api: Api<ReplicaSet> = Api::namespaced(self.world.client.clone(), namespace);
        let name = replica_set.metadata.name.as_deref().unwrap_or_default();
        let changed = ReplicaSet {
            status: Some(status),
            ..replica_set.clone()
        };
        let answer = api
            .replace_status(name, &PostParams::default(), &changed)
            .await;
        if !is_status(&answer, 404) {
            self.world
                .replica_sets
                .wrote(answer.context("writing the status of a ReplicaSet")?);
        }
        Ok(())
    }
}
