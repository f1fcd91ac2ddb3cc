//! Binding: the scheduler's decision where a pod runs.
//!
//! Never moves a pod that has a node.

use std::collections::BTreeMap;

use axum::body::Body;
use http::{Response, StatusCode};
use k8s_openapi::api::core::v1::{Binding, Pod, PodCondition};

use crate::{
    admit,
    decode::{self, read_body},
    encode::json_value,
    failure::Failure,
};

use super::{
    Asked,
    update::{Part, Target, update},
};

/// Sets `spec.nodeName` of the pod that the path, or else the body, names.
pub async fn bind(asked: &Asked<'_>, body: Body) -> Result<Response<Body>, Failure> {
    let value = decode::value(&asked.headers, &read_body(body).await?)?;
    let binding: Binding = serde_json::from_value(value)
        .map_err(|error| Failure::bad_request(format!("Binding: {error}")))?;
    let own_name = binding.metadata.name.clone().unwrap_or_default();
    let name = asked.path.name.clone().unwrap_or(own_name);
    let node = binding.target.name.clone().unwrap_or_default();
    if name.is_empty() || node.is_empty() {
        return Err(Failure::bad_request("Binding: metadata.name and target.name are required"));
    }
    let target = Target { name: &name, ..asked.target(Part::Internal) };
    update(asked.server, target, |old| {
        let mut new = old.clone_object();
        if let Some(pod) = new.as_any_mut().downcast_mut::<Pod>() {
            assign(target, pod, &node, binding.metadata.annotations.as_ref())?;
        }
        Ok(new)
    })
    .await?;
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
    });
    Ok(json_value(StatusCode::CREATED, &status))
}

fn assign(
    target: Target<'_>,
    pod: &mut Pod,
    node: &str,
    annotations: Option<&BTreeMap<String, String>>,
) -> Result<(), Failure> {
    let Target { resource, name, .. } = target;
    if pod.metadata.deletion_timestamp.is_some() {
        let why = format!("pod {name} is being deleted, cannot be assigned to a host");
        return Err(resource.conflict(name, &why));
    }
    let spec = pod.spec.get_or_insert_default();
    if let Some(bound) = spec.node_name.as_deref().filter(|bound| !bound.is_empty()) {
        let why = format!("pod {name} is already assigned to node \"{bound}\"");
        return Err(resource.conflict(name, &why));
    }
    spec.node_name = Some(node.to_owned());
    if let Some(annotations) = annotations {
        let own = pod.metadata.annotations.get_or_insert_default();
        own.extend(annotations.clone());
    }
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.retain(|condition| condition.type_ != "PodScheduled");
    conditions.push(PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "True".to_owned(),
        last_transition_time: Some(admit::now()),
        ..PodCondition::default()
    });
    Ok(())
}
