//! Deployments: ReplicaSets that replace each other.
//!
//! Never touches pods; those are the ReplicaSets' part.

mod facts;
mod plan;
mod rollout;
mod scale;
mod sets;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use client::cache::BY_NAMESPACE;
use client::{
    ControlLoop, EventType, Key, Reconciler, Recorder, is_namespace_terminating, is_status,
};
use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use serde_json::{Value, json};

use crate::owner::{controller_of, reference_patch, selects};
use crate::world::{BY_OWNER, ORPHANS};
use crate::{World, pod, template};

use plan::{Action, Observed, Plan, reconcile};

/// Deployments worked on at the same time.
const CONCURRENT_SYNCS: usize = 32;

struct Controller {
    world: Arc<World>,
    recorder: Recorder,
}

/// Registers what makes a Deployment be looked at, and returns the loop that does.
pub fn start(world: Arc<World>) -> BoxFuture<'static, ()> {
    let mut control = ControlLoop::new("deployment", CONCURRENT_SYNCS);
    control.watch(&world.deployments, |change| change.key_now());
    control.watch_in(&world, &world.replica_sets, |world, change| {
        change.states().flat_map(|set| owners_of(world, set)).collect::<Vec<Key>>()
    });
    control.watch_in(&world, &world.pods, |world, change| {
        // Recreate waits for the last old pod to go.
        let gone = change.new.as_ref().is_none_or(|pod| pod::is_finished(pod));
        let set = change.old.as_ref().filter(|_| gone).and_then(|pod| {
            let owner = controller_of(&pod.metadata)?;
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            world.replica_sets.cache.get(&Key::new(namespace, &*owner.name))
        });
        set.iter().flat_map(|set| owners_of(world, set)).collect::<Vec<Key>>()
    });
    let recorder = Recorder::start(world.client.clone(), "deployment-controller", None);
    control.run(Controller { world, recorder })
}

/// The Deployments a ReplicaSet concerns: its controller, or those that could adopt it.
fn owners_of(world: &World, set: &ReplicaSet) -> Vec<Key> {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    match controller_of(&set.metadata) {
        Some(owner) if owner.kind == "Deployment" => vec![Key::new(namespace, owner.name.clone())],
        Some(_) => Vec::new(),
        None => {
            let all = world.deployments.cache.by_index(BY_NAMESPACE, namespace);
            let labels = set.metadata.labels.as_ref();
            let matching = all.iter().filter(|deployment| {
                deployment.spec.as_ref().is_some_and(|spec| selects(&spec.selector, labels))
            });
            matching.map(|deployment| Key::of(deployment.as_ref())).collect()
        }
    }
}

impl Reconciler for Controller {
    async fn sync(&self, key: &Key) -> anyhow::Result<Option<Duration>> {
        let Some(deployment) = self.world.deployments.cache.get(key) else {
            return Ok(None);
        };
        let cache = &self.world.replica_sets.cache;
        let mut replica_sets =
            cache.by_index(BY_OWNER, deployment.metadata.uid.as_deref().unwrap_or_default());
        let pods: Vec<Arc<Pod>> = if facts::is_rolling(&deployment) {
            Vec::new()
        } else {
            let uids = replica_sets.iter().filter_map(|set| set.metadata.uid.as_deref());
            uids.flat_map(|uid| self.world.pods.cache.by_index(BY_OWNER, uid)).collect()
        };
        replica_sets.extend(cache.by_index(ORPHANS, &key.namespace));
        replica_sets.retain(|set| !cache.is_doomed(set));
        let Plan { actions, again_after } = reconcile(
            Observed { deployment: &deployment, replica_sets, pods: &pods },
            Timestamp::now(),
        );
        for action in actions {
            self.run(&deployment, action).await?;
        }
        Ok(again_after)
    }
}

impl Controller {
    async fn run(&self, deployment: &Deployment, action: Action) -> anyhow::Result<()> {
        match action {
            Action::Adopt(set) => {
                let patch = reference_patch(deployment, set.as_ref(), true);
                self.patch_set(&set, patch).await.context("adopting a ReplicaSet")
            }
            Action::Release(set) => {
                let patch = reference_patch(deployment, set.as_ref(), false);
                self.patch_set(&set, patch).await.context("releasing a ReplicaSet")
            }
            Action::Create(set) => self.create(deployment, *set).await,
            Action::Annotate(set, annotations, min_ready_seconds) => {
                let patch = json!({
                    "metadata": {"uid": set.metadata.uid, "annotations": annotations},
                    "spec": {"minReadySeconds": min_ready_seconds},
                });
                self.patch_set(&set, patch).await.context("annotating a ReplicaSet")
            }
            Action::Scale(set, to) => self.scale(deployment, &set, to).await,
            Action::Delete(set) => self.delete(&set).await,
            Action::SetRevision(revision) => {
                let patch = json!({"metadata": {
                    "uid": deployment.metadata.uid,
                    "annotations": {facts::ANNOTATION_REVISION: revision},
                }});
                self.patch_status(deployment, patch).await.context("noting the revision")
            }
            Action::Status(status) => {
                let patch = status_patch(deployment, &status);
                let written = self.patch_status(deployment, patch).await;
                written.context("writing the status of a Deployment")
            }
        }
    }

    async fn patch_status(&self, deployment: &Deployment, patch: Value) -> kube::Result<()> {
        let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<Deployment> = Api::namespaced(self.world.client.clone(), namespace);
        let (name, patch) = (name(&deployment.metadata), Patch::Merge(patch));
        let written = api.patch_status(name, &PatchParams::default(), &patch).await;
        self.world.deployments.keep(written)
    }

    fn replica_sets(&self, set: &ReplicaSet) -> Api<ReplicaSet> {
        Api::namespaced(
            self.world.client.clone(),
            set.metadata.namespace.as_deref().unwrap_or_default(),
        )
    }

    async fn patch_set(&self, set: &ReplicaSet, patch: Value) -> kube::Result<()> {
        let api = self.replica_sets(set);
        let (name, patch) = (name(&set.metadata), Patch::Merge(patch));
        let written = api.patch(name, &PatchParams::default(), &patch).await;
        self.world.replica_sets.keep(written)
    }

    async fn create(&self, deployment: &Deployment, set: ReplicaSet) -> anyhow::Result<()> {
        let api = self.replica_sets(&set);
        let answer = api.create(&PostParams::default(), &set).await;
        if is_status(&answer, 409) {
            return self.resolve_collision(deployment, &set, &api).await;
        }
        let created = answer.map_err(|error| {
            let error = anyhow::Error::from(error);
            if !is_namespace_terminating(&error) {
                let message = format!(
                    "Failed to create new replica set \"{}\": {error:#}",
                    name(&set.metadata)
                );
                self.recorder.event(
                    deployment,
                    EventType::Warning,
                    "ReplicaSetCreateError",
                    message,
                );
            }
            error
        })?;
        let to = facts::replicas(&created);
        if to > 0 {
            self.report_scaling(deployment, &created, 0, to);
        }
        self.world.replica_sets.wrote(created);
        Ok(())
    }

    /// A ReplicaSet of that name exists: ours, seen too late, or somebody else's.
    async fn resolve_collision(
        &self,
        deployment: &Deployment,
        set: &ReplicaSet,
        api: &Api<ReplicaSet>,
    ) -> anyhow::Result<()> {
        let existing =
            api.get(name(&set.metadata)).await.context("looking at a ReplicaSet in the way")?;
        let template =
            |set: &ReplicaSet| set.spec.clone().and_then(|spec| spec.template).unwrap_or_default();
        let ours = controller_of(&existing.metadata)
            .is_some_and(|owner| Some(&owner.uid) == deployment.metadata.uid.as_ref());
        if ours && template::equal(&template(&existing), &template(set)) {
            self.world.replica_sets.wrote(existing);
            return Ok(());
        }
        let collisions =
            deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
        let patch = json!({"metadata": {"uid": deployment.metadata.uid}, "status": {"collisionCount": collisions + 1}});
        self.patch_status(deployment, patch).await.context("counting a collision of names")
    }

    async fn scale(
        &self,
        deployment: &Deployment,
        set: &ReplicaSet,
        to: i32,
    ) -> anyhow::Result<()> {
        let annotations: serde_json::Map<String, Value> = facts::scale_annotations(deployment)
            .into_iter()
            .map(|(key, value)| (key, Value::String(value)))
            .collect();
        let patch = json!({"metadata": {"uid": set.metadata.uid, "annotations": annotations}, "spec": {"replicas": to}});
        self.patch_set(set, patch).await.context("scaling a ReplicaSet")?;
        let from = facts::replicas(set);
        if from != to {
            self.report_scaling(deployment, set, from, to);
        }
        Ok(())
    }

    fn report_scaling(&self, deployment: &Deployment, set: &ReplicaSet, from: i32, to: i32) {
        let direction = if to > from { "up" } else { "down" };
        let message =
            format!("Scaled {direction} replica set {} from {from} to {to}", name(&set.metadata));
        self.recorder.event(deployment, EventType::Normal, "ScalingReplicaSet", message);
    }

    async fn delete(&self, set: &ReplicaSet) -> anyhow::Result<()> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: set.metadata.uid.clone(),
                resource_version: None,
            }),
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        self.world.replica_sets.cache.deleted(set);
        let answer = self.replica_sets(set).delete(name(&set.metadata), &params).await;
        if answer.is_err() {
            self.world.replica_sets.cache.spared(set);
        }
        if !is_status(&answer, 404) {
            answer.context("deleting an old ReplicaSet")?;
        }
        Ok(())
    }
}

fn name(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

/// A merge patch from the Deployment's status to another: fields that are gone become null.
fn status_patch(deployment: &Deployment, status: &DeploymentStatus) -> Value {
    let old = serde_json::to_value(&deployment.status).unwrap_or_default();
    let mut new = serde_json::to_value(status).unwrap_or_default();
    if let (Some(old), Some(new)) = (old.as_object(), new.as_object_mut()) {
        for key in old.keys() {
            new.entry(key.clone()).or_insert(Value::Null);
        }
    }
    json!({"metadata": {"uid": deployment.metadata.uid}, "status": new})
}
