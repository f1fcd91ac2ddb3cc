//! An API server in the test's own process, over a store in memory, and the few verbs that
//! tests speak to it. Never opens a port: see `secure` for that.

#![allow(dead_code)]

pub mod kubectl;
pub mod secure;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use apiserver::{
    ApiService, Parts, Server,
    advertise::Advertised,
    allocate::Allocators,
    authenticate::Tokens,
    bootstrap::bootstrap,
    identity::{Identity, Peer},
    router, start,
    stream::node::NodeClient,
};
use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Request};
use serde_json::{Value, json};
use store::{Embedded, Store};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// A server, and the way to it.
#[derive(Clone)]
pub struct Api {
    pub server: Arc<Server>,
    service: ApiService,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The answer, if it is a success.
    pub fn ok(self) -> Value {
        assert!(self.code < 300, "{} {:#}", self.code, self.body);
        self.body
    }

    /// `CODE REASON: MESSAGE`, if it is a failure.
    pub fn error(&self) -> String {
        assert!(self.code >= 400, "{} {:#}", self.code, self.body);
        let text = |field: &str| self.body[field].as_str().unwrap_or_default();
        format!("{} {}: {}", self.code, text("reason"), text("message"))
    }

    pub fn warnings(&self) -> Vec<String> {
        let values = self.headers.get_all("warning").iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    }
}

impl Api {
    /// A new cluster.
    pub async fn start() -> Self {
        Self::over(Arc::new(Embedded::in_memory().unwrap())).await
    }

    /// A server over a store that others may share.
    pub async fn over(store: Arc<dyn Store>) -> Self {
        Self::with_range(store, "10.96.0.0/16").await
    }

    pub async fn with_range(store: Arc<dyn Store>, range: &str) -> Self {
        let server = start(Parts {
            store,
            allocators: Allocators::new(&[range.parse().unwrap()], (30_000, 32_767)),
            tokens: Tokens::default(),
            nodes: NodeClient::default(),
            event_ttl: Duration::from_secs(3600),
            stop: CancellationToken::new(),
        })
        .await
        .unwrap();
        let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        bootstrap(&server, Advertised { address, port: 6443 }).await.unwrap();
        let service = router(server.clone());
        Self { server, service }
    }

    async fn send(&self, request: Request<Body>) -> http::Response<Body> {
        self.service.clone().oneshot(request).await.unwrap()
    }

    /// One request with any headers and body.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let (parts, bytes) = self.bytes(method, path, headers, body).await;
        Answer {
            code: parts.status.as_u16(),
            headers: parts.headers,
            body: serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into()),
        }
    }

    /// One request, and the body of its answer as it came.
    pub async fn bytes(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> (http::response::Parts, Bytes) {
        let mut request = Request::builder().method(method).uri(path).extension(tester());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.send(request.body(body.into()).unwrap()).await;
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (parts, bytes)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], Body::empty()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        let json = [("content-type", "application/json")];
        self.request("POST", path, &json, body.to_string()).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        let json = [("content-type", "application/json")];
        self.request("PUT", path, &json, body.to_string()).await
    }

    pub async fn merge(&self, path: &str, body: Value) -> Answer {
        let merge = [("content-type", "application/merge-patch+json")];
        self.request("PATCH", path, &merge, body.to_string()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", path, &[], Body::empty()).await
    }

    /// Opens a watch.
    pub async fn watch(&self, path: &str) -> Watch {
        let request = Request::builder().uri(path).extension(tester()).body(Body::empty()).unwrap();
        let response = self.send(request).await;
        assert_eq!(response.status(), 200);
        Watch { stream: response.into_body().into_data_stream(), rest: Vec::new() }
    }
}

/// An open watch.
pub struct Watch {
    stream: BodyDataStream,
    rest: Vec<u8>,
}

impl Watch {
    /// The next event; `None` when the watch has ended.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            self.rest.extend_from_slice(&self.stream.next().await?.unwrap());
        }
    }

    /// The next event as `TYPE NAME`.
    pub async fn told(&mut self) -> String {
        let event = self.next().await.expect("the watch goes on");
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or("-");
        format!("{} {name}", event["type"].as_str().unwrap())
    }
}

fn tester() -> Peer {
    Peer::Known(Arc::new(Identity::new("tester", [])))
}

/// A ConfigMap.
pub fn config_map(name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name },
        "data": { "value": value },
    })
}

/// A Pod; bound where a node is given.
pub fn pod(name: &str, node: &str) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name },
        "spec": { "containers": [{ "name": "main", "image": "demo" }] },
    });
    if !node.is_empty() {
        pod["spec"]["nodeName"] = node.into();
    }
    pod
}

/// A Service with one port.
pub fn service(name: &str, spec: Value) -> Value {
    let mut merged = json!({ "ports": [{ "port": 80 }] });
    for (field, value) in spec.as_object().unwrap() {
        merged[field] = value.clone();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name },
        "spec": merged,
    })
}

/// Revision of an object or list.
pub fn version(object: &Value) -> i64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}
