//! `/health` and `/ready` for probes, and `/metrics`. Never says anything about a name.

use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Metrics;
use crate::state::State;

/// Serves the probes until dropped. Alive from the start; ready when every
/// Service and EndpointSlice is known.
pub async fn serve(listener: TcpListener, state: Arc<State>) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/health", get(async || "OK"))
        .route("/ready", get(ready))
        .with_state(state);
    axum::serve(listener, routes).await
}

/// Serves `/metrics` until dropped, as OpenMetrics text.
pub async fn serve_metrics(listener: TcpListener, metrics: Arc<Metrics>) -> std::io::Result<()> {
    let routes = Router::new().route("/metrics", get(render)).with_state(metrics);
    axum::serve(listener, routes).await
}

async fn render(Shared(metrics): Shared<Arc<Metrics>>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics.render())
}

async fn ready(Shared(state): Shared<Arc<State>>) -> (StatusCode, String) {
    let missing = state.missing();
    if missing.is_empty() {
        return (StatusCode::OK, "OK".to_owned());
    }
    let text = format!("waiting for the first list of {}", missing.join(" and "));
    (StatusCode::SERVICE_UNAVAILABLE, text)
}
