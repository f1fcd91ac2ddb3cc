//! Which handler answers a path: an `axum::Router` for every fixed path, and one handler of
//! our own for the paths of resources, behind the layers that all requests pass.
//!
//! Resources are not the router's: which there are changes while the server runs, and their
//! watches and upgrades answer in ways that no extractor knows.

use std::sync::Arc;

use api::status::ApiError;
use axum::{
    Extension, Router,
    body::Body,
    extract::{Request, State},
    handler::Handler,
    middleware::{Next, from_fn},
    response::IntoResponse,
    routing::get,
};
use http::{HeaderMap, Method, Response, Uri};

use crate::{
    authorize::{Attributes, authorize},
    discovery, encode,
    failure::Failure,
    health,
    identity::Identity,
    layers::{self, ApiService},
    registry,
    request::{Query, ResourcePath},
    review,
    server::Server,
    stream, version,
};

type Answer = Result<Response<Body>, Failure>;

/// Health checks; each has its single checks below it.
const HEALTH: [&str; 3] = ["/livez", "/readyz", "/healthz"];

/// Paths of discovery documents.
const DISCOVERY: [&str; 7] = [
    "/api",
    "/api/{version}",
    "/apis",
    "/apis/{group}",
    "/apis/{group}/{version}",
    "/openapi/v2",
    "/openapi/v3",
];

/// The service over a server's state. A request is made as the [`crate::identity::Peer`]
/// among its extensions, else by its bearer token.
pub fn router(server: Arc<Server>) -> ApiService {
    let mut fixed = Router::new()
        .route("/metrics", get(metrics))
        .route("/", get(documents))
        .route("/openapi/v3/{*document}", get(documents));
    fixed = with_slash(fixed, "/version", async || version::answer());
    for path in HEALTH {
        fixed = with_slash(fixed, path, checks);
        fixed = fixed.route(&format!("{path}/{{*check}}"), get(checks));
    }
    for path in DISCOVERY {
        fixed = with_slash(fixed, path, documents);
    }
    let routes = fixed
        .route_layer(from_fn(may_read))
        .method_not_allowed_fallback(async || plain_method_not_allowed())
        .fallback(resource)
        .with_state(server.clone());
    layers::around(&server, routes)
}

/// Upstream serves these with and without a slash at the end.
fn with_slash<H, T>(router: Router<Arc<Server>>, path: &str, handler: H) -> Router<Arc<Server>>
where
    H: Handler<T, Arc<Server>> + Sync,
    T: Send + 'static,
{
    let routed = router.route(path, get(handler.clone()));
    routed.route(&format!("{path}/"), get(handler))
}

async fn metrics(State(server): State<Arc<Server>>) -> Response<Body> {
    server.metrics.answer()
}

async fn checks(State(server): State<Arc<Server>>, uri: Uri) -> Response<Body> {
    health::answer(&server, uri.path(), &Query::parse(uri.query()))
}

async fn documents(State(server): State<Arc<Server>>, uri: Uri, headers: HeaderMap) -> Answer {
    discovery::answer(&server.documents, server.resources.table(), uri.path(), &headers)
}

/// Whether the user may read a path that is no resource.
async fn may_read(
    Extension(identity): Extension<Arc<Identity>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    match authorize(&identity, Attributes::Path(request.uri().path())) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    }
}

/// Answers a request on a resource, and on every path that nothing is at.
async fn resource(
    State(server): State<Arc<Server>>,
    Extension(identity): Extension<Arc<Identity>>,
    request: Request,
) -> Answer {
    let uri = request.uri();
    let query = Query::parse(uri.query());
    let Some(path) = ResourcePath::parse(uri.path()) else {
        authorize(&identity, Attributes::Path(uri.path()))?;
        return Err(match *request.method() {
            Method::GET | Method::HEAD => ApiError::no_such_path().into(),
            _ => plain_method_not_allowed(),
        });
    };
    let verb = path.verb(request.method(), &query).ok_or_else(plain_method_not_allowed)?;
    authorize(&identity, Attributes::Resource(verb.name(), &path))?;
    if let Some(names) = review::find(&path) {
        return review::answer(names, &identity, &path, verb, request).await;
    }
    let resource = server.resources.find(&path.group, &path.version, &path.plural);
    let Some(resource) = resource else {
        return registry::virtual_resource(&server, &path, &query, verb, request).await;
    };
    if path.namespace.is_some() && !resource.names.namespaced {
        return Err(ApiError::no_such_path().into());
    }
    let mut response = match stream::find(&resource, &path) {
        Some(found) => stream::answer(&server, &resource, found, &path, &query, request).await?,
        None => registry::answer(&server, &resource, &path, &query, verb, request).await?,
    };
    if let Some(deprecated) = resource.kind.deprecated() {
        encode::add_warnings(response.headers_mut(), &[deprecated.to_owned()]);
    }
    Ok(response)
}

fn plain_method_not_allowed() -> Failure {
    Failure(ApiError {
        code: 405,
        reason: "MethodNotAllowed",
        message: "the server does not allow this method on the requested resource".to_owned(),
        details: None,
    })
}
