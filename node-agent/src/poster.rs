//! Writes a pod's status to the API server: the newest one, at once, until it is taken.
//!
//! Statuses that were outdated before they could be written are never written.

use std::time::Duration;

use client::BackOff;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};
use tokio::sync::watch;

/// Between tries while the API server does not take a write.
const RETRY: BackOff = BackOff::new(Duration::from_millis(100), Duration::from_secs(5));

/// Which object a status belongs to.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID in the API; `None` for the mirror of a static pod, which may be made anew.
    pub uid: Option<String>,
}

/// Posts until the sender has gone.
pub async fn run(
    client: Client,
    subject: Subject,
    mut statuses: watch::Receiver<Option<PodStatus>>,
) {
    let api: Api<Pod> = Api::namespaced(client, &subject.namespace);
    let mut retry = RETRY;
    while statuses.changed().await.is_ok() {
        loop {
            let Some(status) = statuses.borrow_and_update().clone() else {
                break;
            };
            let patch = Patch::Merge(body(&status, subject.uid.as_deref()));
            let error = match api.patch_status(&subject.name, &PatchParams::default(), &patch).await
            {
                Ok(_) => break,
                Err(error) => error,
            };
            let code = if let kube::Error::Api(status) = &error { status.code } else { 0 };
            // Gone, or another pod of the same name: nothing is left to tell.
            if subject.uid.is_some() && (code == 404 || code == 409) {
                break;
            }
            tracing::debug!(pod = subject.name, "post status: {error}");
            tokio::select! {
                () = tokio::time::sleep(retry.lengthen()) => {}
                changed = statuses.changed() => if changed.is_err() { return },
            }
        }
        retry.end();
    }
}

/// A merge patch: lists replace lists, and what is no longer there is named as null.
fn body(status: &PodStatus, uid: Option<&str>) -> Value {
    let mut value = serde_json::to_value(status).unwrap_or_default();
    for field in
        ["podIP", "podIPs", "reason", "message", "containerStatuses", "initContainerStatuses"]
    {
        if value.get(field).is_none() {
            value[field] = Value::Null;
        }
    }
    match uid {
        Some(uid) => json!({"metadata": {"uid": uid}, "status": value}),
        None => json!({"status": value}),
    }
}

/// Removes a pod whose containers have ended. Tries until the API server has answered.
pub async fn delete(client: Client, subject: &Subject) {
    let api: Api<Pod> = Api::namespaced(client, &subject.namespace);
    let preconditions =
        subject.uid.clone().map(|uid| Preconditions { uid: Some(uid), resource_version: None });
    let params =
        DeleteParams { grace_period_seconds: Some(0), preconditions, ..Default::default() };
    let mut retry = RETRY;
    loop {
        match api.delete(&subject.name, &params).await {
            Ok(_) => return,
            Err(kube::Error::Api(status))
                if (400..500).contains(&status.code) && status.code != 429 =>
            {
                if status.code != 404 && status.code != 409 {
                    tracing::warn!(
                        pod = subject.name,
                        "could not remove the ended pod: {}",
                        status.message
                    );
                }
                return;
            }
            Err(error) => tracing::debug!(pod = subject.name, "remove the ended pod: {error}"),
        }
        tokio::time::sleep(retry.lengthen()).await;
    }
}
