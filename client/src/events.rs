//! Writes core/v1 Events; a repeated one raises the count of the first.
//!
//! Never holds a controller up: events are sent from a task of their own, and dropped
//! (with a note in the log) where more than [`QUEUE_LIMIT`] wait.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use tokio::sync::mpsc;

/// How many events may wait to be written; further ones are dropped.
pub const QUEUE_LIMIT: usize = 4096;
/// How many written events are remembered for counting repetitions; then all are forgotten.
pub const REMEMBERED_LIMIT: usize = 4096;

/// `type` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// Something went as it should.
    Normal,
    /// Somebody should look.
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

struct Report {
    regarding: ObjectReference,
    event_type: EventType,
    reason: String,
    message: String,
    at: Timestamp,
}

/// Hands events over to the task that writes them.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Report>,
}

impl Recorder {
    /// A recorder for `component` (upstream's name of the controller) and the task that
    /// writes its events; the task must be run.
    pub fn new(
        client: Client,
        component: &'static str,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, receiver) = mpsc::channel(QUEUE_LIMIT);
        (Self { sender }, write_reports(client, component, receiver))
    }

    /// Reports something about an object.
    pub fn event<K: Resource<DynamicType = ()>>(
        &self,
        regarding: &K,
        event_type: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        let report = Report {
            regarding: regarding.object_ref(&()),
            event_type,
            reason: reason.to_owned(),
            message: message.into(),
            at: Timestamp::now(),
        };
        if self.sender.try_send(report).is_err() {
            tracing::warn!(reason, "too many events wait to be written; this one is dropped");
        }
    }
}

/// What makes two reports the same event.
#[derive(PartialEq, Eq, Hash)]
struct Same {
    uid: Option<String>,
    event_type: EventType,
    reason: String,
    message: String,
}

async fn write_reports(
    client: Client,
    component: &'static str,
    mut receiver: mpsc::Receiver<Report>,
) {
    let mut written: HashMap<Same, (String, i32)> = HashMap::new();
    while let Some(report) = receiver.recv().await {
        let namespace = report.regarding.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let same = Same {
            uid: report.regarding.uid.clone(),
            event_type: report.event_type,
            reason: report.reason.clone(),
            message: report.message.clone(),
        };
        if let Some((name, count)) = written.get_mut(&same) {
            let patch = serde_json::json!({"count": *count + 1, "lastTimestamp": Time(report.at)});
            if api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.is_ok() {
                *count += 1;
                continue;
            }
        }
        let event = first_event(&report, component, &namespace);
        match api.create(&PostParams::default(), &event).await {
            Ok(event) => {
                if written.len() >= REMEMBERED_LIMIT {
                    written.clear();
                }
                written.insert(same, (event.metadata.name.unwrap_or_default(), 1));
            }
            // A namespace on its way out takes no new events.
            Err(error) => tracing::debug!(reason = report.reason, %error, "event not written"),
        }
    }
}

fn first_event(report: &Report, component: &str, namespace: &str) -> Event {
    let about = report.regarding.name.clone().unwrap_or_default();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{about}.{:x}", report.at.as_nanosecond())),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: report.regarding.clone(),
        type_: Some(report.event_type.as_str().to_owned()),
        reason: Some(report.reason.clone()),
        message: Some(report.message.clone()),
        source: Some(EventSource { component: Some(component.to_owned()), host: None }),
        reporting_component: Some(component.to_owned()),
        first_timestamp: Some(Time(report.at)),
        last_timestamp: Some(Time(report.at)),
        count: Some(1),
        ..Event::default()
    }
}
