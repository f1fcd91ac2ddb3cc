//! `/healthz`, `/livez`, `/metrics` and `/proxyMode` over plain HTTP, as kube-proxy
//! serves them, and `/explain`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::FutureExt;
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::json;
use tokio::net::TcpListener;

use crate::explain::{self, desk::Asker};
use crate::health::{Health, now_ms};
use crate::http_server::{Answer, accept, respond};
use crate::metrics::{Metrics, Probe};

/// Between two tries to bind an address that something else has.
const BIND_AGAIN: Duration = Duration::from_secs(5);

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

/// Which paths a listener has, as upstream parts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paths {
    /// `/healthz` and `/livez`.
    Health,
    /// `/metrics` and `/proxyMode`, and `/healthz`; also `/explain`, which tells of the
    /// whole cluster, and so only where this node alone may ask.
    Metrics,
}

/// Answers on `address` until the returned task is aborted. Where it cannot be bound,
/// that is tried again, unless `must_bind`.
///
/// # Errors
/// The address cannot be bound, and must be.
pub async fn start(
    address: SocketAddr,
    paths: Paths,
    source: Arc<Source>,
    must_bind: bool,
) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    let bind = async move || {
        let listener = TcpListener::bind(address).await;
        listener.with_context(|| format!("cannot listen on {address}: choose another address"))
    };
    let first = match bind().await {
        Ok(listener) => Some(listener),
        Err(error) if must_bind => return Err(error),
        Err(error) => {
            tracing::error!(?paths, "{error:#}; trying again every {BIND_AGAIN:?}");
            None
        }
    };
    Ok(tokio::spawn(async move {
        let mut bound = first;
        let listener = loop {
            if let Some(listener) = bound {
                break listener;
            }
            tokio::time::sleep(BIND_AGAIN).await;
            bound = bind().await.ok();
        };
        tracing::info!(?paths, "answering on {address}");
        answer_on(listener, paths, source).await;
    }))
}

/// Answers on a bound listener, without end.
pub async fn answer_on(listener: TcpListener, paths: Paths, source: Arc<Source>) {
    let answer: Answer = Arc::new(move |request| {
        let source = source.clone();
        async move {
            if (request.uri().path(), paths) == ("/explain", Paths::Metrics) {
                let (uri, headers) = (request.uri(), request.headers());
                return explain::http::answer(&source.explain, uri, headers).await;
            }
            answer(&request, paths, &source)
        }
        .boxed()
    });
    accept(listener, answer).await;
}

fn answer(request: &Request<Incoming>, paths: Paths, source: &Source) -> Response<String> {
    match (request.uri().path(), paths) {
        ("/healthz", _) => probe(source, Probe::Healthz),
        ("/livez", Paths::Health) => probe(source, Probe::Livez),
        ("/metrics", Paths::Metrics) => metrics(request, &source.metrics),
        ("/proxyMode", Paths::Metrics) => {
            respond(StatusCode::OK, "text/plain", source.mode.to_owned())
        }
        _ => respond(StatusCode::NOT_FOUND, "text/plain", "404 page not found\n".to_owned()),
    }
}

fn probe(source: &Source, probe: Probe) -> Response<String> {
    let health = &source.health;
    let is_healthy = match probe {
        Probe::Healthz => health.is_ready(),
        Probe::Livez => health.is_live(),
    };
    let status = if is_healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let now = now_ms();
    // Who is healthy has nothing left to update, as of now: so upstream, too.
    let updated = if is_healthy { now } else { health.updated_ms() };
    let mut body = json!({"lastUpdated": rfc3339(updated), "currentTime": rfc3339(now)});
    if probe == Probe::Healthz {
        body["nodeEligible"] = health.is_node_eligible().into();
    }
    source.metrics.probed(probe, status.as_u16());
    respond(status, "application/json", body.to_string())
}

/// The format that the client asks for, the older one by default.
fn metrics(request: &Request<Incoming>, metrics: &Metrics) -> Response<String> {
    let accept = request.headers().get(header::ACCEPT);
    let accept = accept.and_then(|value| value.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
        respond(
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            metrics.render_openmetrics(),
        )
    } else {
        respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics.render_text())
    }
}

fn rfc3339(milliseconds: u64) -> String {
    i64::try_from(milliseconds)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(String::new, |time| time.to_string())
}

#[cfg(test)]
mod tests;
