//! The mirrors of static pods: objects in the API that show what runs here whatever the API says.
//!
//! A task of its own, told what there is. Never runs or ends a pod, and never touches an object
//! that is no mirror.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use client::{BackOff, Key};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;

/// Names a mirror's original by its hash.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// Between tries while the API does not take what is wanted.
const RETRY: BackOff = BackOff::new(Duration::from_millis(50), Duration::from_secs(1));

/// What there is, and what there ought to be.
#[derive(Clone)]
pub struct Mirrors {
    /// The static pods, by their UIDs on this node.
    pub wanted: BTreeMap<String, Arc<Pod>>,
    /// The mirrors that the API has, by namespace and name.
    pub existing: HashMap<Key, Arc<Pod>>,
}

#[derive(Debug)]
enum Step {
    Make(Arc<Pod>),
    Remove(Arc<Pod>),
}

/// Brings the mirrors in line with whatever was told last, until the teller has gone.
pub async fn keep(client: Client, node: String, mut told: watch::Receiver<Option<Mirrors>>) {
    while told.changed().await.is_ok() {
        let mut retry = RETRY;
        loop {
            let Some(mirrors) = told.borrow_and_update().clone() else {
                break;
            };
            let Err(error) = carry_out(&client, &node, plan(&mirrors)).await else {
                break;
            };
            tracing::debug!("mirrors of static pods: {error:#}");
            tokio::select! {
                changed = told.changed() => if changed.is_err() {
                    return;
                },
                () = tokio::time::sleep(retry.lengthen()) => {}
            }
        }
    }
}

/// A mirror of another manifest goes first: what is told of its end makes the new one due.
fn plan(mirrors: &Mirrors) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut known = HashSet::new();
    for (hash, pod) in &mirrors.wanted {
        let key = Key::of(pod.as_ref());
        let existing = mirrors.existing.get(&key);
        known.insert(key);
        match existing {
            None => steps.push(Step::Make(pod.clone())),
            Some(mirror) => {
                let same = mirror.annotations().get(MIRROR) == Some(hash);
                if !same || mirror.metadata.deletion_timestamp.is_some() {
                    steps.push(Step::Remove(mirror.clone()));
                }
            }
        }
    }
    let stale = mirrors.existing.iter().filter(|(key, _)| !known.contains(key));
    steps.extend(stale.map(|(_, mirror)| Step::Remove(mirror.clone())));
    steps
}

/// Every step, whatever becomes of the others; the last error.
async fn carry_out(client: &Client, node: &str, steps: Vec<Step>) -> Result<()> {
    let mut result = Ok(());
    for step in steps {
        let done = match &step {
            Step::Make(pod) => make(client, node, pod).await,
            Step::Remove(mirror) => remove(client, mirror).await,
        };
        if done.is_err() {
            result = done;
        }
    }
    result
}

async fn make(client: &Client, node: &str, pod: &Pod) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let owner = nodes.get(node).await.context("find this node")?;
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    api.create(&PostParams::default(), &mirror_of(pod, &owner)?)
        .await
        .context("make the mirror pod")?;
    Ok(())
}

/// As upstream, a mirror belongs to its node and goes with it.
fn mirror_of(pod: &Pod, node: &Node) -> Result<Pod> {
    let mut mirror = pod.clone();
    let hash = mirror.metadata.uid.take().unwrap_or_default();
    let annotations = mirror.metadata.annotations.get_or_insert_default();
    annotations.insert(MIRROR.into(), hash);
    let owner = json!({
        "apiVersion": "v1", "kind": "Node", "controller": true,
        "name": node.name_any(), "uid": node.uid().context("this node has no UID")?,
    });
    mirror.metadata.owner_references = Some(vec![serde_json::from_value(owner)?]);
    Ok(mirror)
}

async fn remove(client: &Client, mirror: &Pod) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &mirror.namespace().unwrap_or_default());
    let preconditions = Some(Preconditions { uid: mirror.uid(), resource_version: None });
    let params =
        DeleteParams { grace_period_seconds: Some(0), preconditions, ..Default::default() };
    match api.delete(&mirror.name_any(), &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(error) => Err(error).context("remove the old mirror pod"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name=hash`; a mirror on its way out has a `-` behind it.
    fn pod(text: &str, mirror: bool) -> Arc<Pod> {
        let (name, hash) = text.split_once('=').unwrap();
        let ending = hash.ends_with('-');
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "kube-system", "uid": hash},
        });
        if mirror {
            pod["metadata"]["annotations"] = json!({ MIRROR: hash.trim_end_matches('-') });
        }
        if ending {
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn check(wanted: &str, existing: &str, steps: &str) {
        let wanted = wanted.split_whitespace().map(|text| pod(text, false));
        let existing = existing.split_whitespace().map(|text| pod(text, true));
        let mirrors = Mirrors {
            wanted: wanted.map(|pod| (pod.uid().unwrap(), pod)).collect(),
            existing: existing.map(|pod| (Key::of(pod.as_ref()), pod)).collect(),
        };
        let found: Vec<String> = plan(&mirrors)
            .iter()
            .map(|step| match step {
                Step::Make(pod) => format!("make {}={}", pod.name_any(), pod.uid().unwrap()),
                Step::Remove(pod) => format!("remove {}={}", pod.name_any(), pod.uid().unwrap()),
            })
            .collect();
        assert_eq!(found.join(", "), steps);
    }

    #[test]
    fn mirrors_follow_the_manifests() {
        check("a=1", "", "make a=1");
        check("a=1", "a=1", "");
        check("a=2", "a=1", "remove a=1");
        check("a=1", "a=1-", "remove a=1-");
        check("", "a=1", "remove a=1");
        check("a=1 b=2", "b=2 c=3", "make a=1, remove c=3");
    }

    #[test]
    fn a_mirror_belongs_to_its_node() {
        let node = json!({"metadata": {"name": "worker-1", "uid": "u"}});
        let mirror = mirror_of(&pod("a=1", false), &serde_json::from_value(node).unwrap()).unwrap();
        assert_eq!(mirror.metadata.uid, None);
        assert_eq!(mirror.annotations()[MIRROR], "1");
        let owner = &mirror.owner_references()[0];
        assert_eq!(
            (owner.kind.as_str(), owner.name.as_str(), owner.uid.as_str()),
            ("Node", "worker-1", "u")
        );
        assert_eq!(owner.controller, Some(true));
    }
}
