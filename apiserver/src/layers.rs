//! What every request passes before and after its handler, as `tower` layers, outermost first.
//!
//! Nothing here knows a path or a kind: what is asked for is the router's to find out.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn, from_fn_with_state},
    response::IntoResponse,
};
use http::{HeaderName, HeaderValue, Response};
use tower::{ServiceBuilder, util::BoxCloneSyncService};
use tracing::Instrument;
use uuid::Uuid;

use crate::{authenticate::authenticate, drain, identity::Peer, server::Server};

/// The whole API as a `tower::Service`: behind a socket, or within a process.
pub type ApiService = BoxCloneSyncService<Request, Response<Body>, std::convert::Infallible>;

/// Names a request in the client's, the server's and the audit's records, as upstream.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// Longest `Audit-Id` of a client's own that is kept.
const AUDIT_ID_BYTES_MAX: usize = 64;

/// A request's identity in logs and, later, in the audit.
#[derive(Debug, Clone)]
pub struct AuditId(pub HeaderValue);

/// The routes behind every layer.
pub fn around(server: &Arc<Server>, routes: Router) -> ApiService {
    let layers = ServiceBuilder::new()
        .layer(from_fn(identify))
        .layer(from_fn(trace))
        .layer(from_fn_with_state(server.clone(), measure))
        .layer(from_fn(limit_body))
        .layer(from_fn_with_state(server.clone(), authenticated));
    // Slot: the audit goes here, where the user is known and nothing was refused yet.
    // Slot: limits of requests in flight go here, by user and verb; long-running ones apart.
    BoxCloneSyncService::new(layers.service(routes))
}

/// Gives a request its `Audit-Id`, the client's own if it has one, and tells it in the answer.
async fn identify(mut request: Request, next: Next) -> Response<Body> {
    let own = request.headers().get(AUDIT_ID).filter(|id| id.len() <= AUDIT_ID_BYTES_MAX).cloned();
    let id = own.unwrap_or_else(|| {
        let mut text = Uuid::encode_buffer();
        let text: &str = Uuid::new_v4().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("-"))
    });
    request.extensions_mut().insert(AuditId(id.clone()));
    let mut response = next.run(request).await;
    response.headers_mut().insert(AUDIT_ID, id);
    response
}

/// A span around everything that is logged on behalf of a request.
async fn trace(request: Request, next: Next) -> Response<Body> {
    let id = request.extensions().get::<AuditId>().and_then(|id| id.0.to_str().ok());
    let path = request.uri().path();
    let span = tracing::debug_span!("request", id, method = %request.method(), path);
    next.run(request).instrument(span).await
}

/// Counts requests, and times them until the head of the answer is ready.
async fn measure(
    State(server): State<Arc<Server>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let measured = server.metrics.start(&request);
    let response = next.run(request).await;
    measured.end(&server.metrics, response.status());
    response
}

/// Lets a handler read so much of a body and no more, and drops what it leaves.
async fn limit_body(request: Request, next: Next) -> Response<Body> {
    let (request, rest) = drain::lend(request);
    let response = next.run(request).await;
    rest.read().await;
    response
}

/// Puts the [`crate::identity::Identity`] among the request's extensions, or answers 401.
async fn authenticated(
    State(server): State<Arc<Server>>,
    mut request: Request,
    next: Next,
) -> Response<Body> {
    let path = request.uri().path();
    let peer = request.extensions().get::<Peer>().unwrap_or(&Peer::Unknown);
    match authenticate(path, request.headers(), peer, &server.tokens) {
        Ok(identity) => {
            request.extensions_mut().insert(identity);
            next.run(request).await
        }
        Err(failure) => failure.into_response(),
    }
}
