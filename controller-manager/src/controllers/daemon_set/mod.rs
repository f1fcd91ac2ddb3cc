//! DaemonSets: one pod on every node that fits.
//!
//! Never binds a pod: it is pinned to its node by affinity, and the scheduler does the rest.
//! Never keeps a history: which pods are of the present template, their labels say.

mod back_off;
mod fit;
mod plan;
mod status;
#[cfg(test)]
mod tests;
mod view;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use client::cache::BY_NAMESPACE;
use client::{ControlLoop, EventType, Key, Reconciler, Recorder};
use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;

use crate::owner::{Claim, claim, controller_of, selects};
use crate::pod_control::PodControl;
use crate::world::{BY_OWNER, ORPHANS};
use crate::{World, pod, template};

use back_off::BackOff;
use fit::new_pod;
use plan::{Actions, plan};
use status::{next_available, status};
use view::{Mine, View};

/// DaemonSets worked on at the same time.
const CONCURRENT_SYNCS: usize = 8;

struct Controller {
    world: Arc<World>,
    pods: PodControl,
    back_off: Mutex<BackOff>,
}

/// Registers what makes a DaemonSet be looked at, and returns the loop that does.
pub fn start(world: Arc<World>) -> BoxFuture<'static, ()> {
    let mut control = ControlLoop::new("daemonset", CONCURRENT_SYNCS);
    control.watch(&world.daemon_sets, |change| change.key_now());
    control.watch_in(&world, &world.pods, |world, change| {
        change.states().flat_map(|pod| owners_of(world, pod)).collect::<Vec<Key>>()
    });
    control.watch_in(&world, &world.nodes, |world, change| {
        let same =
            change.old.as_deref().map(deciding_part) == change.new.as_deref().map(deciding_part);
        let sets = if same { Vec::new() } else { world.daemon_sets.cache.all() };
        sets.into_iter().map(|set| Key::of(set.as_ref()))
    });
    let recorder = Recorder::start(world.client.clone(), "daemonset-controller", None);
    let pods = PodControl::new(world.clone(), recorder);
    control.run(Controller { pods, world, back_off: Mutex::default() })
}

/// What of a node decides whether it gets a pod; heartbeats and readiness are not part of it.
fn deciding_part(node: &Node) -> impl PartialEq {
    (node.metadata.labels.clone(), node.spec.clone())
}

/// The DaemonSets a pod concerns: its controller, or those that could adopt it.
fn owners_of(world: &World, pod: &Pod) -> Vec<Key> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    match controller_of(&pod.metadata) {
        Some(owner) if owner.kind == "DaemonSet" => vec![Key::new(namespace, owner.name.clone())],
        Some(_) => Vec::new(),
        None => {
            let all = world.daemon_sets.cache.by_index(BY_NAMESPACE, namespace);
            let labels = pod.metadata.labels.as_ref();
            all.iter()
                .filter(|set| set.spec.as_ref().is_some_and(|spec| selects(&spec.selector, labels)))
                .map(|set| Key::of(set.as_ref()))
                .collect()
        }
    }
}

impl Reconciler for Controller {
    async fn sync(&self, key: &Key) -> anyhow::Result<Option<Duration>> {
        let Some(set) = self.world.daemon_sets.cache.get(key) else {
            return Ok(None);
        };
        let Some(spec) = set.spec.as_ref().filter(|spec| {
            let meta = spec.template.metadata.as_ref();
            // Pods that it would not know again must not be made without end.
            selects(&spec.selector, meta.and_then(|meta| meta.labels.as_ref()))
        }) else {
            return Ok(None);
        };
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let claim = self.claim(&set, &key.namespace);
        let cache = &self.world.pods.cache;
        let mine = claim.owned.iter().map(|pod| Mine {
            leaving: pod.metadata.deletion_timestamp.is_some() || cache.is_doomed(pod),
            pod: pod.clone(),
        });
        let hash = template::hash(&spec.template, 0);
        let nodes = self.world.nodes.cache.all();
        let view = View::new(&set, &hash, &nodes, mine.collect(), Timestamp::now());
        self.pods.claim(&*set, &claim.adopt, &claim.release).await?;
        let acted = self.act(&view, plan(&view)).await;
        self.write_status(&set, status(&view)).await?;
        Ok(acted?.into_iter().chain(next_available(&view)).min())
    }
}

impl Controller {
    fn claim(&self, set: &DaemonSet, namespace: &str) -> Claim<Pod> {
        let cache = &self.world.pods.cache;
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let mut pods = cache.by_index(BY_OWNER, uid);
        pods.extend(cache.by_index(ORPHANS, namespace));
        let selector = set.spec.as_ref().map(|spec| spec.selector.clone());
        claim(set, &selector.unwrap_or_default(), pods)
    }

    /// Does what was planned. Returns when a failed pod may go that has to stay for now.
    async fn act(&self, view: &View<'_>, actions: Actions) -> anyhow::Result<Option<Duration>> {
        let mut delete = actions.delete;
        let mut again: Option<Duration> = None;
        for (node, pod) in actions.ended {
            let wait = self.wait_for_replacement(view, &node, &pod);
            if wait.is_zero() {
                delete.push(pod);
            } else {
                again = Some(again.map_or(wait, |other| other.min(wait)));
            }
        }
        let nodes = actions.create.iter();
        let new: Vec<Pod> = nodes.map(|node| new_pod(view.set, node, view.hash)).collect();
        let created = self.pods.create(view.set, new).await;
        self.pods.delete(view.set, delete).await?;
        created.map(|()| again)
    }

    /// How long an ended pod stays, and an Event where it goes now.
    fn wait_for_replacement(&self, view: &View<'_>, node: &str, pod: &Arc<Pod>) -> Duration {
        let key = Key::of(pod.as_ref());
        if pod::phase(pod) == "Succeeded" {
            let message =
                format!("Found succeeded daemon pod {key} on node {node}, will try to delete it");
            self.pods.event(view.set, EventType::Normal, "SucceededDaemonPod", message);
            return Duration::ZERO;
        }
        let place = (
            view.set.metadata.uid.clone().unwrap_or_default(),
            view.set.metadata.generation.unwrap_or(0),
            node.to_owned(),
        );
        let wait =
            self.back_off.lock().unwrap_or_else(PoisonError::into_inner).wait(place, view.now);
        if wait.is_zero() {
            let message =
                format!("Found failed daemon pod {key} on node {node}, will try to kill it");
            self.pods.event(view.set, EventType::Warning, "FailedDaemonPod", message);
        }
        wait
    }

    async fn write_status(&self, set: &DaemonSet, status: DaemonSetStatus) -> anyhow::Result<()> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<DaemonSet> = Api::namespaced(self.world.client.clone(), namespace);
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let changed = DaemonSet { status: Some(status), ..set.clone() };
        let answer = api.replace_status(name, &PostParams::default(), &changed).await;
        self.world.daemon_sets.keep(answer).context("writing the status of a DaemonSet")
    }
}
