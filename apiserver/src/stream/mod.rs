//! Streams into and out of containers: exec, attach, logs.
//!
//! Never runs anything: the node agent of the container's node does.

mod exec;
mod logs;
pub mod node;
mod websocket;

use std::sync::Arc;

use api::{
    status::ApiError,
    subresource::{Behaviour, Container, Locate, Stream},
};
use axum::body::Body;
use http::{Method, Request, Response};
use proto::node::ContainerRef;

use crate::{
    failure::Failure,
    request::{Query, ResourcePath},
    resource::Resource,
    server::Server,
};

/// The stream that a path names, and how its container is found.
pub fn find<'a>(resource: &'a Resource, path: &ResourcePath) -> Option<(Stream, &'a Locate)> {
    match &resource.subresource(&path.subresource)?.behaviour {
        Behaviour::Stream(stream, locate) if path.name.is_some() && path.namespace.is_some() => {
            Some((*stream, locate))
        }
        _ => None,
    }
}

/// Answers a request for a stream.
pub async fn answer(
    server: &Arc<Server>,
    resource: &Resource,
    (stream, locate): (Stream, &Locate),
    path: &ResourcePath,
    query: &Query,
    request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    let method = request.method();
    if method != Method::GET && (stream == Stream::Log || method != Method::POST) {
        return Err(ApiError::method_not_allowed(&resource.names, method.as_str()).into());
    }
    let name = path.name.as_deref().unwrap_or_default();
    server.progress.wait_fresh(&*server.store).await?;
    let state = resource.cache.load();
    let entry = state.items.get(resource.cache_key(path.namespace.as_deref(), name).as_str());
    let entry = entry.ok_or_else(|| resource.not_found(name))?;
    let object = resource.kind.decode(entry.json.value()).map_err(ApiError::internal)?;
    let target = locate(&*object, query.get("container"))?;
    match stream {
        Stream::Log => logs::logs(server, target, query).await,
        Stream::Exec | Stream::Attach => {
            exec::exec(server, target, stream == Stream::Attach, query, request).await
        }
    }
}

/// A container as its node's agent knows it.
fn reference(container: &Container) -> ContainerRef {
    ContainerRef {
        namespace: container.namespace.clone(),
        pod: container.pod.clone(),
        pod_uid: container.pod_uid.clone(),
        container: container.name.clone(),
    }
}
