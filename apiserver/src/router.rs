//! One request through its stages: authenticate → authorize → find what the path names →
//! the registry → encode.
//!
//! Never holds a rule of its own; each stage is a file.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use api::status::ApiError;
use axum::body::Body;
use http::{Method, Request, Response};
use tower::Service;

use crate::{
    authenticate::{Identity, authenticate},
    authorize::{Attributes, authorize},
    discovery, drain, encode,
    failure::Failure,
    health,
    peer::Peer,
    registry,
    request::{Query, ResourcePath},
    review,
    server::Server,
    stream, version,
};

/// The whole API as a `tower::Service`: behind a socket, or within a process.
#[derive(Clone)]
pub struct ApiService {
    server: Arc<Server>,
}

/// The service over a server's state. A request is made as the [`Peer`] among its
/// extensions, else by its bearer token.
pub fn router(server: Arc<Server>) -> ApiService {
    ApiService { server }
}

impl Service<Request<Body>> for ApiService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let server = self.server.clone();
        Box::pin(async move { Ok(answer(server, request).await) })
    }
}

async fn answer(server: Arc<Server>, request: Request<Body>) -> Response<Body> {
    let measured = server.metrics.start(&request);
    let (request, rest) = drain::lend(request);
    let response = match route(&server, request).await {
        Ok(response) => response,
        Err(failure) => encode::failure(&failure),
    };
    rest.read().await;
    measured.end(&server.metrics, response.status());
    response
}

async fn route(server: &Arc<Server>, request: Request<Body>) -> Result<Response<Body>, Failure> {
    let path = request.uri().path();
    let peer = request.extensions().get::<Peer>().unwrap_or(&Peer::Unknown);
    let identity = authenticate(path, request.headers(), peer, &server.tokens)?;
    let query = Query::parse(request.uri().query());
    if let Some(resource_path) = ResourcePath::parse(path) {
        return resource(server, &identity, resource_path, query, request).await;
    }
    authorize(&identity, Attributes::Path(path))?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(plain_method_not_allowed());
    }
    match path {
        "/version" | "/version/" => Ok(version::answer()),
        "/metrics" => Ok(server.metrics.answer()),
        _ if health::is_health_path(path) => Ok(health::answer(server, path, &query)),
        _ => {
            let table = server.resources.table();
            discovery::answer(&server.documents, table, path, request.headers())
        }
    }
}

async fn resource(
    server: &Arc<Server>,
    identity: &Arc<Identity>,
    path: ResourcePath,
    query: Query,
    request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    let verb = path.verb(request.method(), &query).ok_or_else(plain_method_not_allowed)?;
    authorize(identity, Attributes::Resource(verb.name(), &path))?;
    if let Some(names) = review::find(&path) {
        return review::answer(names, identity, &path, verb, request).await;
    }
    let resource = server.resources.find(&path.group, &path.version, &path.plural);
    let Some(resource) = resource else {
        return registry::virtual_resource(server, &path, &query, verb, request).await;
    };
    if path.namespace.is_some() && !resource.names.namespaced {
        return Err(ApiError::no_such_path().into());
    }
    let mut response = match stream::find(&resource, &path) {
        Some(found) => stream::answer(server, &resource, found, &path, &query, request).await?,
        None => registry::answer(server, &resource, &path, &query, verb, request).await?,
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
