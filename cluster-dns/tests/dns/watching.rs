//! The watches, against a small API server of the test's own on loopback. Never a real one.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State as Shared};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use cluster_dns::state::State;
use cluster_dns::table::Table;
use cluster_dns::{health, watch};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};

/// Long enough for any loopback exchange; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a condition is looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// Events on their way to the watch; the tests send one at a time.
const EVENTS: usize = 4;

/// Services come from a list and then from the channel; slices only once `slices` is unlocked.
struct Api {
    services: Mutex<Vec<Value>>,
    events: Mutex<mpsc::Receiver<Value>>,
    slices: Mutex<()>,
}

impl Api {
    /// Listens on loopback; gives itself, its address, and where its events are put in.
    async fn serve(services: Vec<Value>) -> (Arc<Self>, String, mpsc::Sender<Value>) {
        let (events, receiver) = mpsc::channel(EVENTS);
        let api = Arc::new(Self {
            services: Mutex::new(services),
            events: Mutex::new(receiver),
            slices: Mutex::new(()),
        });
        let routes = Router::new()
            .route("/api/v1/{kind}", get(serve_kind))
            .route("/apis/discovery.k8s.io/v1/{kind}", get(serve_kind))
            .with_state(Arc::clone(&api));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, routes).await });
        (api, url, events)
    }
}

async fn serve_kind(
    Shared(api): Shared<Arc<Api>>,
    Path(kind): Path<String>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Response {
    let watching = parameters.iter().any(|(key, value)| key == "watch" && value == "true");
    let services = kind == "services";
    if !services {
        drop(api.slices.lock().await);
    }
    if !watching {
        let items = if services { api.services.lock().await.clone() } else { vec![] };
        return axum::Json(json!({
            "kind": "List", "apiVersion": "v1",
            "metadata": {"resourceVersion": "10"}, "items": items,
        }))
        .into_response();
    }
    if !services {
        return Body::from_stream(futures::stream::pending::<Result<String, Infallible>>())
            .into_response();
    }
    // One watch lasts for one event, so that it is resumed or listed anew.
    let lines = futures::stream::once(async move {
        match api.events.lock().await.recv().await {
            Some(event) => Ok::<_, Infallible>(format!("{event}\n")),
            None => std::future::pending().await,
        }
    });
    Body::from_stream(lines.boxed()).into_response()
}

fn service(name: &str, address: &str, version: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "resourceVersion": version.to_string()},
        "spec": {"clusterIP": address, "clusterIPs": [address]},
    })
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let reached = async {
        while !condition().await {
            tokio::time::sleep(GLANCE).await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    assert!(reached.is_ok(), "never happened: {what}");
}

async fn ready_status(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = "GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_table_follows_the_api() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listed = [("web", "10.96.0.20"), ("gone", "10.96.0.21")];
    let listed = listed.map(|(name, address)| service(name, address, 5));
    let (api, url, events) = Api::serve(listed.to_vec()).await;
    let held_back = api.slices.lock().await;

    let config = kube::Config::new(url.parse().unwrap());
    let client = kube::Client::try_from(config).unwrap();
    let state = Arc::new(State::new(Table::new(1)));
    let probes = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let probes_address = probes.local_addr().unwrap();
    tokio::spawn(health::serve(probes, Arc::clone(&state)));
    tokio::spawn(watch::follow(client, Arc::clone(&state)));
    let known = |name: &'static str| {
        let state = Arc::clone(&state);
        async move || state.read().service("default", name).is_some()
    };

    until("the listed Service is known", known("web")).await;
    until("all Services are known", async || state.missing() == ["endpointslices"]).await;
    assert_eq!(ready_status(probes_address).await, "503");
    drop(held_back);
    until("ready", async || ready_status(probes_address).await == "200").await;

    events
        .send(json!({"type": "ADDED", "object": service("new", "10.96.0.22", 11)}))
        .await
        .unwrap();
    until("the added Service is known", known("new")).await;
    events
        .send(json!({"type": "DELETED", "object": service("web", "10.96.0.20", 12)}))
        .await
        .unwrap();
    until("the deleted Service is gone", async || !known("web")().await).await;

    // A watch that is too old lists anew, and what is not listed any more goes.
    *api.services.lock().await = vec![service("new", "10.96.0.22", 11)];
    let expired = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old resource version", "reason": "Expired", "code": 410,
    });
    events.send(json!({"type": "ERROR", "object": expired})).await.unwrap();
    until("what is not listed is gone", async || !known("gone")().await).await;
    assert!(known("new")().await);
}
