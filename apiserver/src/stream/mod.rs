//! Streams into and out of containers: exec, attach, logs.
//!
//! Never runs anything: the node agent of the pod's node does.

mod exec;
mod logs;
pub mod node;
mod websocket;

use std::sync::Arc;

use api::status::ApiError;
use axum::body::Body;
use http::{Method, Request, Response};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use proto::node::ContainerRef;

use crate::{
    failure::Failure,
    request::{Query, ResourcePath},
    resource::Resource,
    server::Server,
};

/// A container on a node.
struct Target {
    node: String,
    container: ContainerRef,
    /// Why the container does not run, as far as the pod's status says.
    stopped: Option<String>,
}

/// Whether a path is one of a pod's streams.
pub fn is_stream(resource: &Resource, path: &ResourcePath) -> bool {
    resource.names.kind == "Pod"
        && matches!(path.subresource.as_str(), "exec" | "attach" | "log")
        && path.name.is_some()
        && path.namespace.is_some()
}

/// Answers a request for a stream.
pub async fn answer(
    server: &Arc<Server>,
    resource: &Resource,
    path: &ResourcePath,
    query: &Query,
    request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    let is_log = path.subresource == "log";
    let method = request.method();
    if method != Method::GET && (is_log || method != Method::POST) {
        return Err(ApiError::method_not_allowed(resource.names, method.as_str()).into());
    }
    let target = find_target(server, resource, path, query).await?;
    if is_log {
        logs::logs(server, target, query).await
    } else {
        exec::exec(server, target, path.subresource == "attach", query, request).await
    }
}

async fn find_target(
    server: &Server,
    resource: &Resource,
    path: &ResourcePath,
    query: &Query,
) -> Result<Target, Failure> {
    let namespace = path.namespace.as_deref().unwrap_or_default();
    let name = path.name.as_deref().unwrap_or_default();
    server.progress.wait_fresh(&*server.store).await?;
    let state = resource.cache.load();
    let key = resource.cache_key(Some(namespace), name);
    let entry = state.items.get(key.as_str());
    let entry = entry.ok_or_else(|| resource.not_found(name))?;
    let pod: Pod = serde_json::from_slice(&entry.json).map_err(ApiError::internal)?;
    let spec = pod.spec.unwrap_or_default();
    let mut names: Vec<&str> = spec.containers.iter().map(|c| c.name.as_str()).collect();
    let container = match (query.get("container"), names.as_slice()) {
        (Some(container), _) => container.to_owned(),
        (None, [only]) => (*only).to_owned(),
        (None, many) => {
            return Err(Failure::bad_request(format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                many.join(" ")
            )));
        }
    };
    let init = spec.init_containers.iter().flatten();
    names.extend(init.map(|container| container.name.as_str()));
    if !names.contains(&container.as_str()) {
        return Err(Failure::bad_request(format!(
            "container {container} is not valid for pod {name}"
        )));
    }
    let node = spec
        .node_name
        .filter(|node| !node.is_empty())
        .ok_or_else(|| Failure::bad_request(format!("pod {name} does not have a host assigned")))?;
    Ok(Target {
        stopped: why_stopped(pod.status.as_ref(), &container),
        node,
        container: ContainerRef {
            namespace: namespace.to_owned(),
            pod: name.to_owned(),
            pod_uid: pod.metadata.uid.unwrap_or_default(),
            container,
        },
    })
}

fn why_stopped(status: Option<&PodStatus>, container: &str) -> Option<String> {
    let status = status?;
    let init = status.init_container_statuses.iter().flatten();
    let mut all = init.chain(status.container_statuses.iter().flatten());
    let state = all.find(|found| found.name == container)?.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("Waiting");
        return Some(match waiting.message.as_deref() {
            Some(message) if !message.is_empty() => format!("{reason}: {message}"),
            _ => reason.to_owned(),
        });
    }
    let ended = state.terminated.as_ref()?;
    let reason = ended.reason.as_deref().unwrap_or("Error");
    Some(format!("it ended with exit code {} ({reason})", ended.exit_code))
}
