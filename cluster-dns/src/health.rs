//! `/health` and `/ready` for probes. Never says anything about a name.

use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

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

async fn ready(Shared(state): Shared<Arc<State>>) -> (StatusCode, String) {
    let missing = state.missing();
    if missing.is_empty() {
        return (StatusCode::OK, "OK".to_owned());
    }
    let text = format!("waiting for the first list of {}", missing.join(" and "));
    (StatusCode::SERVICE_UNAVAILABLE, text)
}
