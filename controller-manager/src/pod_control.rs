//! Pods made, deleted, adopted and released in the name of a workload, with the Events that say so.
//!
//! Never decides which: the workloads' controllers do.

use std::sync::Arc;

use anyhow::Context;
use client::{EventType, Recorder, is_namespace_terminating, is_status};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Resource};

use crate::owner::reference_patch;
use crate::world::World;

/// Pods created at once in the first batch; each batch that succeeds doubles the next,
/// so that a template that is refused is refused a few times and not hundreds.
const FIRST_BATCH: usize = 4;
/// Pods created or deleted at the same time for one workload.
const CONCURRENT_PODS: usize = 64;

/// What a workload's controller does to pods. Each write counts in the cache at once.
pub struct PodControl {
    world: Arc<World>,
    recorder: Recorder,
}

impl PodControl {
    /// Acts on the pods of `world` and reports through `recorder`.
    pub fn new(world: Arc<World>, recorder: Recorder) -> Self {
        Self { world, recorder }
    }

    /// Says something about the workload or a pod of it.
    pub fn event<K: Resource<DynamicType = ()>>(
        &self,
        regarding: &K,
        event_type: EventType,
        reason: &str,
        message: String,
    ) {
        self.recorder.event(regarding, event_type, reason, message);
    }

    fn api<O: Resource<DynamicType = ()>>(&self, owner: &O) -> Api<Pod> {
        let namespace = owner.meta().namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.world.client.clone(), namespace)
    }

    /// Makes `owner` the controller of some pods and lets others go.
    ///
    /// # Errors
    /// A write failed; a pod that has gone is none.
    pub async fn claim<O: Resource<DynamicType = ()>>(
        &self,
        owner: &O,
        adopt: &[Arc<Pod>],
        release: &[Arc<Pod>],
    ) -> anyhow::Result<()> {
        let api = self.api(owner);
        for (pods, adopt) in [(adopt, true), (release, false)] {
            for pod in pods {
                let patch = Patch::Merge(reference_patch(owner, pod.as_ref(), adopt));
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                let answer = api.patch(name, &PatchParams::default(), &patch).await;
                self.world.pods.keep(answer).context("adopting or releasing a pod")?;
            }
        }
        Ok(())
    }

    /// Creates the pods in growing batches, up to the first batch with a failure.
    ///
    /// # Errors
    /// One of the failures; the rest is for the next round.
    pub async fn create<O: Resource<DynamicType = ()>>(
        &self,
        owner: &O,
        pods: Vec<Pod>,
    ) -> anyhow::Result<()> {
        let api = &self.api(owner);
        let (mut left, mut batch) = (pods, FIRST_BATCH);
        while !left.is_empty() {
            let later = left.split_off(left.len().min(batch));
            let answers: Vec<kube::Result<Pod>> = stream::iter(left)
                .map(|pod| async move { api.create(&PostParams::default(), &pod).await })
                .buffer_unordered(CONCURRENT_PODS)
                .collect()
                .await;
            let mut failure = None;
            for answer in answers {
                match answer {
                    Ok(created) => {
                        let name = created.metadata.name.clone().unwrap_or_default();
                        let message = format!("Created pod: {name}");
                        self.event(owner, EventType::Normal, "SuccessfulCreate", message);
                        self.world.pods.wrote(created);
                    }
                    Err(error) => failure = Some(anyhow::Error::from(error)),
                }
            }
            if let Some(error) = failure {
                if !is_namespace_terminating(&error) {
                    let message = format!("Error creating: {error:#}");
                    self.event(owner, EventType::Warning, "FailedCreate", message);
                }
                return Err(error);
            }
            left = later;
            batch *= 2;
        }
        Ok(())
    }

    /// Deletes these lives of the pods.
    ///
    /// # Errors
    /// One of the failures; a pod that has gone or is another one by now is none.
    pub async fn delete<O: Resource<DynamicType = ()>>(
        &self,
        owner: &O,
        pods: Vec<Arc<Pod>>,
    ) -> anyhow::Result<()> {
        let api = &self.api(owner);
        let answers: Vec<anyhow::Result<()>> = stream::iter(pods)
            .map(|pod| async move {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                let same_life =
                    Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
                let params =
                    DeleteParams { preconditions: Some(same_life), ..DeleteParams::default() };
                self.world.pods.cache.deleted(&pod);
                match api.delete(name, &params).await {
                    Ok(_) => {
                        let message = format!("Deleted pod: {name}");
                        self.event(owner, EventType::Normal, "SuccessfulDelete", message);
                        Ok(())
                    }
                    answer if is_status(&answer, 404) || is_status(&answer, 409) => Ok(()),
                    Err(error) => {
                        self.world.pods.cache.spared(&pod);
                        let message = format!("Error deleting: {error}");
                        self.event(owner, EventType::Warning, "FailedDelete", message);
                        Err(error.into())
                    }
                }
            })
            .buffer_unordered(CONCURRENT_PODS)
            .collect()
            .await;
        answers.into_iter().collect()
    }
}
