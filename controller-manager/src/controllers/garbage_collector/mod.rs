//! Deletes what nobody owns any more, and ends foreground and orphaning deletions.
//!
//! Never deletes on the word of a watch: an owner's absence is asked of the API server,
//! and a deletion names the UID it means.

mod graph;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use client::{BackOff, ControlLoop, Reconciler, Update, WorkQueue, follow, is_status};
use futures::StreamExt;
use futures::future::BoxFuture;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::World;
use crate::kinds::{AnyObject, Kind, discover};

use graph::{Decision, Graph, Node, ORPHAN};

/// Objects worked on at the same time.
const CONCURRENT_OBJECTS: usize = 32;
/// How often discovery is asked for kinds that are new.
const DISCOVERY_INTERVAL: Duration = Duration::from_secs(30);
/// The delays after discovery failed.
const DISCOVERY_RETRY: BackOff = BackOff::new(Duration::from_secs(1), DISCOVERY_INTERVAL);

struct Collector {
    client: Client,
    graph: Mutex<Graph>,
    kinds: Mutex<Vec<Kind>>,
    queue: Arc<WorkQueue<String>>,
    /// Kinds watched, and those of them whose first list is in.
    listed: watch::Sender<(usize, usize)>,
}

/// Starts the watches and returns the loop that collects.
pub fn start(world: Arc<World>) -> BoxFuture<'static, ()> {
    let mut control = ControlLoop::new("garbagecollector", CONCURRENT_OBJECTS);
    let collector = Arc::new(Collector {
        client: world.client.clone(),
        graph: Mutex::default(),
        kinds: Mutex::default(),
        queue: control.queue(),
        listed: watch::Sender::new((0, 0)),
    });
    let mut listed = collector.listed.subscribe();
    control.after(async move {
        // The sender lives in the collector, so this cannot fail while it is awaited.
        let _ = listed.wait_for(|(watched, listed)| *watched > 0 && listed >= watched).await;
    });
    let collect = control.run(Worker(collector.clone()));
    Box::pin(async move {
        tokio::join!(watch_all(collector), collect);
    })
}

struct Worker(Arc<Collector>);

impl Reconciler<String> for Worker {
    async fn sync(&self, uid: &String) -> anyhow::Result<Option<Duration>> {
        self.0.sync(uid).await.map(|()| None)
    }
}

/// Watches every kind discovery tells of, also those it tells of later.
async fn watch_all(collector: Arc<Collector>) {
    let mut watched: HashSet<Kind> = HashSet::new();
    let mut watches = JoinSet::new();
    let mut retry = DISCOVERY_RETRY;
    loop {
        let pause = match discover(&collector.client, false).await {
            Ok(kinds) => {
                for kind in kinds.iter().filter(|kind| watched.insert((*kind).clone())) {
                    collector.listed.send_modify(|(watched, _)| *watched += 1);
                    watches.spawn(watch_kind(collector.clone(), kind.clone()));
                }
                *collector.kinds.lock().unwrap_or_else(PoisonError::into_inner) = kinds;
                retry.end();
                DISCOVERY_INTERVAL
            }
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "discovery failed; trying again");
                retry.lengthen()
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn watch_kind(collector: Arc<Collector>, kind: Kind) {
    let api: Api<AnyObject> = Api::all_with(collector.client.clone(), &kind.resource);
    let mut updates = follow(api, "");
    let mut first = true;
    while let Some(update) = updates.next().await {
        let affected = match update {
            Update::Listing => Vec::new(),
            Update::Set(object) => collector.graph().observe(&kind, object.metadata),
            Update::Gone(life) => collector.graph().remove(&life.uid),
            Update::Synced => {
                if std::mem::take(&mut first) {
                    collector.listed.send_modify(|(_, listed)| *listed += 1);
                }
                Vec::new()
            }
        };
        affected.into_iter().for_each(|uid| collector.queue.add(uid));
    }
}

impl Collector {
    fn graph(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn sync(&self, uid: &str) -> anyhow::Result<()> {
        let Some(node) = self.graph().get(uid).cloned() else {
            return Ok(());
        };
        let absent = self.absent_owners(&node).await?;
        let decision =
            self.graph().decide(uid, &|owner| absent.get(&owner.uid).copied().unwrap_or(false));
        match decision {
            Decision::Keep => self.wake_blockers(uid, &node),
            Decision::Release(finalizer) => self.remove_finalizer(&node, finalizer).await?,
            Decision::Orphan(dependents) => {
                for dependent in dependents {
                    let held = self.graph().get(&dependent).cloned();
                    if let Some(held) = held {
                        self.remove_owners(&held, &[uid.to_owned()]).await?;
                    }
                }
                self.remove_finalizer(&node, ORPHAN).await?;
            }
            Decision::Unlink(owners) => {
                let uids: Vec<String> = owners.into_iter().map(|owner| owner.uid).collect();
                self.remove_owners(&node, &uids).await?;
            }
            Decision::DeleteForeground => self.delete(&node, PropagationPolicy::Foreground).await?,
            Decision::Delete => {
                let policy = if node.has_finalizer(ORPHAN) {
                    PropagationPolicy::Orphan
                } else if node.has_finalizer(graph::FOREGROUND) {
                    PropagationPolicy::Foreground
                } else {
                    PropagationPolicy::Background
                };
                self.delete(&node, policy).await?;
            }
        }
        Ok(())
    }

    /// An owner that waits has its dependents looked at.
    fn wake_blockers(&self, uid: &str, node: &Node) {
        if node.waits_for_dependents() {
            let dependents = self.graph().dependents_of(uid);
            dependents.into_iter().for_each(|dependent| self.queue.add(dependent));
        }
    }

    /// Asks the API server for each owner that the graph does not hold.
    async fn absent_owners(&self, node: &Node) -> anyhow::Result<HashMap<String, bool>> {
        let mut absent = HashMap::new();
        let unknown: Vec<OwnerReference> = {
            let graph = self.graph();
            node.owners().iter().filter(|owner| graph.get(&owner.uid).is_none()).cloned().collect()
        };
        for owner in unknown {
            let gone = self.is_absent(&owner, node.meta.namespace.as_deref()).await?;
            absent.insert(owner.uid, gone);
        }
        Ok(absent)
    }

    async fn is_absent(
        &self,
        owner: &OwnerReference,
        namespace: Option<&str>,
    ) -> anyhow::Result<bool> {
        let kind = {
            let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
            let named = |kind: &&Kind| {
                kind.resource.api_version == owner.api_version && kind.resource.kind == owner.kind
            };
            kinds.iter().find(named).cloned()
        };
        // A kind nobody serves cannot be asked about: such an owner keeps its dependents.
        let Some(kind) = kind else { return Ok(false) };
        let api: Api<AnyObject> = match namespace.filter(|_| kind.namespaced) {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &kind.resource),
            // A cluster-scoped object cannot have an owner in a namespace.
            None if kind.namespaced => return Ok(true),
            None => Api::all_with(self.client.clone(), &kind.resource),
        };
        let held = api
            .get_opt(&owner.name)
            .await
            .with_context(|| format!("asking for the owner {} {}", owner.kind, owner.name))?;
        Ok(held.is_none_or(|held| held.metadata.uid.as_deref() != Some(&owner.uid)))
    }

    fn api(&self, node: &Node) -> Api<AnyObject> {
        match node.meta.namespace.as_deref().filter(|_| node.kind.namespaced) {
            Some(namespace) => {
                Api::namespaced_with(self.client.clone(), namespace, &node.kind.resource)
            }
            None => Api::all_with(self.client.clone(), &node.kind.resource),
        }
    }

    async fn remove_finalizer(&self, node: &Node, finalizer: &str) -> anyhow::Result<()> {
        let mut left = node.meta.finalizers.clone().unwrap_or_default();
        left.retain(|held| held != finalizer);
        self.patch(node, json!({"finalizers": left})).await.context("taking off a finalizer")
    }

    async fn remove_owners(&self, node: &Node, uids: &[String]) -> anyhow::Result<()> {
        let mut left = node.meta.owner_references.clone().unwrap_or_default();
        left.retain(|owner| !uids.contains(&owner.uid));
        self.patch(node, json!({"ownerReferences": left})).await.context("dropping owners")
    }

    /// Patches metadata of exactly the state that was looked at.
    async fn patch(&self, node: &Node, mut metadata: serde_json::Value) -> anyhow::Result<()> {
        metadata["uid"] = json!(node.meta.uid);
        metadata["resourceVersion"] = json!(node.meta.resource_version);
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let name = node.meta.name.as_deref().unwrap_or_default();
        let answer = self.api(node).patch(name, &PatchParams::default(), &patch).await;
        if !is_status(&answer, 404) {
            answer?;
        }
        Ok(())
    }

    async fn delete(&self, node: &Node, policy: PropagationPolicy) -> anyhow::Result<()> {
        let name = node.meta.name.as_deref().unwrap_or_default();
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: node.meta.uid.clone(),
                // A new owner may have come since; then this is decided again.
                resource_version: node.meta.resource_version.clone(),
            }),
            propagation_policy: Some(policy),
            ..DeleteParams::default()
        };
        tracing::debug!(kind = node.kind.resource.kind, name, "deleting what nobody owns");
        let answer = self.api(node).delete(name, &params).await;
        if !is_status(&answer, 404) {
            answer.with_context(|| format!("deleting {} {name}", node.kind.resource.kind))?;
        }
        Ok(())
    }
}
