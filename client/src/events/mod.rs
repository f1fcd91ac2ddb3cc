//! Writes core/v1 Events; a repeated one raises the count of the first.
//!
//! Never holds a component up: Events are written by a task of their own, and dropped (with a
//! note in the log) where more than [`QUEUE_LIMIT`] wait.

mod correlator;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use tokio::sync::mpsc;

use self::correlator::{Correlator, Entry, Report};

/// How many Events may wait to be written; further ones are dropped.
pub const QUEUE_LIMIT: usize = 4096;
/// Bytes of a message at most, as the newer Event API has it; the rest is cut.
const MAX_MESSAGE_BYTES: usize = 1024;

/// `type` of an Event.
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

/// Hands Events over to the task that writes them.
#[derive(Clone, Debug)]
pub struct Recorder {
    sender: mpsc::Sender<Report>,
}

impl Recorder {
    /// A recorder for `component` (upstream's name of it) on the node `host`, if it has one, and
    /// the task that writes its Events, which ends with the last handle.
    pub fn start(client: Client, component: &'static str, host: Option<String>) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_LIMIT);
        tokio::spawn(write_all(client, Source { component, host }, receiver));
        Self { sender }
    }

    /// Reports something about an object.
    pub fn event<K: Resource<DynamicType = ()>>(
        &self,
        regarding: &K,
        event_type: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.about(regarding.object_ref(&()), event_type, reason, message);
    }

    /// Reports something about what the reference names, which may be a part of an object.
    pub fn about(
        &self,
        regarding: ObjectReference,
        event_type: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
        let now = Timestamp::now();
        let report = Report { regarding, event_type, reason: reason.to_owned(), message, at: now };
        if self.sender.try_send(report).is_err() {
            tracing::warn!(reason, "too many events wait to be written; this one is dropped");
        }
    }
}

struct Source {
    component: &'static str,
    host: Option<String>,
}

async fn write_all(client: Client, source: Source, mut reports: mpsc::Receiver<Report>) {
    let mut correlator = Correlator::default();
    while let Some(report) = reports.recv().await {
        let Some(entry) = correlator.correlate(&report) else {
            tracing::debug!(reason = report.reason, "too many events about one object");
            continue;
        };
        let namespace = report.regarding.namespace.as_deref().unwrap_or("default");
        let api = Api::namespaced(client.clone(), namespace);
        match write(&api, &source, &report, &entry).await {
            Ok((name, count)) => correlator.wrote(entry.same, name, count),
            // A namespace on its way out takes no new events.
            Err(error) => tracing::debug!(reason = report.reason, %error, "event not written"),
        }
    }
}

/// Writes an Event, or counts one more; returns its name and its count.
async fn write(
    api: &Api<Event>,
    source: &Source,
    report: &Report,
    entry: &Entry,
) -> kube::Result<(String, i32)> {
    if let Some((name, count)) = &entry.written {
        let patch = Patch::Merge(serde_json::json!({
            "count": count + 1, "lastTimestamp": time(report.at), "message": entry.message,
        }));
        // It may have expired: then it begins anew.
        if api.patch(name, &PatchParams::default(), &patch).await.is_ok() {
            return Ok((name.clone(), count + 1));
        }
    }
    let event = first_event(source, report, &entry.message);
    api.create(&PostParams::default(), &event).await?;
    Ok((event.metadata.name.unwrap_or_default(), 1))
}

fn first_event(source: &Source, report: &Report, message: &str) -> Event {
    let about = report.regarding.name.clone().unwrap_or_default();
    let namespace = report.regarding.namespace.clone().unwrap_or_else(|| "default".to_owned());
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{about}.{:x}", report.at.as_nanosecond())),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: report.regarding.clone(),
        type_: Some(report.event_type.as_str().to_owned()),
        reason: Some(report.reason.clone()),
        message: Some(message.to_owned()),
        source: Some(EventSource {
            component: Some(source.component.to_owned()),
            host: source.host.clone(),
        }),
        reporting_component: Some(source.component.to_owned()),
        reporting_instance: source.host.clone(),
        first_timestamp: Some(time(report.at)),
        last_timestamp: Some(time(report.at)),
        count: Some(1),
        ..Event::default()
    }
}

/// A time as the API shows it: whole seconds.
fn time(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

#[cfg(test)]
mod tests;
