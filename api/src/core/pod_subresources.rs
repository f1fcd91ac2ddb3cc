//! What a pod's own subresources do: a binding sets its node, a stream finds its container.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Binding, Pod, PodCondition, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};
use serde_json::Value;

use crate::{
    kind_names::Names,
    status::ApiError,
    subresource::{Container, Subresource},
};

/// All but `status`.
pub fn subresources() -> Vec<Subresource> {
    let binding =
        Subresource::act("binding", ("", "v1", "Binding"), read_binding, |binding, pod, now| {
            bind(pod, binding, now)
        });
    let mut all = vec![binding.with_collection("bindings", "binding"), Subresource::eviction()];
    all.extend(Subresource::streams(locate));
    all
}

fn read_binding(body: Value) -> Result<Binding, ApiError> {
    let binding: Binding = serde_json::from_value(body)
        .map_err(|error| ApiError::bad_request(format!("Binding: {error}")))?;
    if binding.target.name.as_deref().is_none_or(str::is_empty) {
        return Err(ApiError::bad_request("Binding: metadata.name and target.name are required"));
    }
    Ok(binding)
}

/// The scheduler's decision where a pod runs. A pod that has a node stays there.
fn bind(pod: &mut Pod, binding: &Binding, now: Time) -> Result<(), ApiError> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let refused = |why: String| ApiError::conflict(&names(), &name, &why);
    if pod.metadata.deletion_timestamp.is_some() {
        return Err(refused(format!("pod {name} is being deleted, cannot be assigned to a host")));
    }
    let spec = pod.spec.get_or_insert_default();
    if let Some(bound) = spec.node_name.as_deref().filter(|bound| !bound.is_empty()) {
        return Err(refused(format!("pod {name} is already assigned to node \"{bound}\"")));
    }
    spec.node_name.clone_from(&binding.target.name);
    if let Some(annotations) = &binding.metadata.annotations {
        let own: &mut BTreeMap<_, _> = pod.metadata.annotations.get_or_insert_default();
        own.extend(annotations.clone());
    }
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.retain(|condition| condition.type_ != "PodScheduled");
    conditions.push(PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "True".to_owned(),
        last_transition_time: Some(now),
        ..PodCondition::default()
    });
    Ok(())
}

/// The container that the client names, or the only one.
fn locate(pod: &Pod, container: Option<&str>) -> Result<Container, ApiError> {
    let metadata = &pod.metadata;
    let name = metadata.name.as_deref().unwrap_or_default();
    let spec = pod.spec.clone().unwrap_or_default();
    let mut names: Vec<&str> = spec.containers.iter().map(|c| c.name.as_str()).collect();
    let container = match (container, names.as_slice()) {
        (Some(container), _) => container.to_owned(),
        (None, [only]) => (*only).to_owned(),
        (None, many) => {
            return Err(ApiError::bad_request(format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                many.join(" ")
            )));
        }
    };
    let init = spec.init_containers.iter().flatten();
    names.extend(init.map(|container| container.name.as_str()));
    if !names.contains(&container.as_str()) {
        return Err(ApiError::bad_request(format!(
            "container {container} is not valid for pod {name}"
        )));
    }
    let node = spec.node_name.filter(|node| !node.is_empty());
    Ok(Container {
        node: node.ok_or_else(|| {
            ApiError::bad_request(format!("pod {name} does not have a host assigned"))
        })?,
        namespace: metadata.namespace.clone().unwrap_or_default(),
        pod: name.to_owned(),
        pod_uid: metadata.uid.clone().unwrap_or_default(),
        stopped: why_stopped(pod.status.as_ref(), &container),
        name: container,
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

/// `pods`.
pub fn names() -> Names {
    Names::namespaced("", "v1", "Pod", "pods").short(&["po"]).categories(&["all"])
}
