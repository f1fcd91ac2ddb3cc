//! Events about pods, as `kubectl describe` shows them.

pub use client::EventType as Severity;
use client::Recorder;
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, Resource};

/// Where events are handed in.
#[derive(Clone, Debug)]
pub struct Events(Recorder);

impl Events {
    /// Starts the task that writes events, which ends with the last handle.
    pub fn start(client: Client, node: String) -> Events {
        Events(Recorder::start(client, "kubelet", Some(node)))
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
        let mut reference = pod.object_ref(&());
        reference.field_path = container.map(|name| format!("spec.containers{{{name}}}"));
        self.0.about(reference, severity, reason, message);
    }
}
