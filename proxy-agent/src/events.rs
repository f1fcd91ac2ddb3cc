//! Events on Services. Never waits for the API server: what it cannot take in time is
//! left out, and counted.

use std::sync::Arc;
use std::time::Duration;

use client::{EventType, Recorder};
use k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::sync::mpsc;

use crate::catalog::ServiceName;
use crate::metrics::Metrics;

/// Events that wait to be sent; more are left out.
const MAX_WAITING: usize = 256;
/// Between two events, so that ten thousand Services with one fault are no storm.
const EVERY: Duration = Duration::from_millis(500);
/// Who reports, as the API names this component.
const COMPONENT: &str = "kube-proxy";

/// A warning about a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The Service.
    pub service: ServiceName,
    /// Why, as one word.
    pub reason: &'static str,
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
        let recorder = Recorder::start(client.clone(), COMPONENT, Some(node_name.to_owned()));
        tokio::spawn(send_all(client, recorder, waiting));
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

async fn send_all(client: Client, recorder: Recorder, mut waiting: mpsc::Receiver<Warning>) {
    while let Some(Warning { service, reason, note }) = waiting.recv().await {
        match find(&client, &service).await {
            Ok(Some(service)) => recorder.event(&service, EventType::Warning, reason, note),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "cannot send an Event"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// The Service is listed for its `uid`, without which `kubectl describe` does not show
/// the Event; `system:node-proxier` may list Services, and not get one.
async fn find(client: &Client, name: &ServiceName) -> kube::Result<Option<Service>> {
    let services: Api<Service> = Api::namespaced(client.clone(), &name.namespace);
    let only = ListParams::default().fields(&format!("metadata.name={}", name.name));
    Ok(services.list(&only).await?.items.into_iter().next())
}
