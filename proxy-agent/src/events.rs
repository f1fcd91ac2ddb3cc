//! Events on Services. Never waits for the API server: what it cannot take in time is
//! left out, and counted.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, Service};
use kube::api::ListParams;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc;

use crate::catalog::ServiceName;
use crate::metrics::Metrics;

/// Events that wait to be sent; more are left out.
const MAX_WAITING: usize = 256;
/// Between two events, so that ten thousand Services with one fault are no storm.
const EVERY: Duration = Duration::from_millis(500);
/// Who reports, as the API names this component.
const CONTROLLER: &str = "kube-proxy";
/// Bytes of a note at most: the API's limit.
const MAX_NOTE_BYTES: usize = 1024;

/// A warning about a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The Service.
    pub service: ServiceName,
    /// Why, as one word.
    pub reason: &'static str,
    /// What was being done, as one word.
    pub action: &'static str,
    /// The whole story.
    pub note: String,
}

/// Where warnings go.
#[derive(Clone)]
pub struct Events {
    sender: mpsc::Sender<Warning>,
    metrics: Arc<Metrics>,
}

impl Events {
    /// Begins to send what is handed in, until the last `Events` is dropped.
    pub fn start(client: Client, node_name: &str, metrics: Arc<Metrics>) -> Events {
        let (events, waiting) = Events::channel(metrics);
        let reporter =
            Reporter { controller: CONTROLLER.to_owned(), instance: Some(node_name.to_owned()) };
        tokio::spawn(send_all(client, reporter, waiting));
        events
    }

    /// A queue that nobody empties yet.
    pub fn channel(metrics: Arc<Metrics>) -> (Events, mpsc::Receiver<Warning>) {
        let (sender, waiting) = mpsc::channel(MAX_WAITING);
        (Events { sender, metrics }, waiting)
    }

    /// Hands a warning in; where too many wait, it is only in the log.
    pub fn warn(&self, warning: Warning) {
        tracing::warn!(service = %warning.service, reason = warning.reason, "{}", warning.note);
        if self.sender.try_send(warning).is_err() {
            self.metrics.events_left_out.inc();
        }
    }
}

async fn send_all(client: Client, reporter: Reporter, mut waiting: mpsc::Receiver<Warning>) {
    let recorder = Recorder::new(client.clone(), reporter);
    while let Some(warning) = waiting.recv().await {
        if let Err(error) = send(&client, &recorder, warning).await {
            tracing::warn!(%error, "cannot send an Event");
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// The Service is listed for its `uid`, without which `kubectl describe` does not show
/// the Event; `system:node-proxier` may list Services, and not get one.
async fn send(client: &Client, recorder: &Recorder, warning: Warning) -> kube::Result<()> {
    let services: Api<Service> = Api::namespaced(client.clone(), &warning.service.namespace);
    let only = format!("metadata.name={}", warning.service.name);
    let listed = services.list(&ListParams::default().fields(&only)).await?;
    let Some(service) = listed.items.first() else {
        return Ok(());
    };
    let regarding = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Service".to_owned()),
        namespace: Some(warning.service.namespace.clone()),
        name: Some(warning.service.name.clone()),
        uid: service.uid(),
        ..ObjectReference::default()
    };
    let mut note = warning.note;
    note.truncate(note.floor_char_boundary(MAX_NOTE_BYTES));
    let event = Event {
        type_: EventType::Warning,
        reason: warning.reason.to_owned(),
        note: Some(note),
        action: warning.action.to_owned(),
        secondary: None,
    };
    recorder.publish(&event, &regarding).await
}
