//! `/healthz`, `/livez`, `/metrics` and `/proxyMode` over plain HTTP, as
//! kube-proxy serves them, and `/explain`. Never changes anything.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::explain::{self, desk::Asker};
use crate::metrics::Metrics;

/// What the listener for metrics is called.
pub const METRICS: &str = "metrics";
const EXPLAIN: &str = "/explain";
/// Connections to one listener at a time; more wait in its backlog.
const MAX_CONNECTIONS: usize = 64;
/// A client that has not sent its request's head by then is hung up on.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A change that waits longer for the kernel makes the agent unhealthy.
const MAX_LAG_MS: u64 = 60_000;

/// What the probes are answered from. Times are milliseconds since 1970, 0: never.
#[derive(Default)]
pub struct Health {
    updated_ms: AtomicU64,
    waiting_since_ms: AtomicU64,
}

impl Health {
    /// A change waits for the kernel.
    pub fn queued(&self) {
        let _ = self.waiting_since_ms.compare_exchange(
            0,
            now_ms(),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    /// The kernel has all that was known.
    pub fn updated(&self) {
        self.waiting_since_ms.store(0, Ordering::Relaxed);
        self.updated_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// Rules are programmed and no change waits for long.
    fn is_ready(&self) -> bool {
        self.updated_ms.load(Ordering::Relaxed) != 0 && self.is_live()
    }

    fn is_live(&self) -> bool {
        match self.waiting_since_ms.load(Ordering::Relaxed) {
            0 => true,
            since => now_ms().saturating_sub(since) < MAX_LAG_MS,
        }
    }
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// Everything an answer can be made from.
pub struct Source {
    /// For the probes.
    pub health: Arc<Health>,
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// For `/proxyMode`.
    pub mode: &'static str,
    /// For `/explain`.
    pub explain: Asker,
}

/// Binds `address` and answers until the returned task is aborted.
pub async fn start(
    address: SocketAddr,
    what: &'static str,
    source: Arc<Source>,
) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} for {what}: choose another address")
    })?;
    tracing::info!("{what} on {}", listener.local_addr()?);
    Ok(tokio::spawn(accept(listener, what, source)))
}

/// Answers on a bound listener, without end.
pub async fn accept(listener: TcpListener, what: &'static str, source: Arc<Source>) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: let some be closed.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let source = source.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let source = source.clone();
                async move {
                    Ok::<_, Infallible>(match request.uri().path() {
                        EXPLAIN => explained(&request, &source, what).await,
                        _ => answer(&request, &source),
                    })
                }
            });
            // A client that goes away is no concern of the agent.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(permit);
        });
    }
}

/// Only where metrics are, which is this node alone: it tells of the whole cluster.
async fn explained(
    request: &Request<Incoming>,
    source: &Source,
    what: &'static str,
) -> Response<String> {
    if what != METRICS {
        return answer(request, source);
    }
    explain::http::answer(&source.explain, request.uri(), request.headers()).await
}

fn answer(request: &Request<Incoming>, source: &Source) -> Response<String> {
    let probe = |healthy: bool| {
        let status = if healthy {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        let updated_ms = source.health.updated_ms.load(Ordering::Relaxed);
        let body = serde_json::json!({
            "lastUpdated": rfc3339(updated_ms),
            "currentTime": rfc3339(now_ms()),
            "nodeEligible": true,
        });
        respond(status, "application/json", body.to_string())
    };
    match request.uri().path() {
        "/healthz" => probe(source.health.is_ready()),
        "/livez" => probe(source.health.is_live()),
        "/metrics" => respond(
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            source.metrics.render(),
        ),
        "/proxyMode" => respond(StatusCode::OK, "text/plain", source.mode.to_owned()),
        _ => respond(
            StatusCode::NOT_FOUND,
            "text/plain",
            "404 page not found\n".to_owned(),
        ),
    }
}

fn rfc3339(milliseconds: u64) -> String {
    i64::try_from(milliseconds)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(String::new, |time| time.to_string())
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static(content_type),
    );
    response
}
