//! The recorder against an API that serves core/v1 Events and refuses everything else.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use http::{Method, Request, Response};
use k8s_openapi::api::core::v1::Pod;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;

type Stored = Arc<watch::Sender<BTreeMap<String, Value>>>;

async fn answer(stored: Stored, request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect_bytes().await.expect("a body");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let served = "/api/v1/namespaces/default/events";
    let event = match (head.method, head.uri.path().strip_prefix(served)) {
        (Method::POST, Some("")) if body["kind"] == "Event" && body["apiVersion"] == "v1" => {
            let name = body["metadata"]["name"].as_str().expect("a name").to_owned();
            stored.send_modify(|events| drop(events.insert(name, body.clone())));
            Some(body)
        }
        (Method::PATCH, Some(name)) => {
            let name = name.trim_start_matches('/');
            stored.send_modify(|events| {
                if let Some(event) = events.get_mut(name) {
                    event["count"] = body["count"].clone();
                }
            });
            stored.borrow().get(name).cloned()
        }
        _ => None,
    };
    let status = if event.is_some() { 200 } else { 404 };
    let refusal = || json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404});
    let text = event.unwrap_or_else(refusal).to_string();
    let response = Response::builder().status(status).body(Body::from(text.into_bytes()));
    Ok(response.expect("a response"))
}

/// Waits until the Events are these, as `REASON MESSAGE COUNT`.
async fn until(stored: &Stored, expected: &[&str]) {
    let told = |events: &BTreeMap<String, Value>| {
        let line = |event: &Value| {
            let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
            format!("{} {} {}", text("reason"), text("message"), event["count"])
        };
        let mut lines: Vec<String> = events.values().map(line).collect();
        lines.sort();
        lines == expected
    };
    stored.subscribe().wait_for(told).await.expect("a sender");
}

#[tokio::test]
async fn events_are_written_once_and_counted_and_begin_anew_when_they_have_expired() {
    let stored: Stored = Arc::new(watch::Sender::new(BTreeMap::new()));
    let served = stored.clone();
    let service = tower::service_fn(move |request| answer(served.clone(), request));
    let client = Client::new(service, "default");
    let recorder = Recorder::start(client, "kubelet", Some("node-1".to_owned()));
    let mut pod = Pod::default();
    pod.metadata.name = Some("web".to_owned());
    pod.metadata.namespace = Some("default".to_owned());
    pod.metadata.uid = Some("u".to_owned());
    let back_off = || recorder.event(&pod, EventType::Warning, "BackOff", "slow");
    back_off();
    back_off();
    recorder.event(&pod, EventType::Normal, "Started", "at last");
    until(&stored, &["BackOff slow 2", "Started at last 1"]).await;
    let event = stored.borrow().values().next().cloned().expect("an Event");
    assert_eq!(event["source"], json!({"component": "kubelet", "host": "node-1"}));
    assert_eq!(
        event["involvedObject"],
        json!({"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "web", "uid": "u"})
    );
    stored.send_modify(BTreeMap::clear);
    back_off();
    until(&stored, &["BackOff slow 1"]).await;
}
