//! Events about pods, as `kubectl describe` shows them.
//!
//! Repeated ones are counted, not multiplied. Never delays its caller: what does not fit the
//! queue is dropped.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use tokio::sync::mpsc;

use crate::status::api_time;

/// Events that wait to be written; further ones are dropped.
const QUEUE: usize = 256;
/// Different events whose counts are remembered; past it all are forgotten and counting begins anew.
const MAX_REMEMBERED: usize = 1024;

/// `Normal` or `Warning`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// As it should be.
    Normal,
    /// Someone may want to look.
    Warning,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    uid: String,
    field_path: Option<String>,
    severity: Severity,
    reason: &'static str,
    message: String,
}

struct Note {
    reference: ObjectReference,
    key: Key,
}

/// Where events are handed in.
#[derive(Clone, Debug)]
pub struct Events {
    queue: mpsc::Sender<Note>,
}

impl std::fmt::Debug for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.key.fmt(f)
    }
}

impl Events {
    /// Starts the task that writes events, which ends with the last handle.
    pub fn start(client: Client, node: String) -> Events {
        let (queue, notes) = mpsc::channel(QUEUE);
        tokio::spawn(write_all(client, node, notes));
        Events { queue }
    }

    /// Tells of a pod, or of one of its containers.
    pub fn pod(
        &self,
        pod: &Pod,
        container: Option<&str>,
        severity: Severity,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let field_path = container.map(|name| format!("spec.containers{{{name}}}"));
        let reference = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            field_path: field_path.clone(),
            ..Default::default()
        };
        let key = Key {
            uid: pod.uid().unwrap_or_default(),
            field_path,
            severity,
            reason,
            message: message.into(),
        };
        if self.queue.try_send(Note { reference, key }).is_err() {
            tracing::debug!(reason, "an event was dropped: the queue is full");
        }
    }
}

async fn write_all(client: Client, node: String, mut notes: mpsc::Receiver<Note>) {
    let mut written: HashMap<Key, (String, i32)> = HashMap::new();
    while let Some(note) = notes.recv().await {
        if written.len() >= MAX_REMEMBERED {
            written.clear();
        }
        let api: Api<Event> = Api::namespaced(
            client.clone(),
            note.reference.namespace.as_deref().unwrap_or("default"),
        );
        let now = api_time(Timestamp::now());
        if let Some((name, count)) = written.get_mut(&note.key) {
            *count += 1;
            let patch = serde_json::json!({"count": count, "lastTimestamp": now});
            if api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.is_ok() {
                continue;
            }
        }
        let event = new_event(&note, &node);
        let name = event.name_any();
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => drop(written.insert(note.key, (name, 1))),
            Err(error) => {
                tracing::debug!(reason = note.key.reason, "an event could not be written: {error}")
            }
        }
    }
}

fn new_event(note: &Note, node: &str) -> Event {
    let now = Timestamp::now();
    let mut event = Event {
        involved_object: note.reference.clone(),
        reason: Some(note.key.reason.into()),
        message: Some(note.key.message.clone()),
        type_: Some(format!("{:?}", note.key.severity)),
        source: Some(EventSource { component: Some("kubelet".into()), host: Some(node.into()) }),
        reporting_component: Some("kubelet".into()),
        reporting_instance: Some(node.into()),
        first_timestamp: Some(api_time(now)),
        last_timestamp: Some(api_time(now)),
        count: Some(1),
        ..Default::default()
    };
    let subject = note.reference.name.as_deref().unwrap_or("pod");
    event.metadata.name = Some(format!("{subject}.{:x}", now.as_nanosecond()));
    event.metadata.namespace = note.reference.namespace.clone();
    event
}
