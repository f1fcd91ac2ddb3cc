//! A DaemonSet as it stands: each node, what is wanted of it, and the pods there.
//!
//! Never decides what to do about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;

use crate::pod;

use super::fit::{Fit, fit, is_updated, target_node};

/// A pod of the set.
#[derive(Clone, Debug)]
pub struct Mine {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Whether it is being deleted, or was a moment ago by this process.
    pub leaving: bool,
}

/// One node and the set's pods that run on it or are on their way there.
#[derive(Debug)]
pub struct OnNode {
    /// The node's name.
    pub name: String,
    /// What the set wants of it.
    pub fit: Fit,
    /// The pods, bound ones first, then the oldest.
    pub pods: Vec<Mine>,
}

impl OnNode {
    /// The pods that nobody has deleted.
    pub fn staying(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.iter().filter(|mine| !mine.leaving).map(|mine| &mine.pod)
    }
}

/// All that one round looks at.
#[derive(Debug)]
pub struct View<'a> {
    /// The set.
    pub set: &'a DaemonSet,
    /// The hash of its present template.
    pub hash: &'a str,
    /// Every node, by name.
    pub nodes: Vec<OnNode>,
    /// Pods that wait for a node that is not there.
    pub lost: Vec<Arc<Pod>>,
    /// The time of the round.
    pub now: Timestamp,
}

impl<'a> View<'a> {
    /// Sorts the set's pods by their nodes.
    pub fn new(
        set: &'a DaemonSet,
        hash: &'a str,
        nodes: &[Arc<Node>],
        pods: Vec<Mine>,
        now: Timestamp,
    ) -> Self {
        let mut by_name: BTreeMap<String, OnNode> = BTreeMap::new();
        for node in nodes {
            let name = node.metadata.name.clone().unwrap_or_default();
            let here = OnNode { name: name.clone(), fit: fit(set, node), pods: Vec::new() };
            by_name.insert(name, here);
        }
        let mut lost = Vec::new();
        for mine in pods {
            // A pod that has ended and is deleted already is in nobody's way.
            if mine.leaving && pod::is_finished(&mine.pod) {
                continue;
            }
            match target_node(&mine.pod).map(|name| by_name.get_mut(name)) {
                Some(Some(node)) => node.pods.push(mine),
                // Those that are bound are the pod collector's, when their node stays away.
                Some(None) if pod::node_name(&mine.pod).is_none() && !mine.leaving => {
                    lost.push(mine.pod);
                }
                _ => {}
            }
        }
        let mut nodes: Vec<OnNode> = by_name.into_values().collect();
        for node in &mut nodes {
            node.pods.sort_by_cached_key(|mine| age_rank(&mine.pod));
        }
        Self { set, hash, nodes, lost, now }
    }

    /// The nodes that ought to run a pod.
    pub fn wanted(&self) -> impl Iterator<Item = &OnNode> {
        self.nodes.iter().filter(|node| node.fit == Fit::Run)
    }

    /// Whether the pod has been ready for long enough.
    pub fn is_available(&self, pod: &Pod) -> bool {
        pod::available_in(pod, self.min_ready_seconds(), self.now)
            .is_some_and(|left| left.is_zero())
    }

    /// `spec.minReadySeconds`.
    pub fn min_ready_seconds(&self) -> i32 {
        let spec = self.set.spec.as_ref();
        spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }

    /// Whether the pod is of the present template.
    pub fn is_updated(&self, pod: &Pod) -> bool {
        is_updated(self.set, pod, self.hash)
    }
}

fn age_rank(pod: &Pod) -> impl Ord + use<> {
    let created = pod.metadata.creation_timestamp.as_ref();
    (
        pod::node_name(pod).is_none(),
        created.map_or(Timestamp::MAX, |time| time.0),
        pod.metadata.name.clone(),
    )
}
