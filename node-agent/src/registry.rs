//! The pods that run here, as clients of the agent's own server name them.
//!
//! Derived from what the workers publish. Never touches a container.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::lifecycle::{Record, State};

/// One container, found by name.
#[derive(Clone, Debug)]
pub struct Found {
    /// The pod's UID on this node.
    pub uid: String,
    /// The container's name.
    pub container: String,
    /// Its latest instance.
    pub id: String,
    /// That instance's number.
    pub attempt: u32,
    /// Why it does not run, for people; `None` while it does.
    pub stopped: Option<String>,
    /// Where its logs are.
    pub logs: PathBuf,
}

struct Entry {
    namespace: String,
    name: String,
    mirrored: bool,
    directory: PathBuf,
    containers: Vec<Record>,
}

/// All pods of this node.
#[derive(Default)]
pub struct Registry {
    pods: Mutex<HashMap<String, Entry>>,
}

impl Registry {
    /// Takes a pod's newest state; `mirrored` pods have another UID in the API.
    pub fn publish(
        &self,
        uid: &str,
        pod: &Pod,
        mirrored: bool,
        directory: PathBuf,
        containers: &[Record],
    ) {
        let entry = Entry {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            mirrored,
            directory,
            containers: containers.to_vec(),
        };
        self.pods.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), entry);
    }

    /// Forgets a pod.
    pub fn remove(&self, uid: &str) {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Finds a container; an error is for people. An empty `container` is the pod's only one.
    pub fn find(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        container: &str,
    ) -> Result<Found, String> {
        let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |own: &str, entry: &Entry| {
            entry.namespace == namespace
                && entry.name == name
                && (uid.is_empty() || entry.mirrored || own == uid)
        };
        let (own, entry) = pods
            .iter()
            .find(|(own, entry)| fits(own, entry))
            .ok_or_else(|| format!("pod {namespace}/{name} does not run on this node"))?;
        let record = match (container, entry.containers.as_slice()) {
            ("", [only]) => Some(only),
            (wanted, all) => all.iter().find(|record| record.name == wanted),
        };
        let record =
            record.ok_or_else(|| format!("container {container} is not valid for pod {name}"))?;
        Ok(Found {
            uid: own.clone(),
            container: record.name.clone(),
            id: record.id.clone(),
            attempt: record.attempt,
            stopped: why_stopped(&record.state),
            logs: entry.directory.join("logs").join(&record.name),
        })
    }
}

fn why_stopped(state: &State) -> Option<String> {
    match state {
        State::Running { .. } => None,
        State::Waiting { reason, message, .. } if message.is_empty() => Some(reason.clone()),
        State::Waiting { reason, message, .. } => Some(format!("{reason}: {message}")),
        State::Ended(ended) => {
            Some(format!("it ended with exit code {} ({})", ended.exit_code, ended.reason))
        }
    }
}
