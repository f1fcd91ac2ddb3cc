//! Streams into and out of containers: exec, attach, logs.
//!
//! Never runs anything: the node agent of the pod's node does.

pub mod node;

use std::sync::Arc;

use api::status::ApiError;
use axum::body::Body;
use http::{Request, Response};

use crate::{
    failure::Failure,
    request::{Query, ResourcePath},
    resource::Resource,
    server::Server,
};

/// Whether a path is one of a pod's streams.
pub fn is_stream(resource: &Resource, path: &ResourcePath) -> bool {
    resource.names.kind == "Pod"
        && matches!(path.subresource.as_str(), "exec" | "attach" | "log")
        && path.name.is_some()
}

/// Answers a request for a stream.
pub async fn answer(
    _server: &Arc<Server>,
    _path: &ResourcePath,
    _query: &Query,
    _request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    Err(ApiError::no_such_path().into())
}
