//! The `scale` subresource of Deployments and ReplicaSets.
//!
//! Never changes anything but `spec.replicas`.

use api::{
    decode::{self as text, Format},
    kind::Object,
    patch::{PatchError, PatchType},
    selector::Selector,
    status::ApiError,
};
use axum::body::Body;
use http::{Response, StatusCode};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        autoscaling::v1::{Scale, ScaleSpec, ScaleStatus},
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use serde_json::Value;

use crate::{
    decode::{self, media_type, read_body},
    encode::json_value,
    failure::Failure,
};

use super::{
    Asked,
    patch::{patch_failure, patch_type},
    update::{Part, update as update_object},
    write::decode_stored,
};

/// Reads the scale.
pub async fn get(asked: &Asked<'_>) -> Result<Response<Body>, Failure> {
    let key = asked.resource.store_key(asked.namespace(), asked.name());
    let kv = asked.server.store.get(&key, 0).await?.kv;
    let kv = kv.ok_or_else(|| asked.resource.not_found(asked.name()))?;
    let object = decode_stored(asked.resource, &kv)?;
    answer(&scale_of(&*object)?)
}

/// Replaces the scale.
pub async fn update(asked: &Asked<'_>, body: Body) -> Result<Response<Body>, Failure> {
    let wanted = decode::value(&asked.headers, &read_body(body).await?)?;
    set(asked, |_| Ok(wanted.clone())).await
}

/// Patches the scale.
pub async fn patch(asked: &Asked<'_>, body: Body) -> Result<Response<Body>, Failure> {
    let patch_type = patch_type(media_type(&asked.headers))?;
    let body = read_body(body).await?;
    let (wanted, _) =
        text::parse(&body, Format::Json).map_err(|error| Failure::bad_request(error.message))?;
    set(asked, |scale| {
        let scale = serde_json::to_value(scale).unwrap_or_default();
        apply(scale, wanted.clone(), patch_type).map_err(patch_failure)
    })
    .await
}

/// A scale has no list that merges by key: a strategic merge is a merge.
fn apply(scale: Value, wanted: Value, patch_type: PatchType) -> Result<Value, PatchError> {
    let patch_type = match patch_type {
        PatchType::StrategicMerge => PatchType::Merge,
        other => other,
    };
    api::patch::patch_value("io.k8s.api.autoscaling.v1.Scale", scale, wanted, patch_type)
}

async fn set(
    asked: &Asked<'_>,
    change: impl Fn(&Scale) -> Result<Value, Failure> + Send + Sync,
) -> Result<Response<Body>, Failure> {
    let written = update_object(asked.server, asked.target(Part::Main), |old| {
        let wanted: Scale = serde_json::from_value(change(&scale_of(old)?)?)
            .map_err(|error| Failure::bad_request(format!("Scale: {error}")))?;
        let replicas = wanted.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
        let mut new = old.clone_object();
        let version = wanted.metadata.resource_version;
        new.metadata_mut().resource_version = version;
        if let Some(object) = new.as_any_mut().downcast_mut::<Deployment>() {
            object.spec.get_or_insert_default().replicas = Some(replicas);
        } else if let Some(object) = new.as_any_mut().downcast_mut::<ReplicaSet>() {
            object.spec.get_or_insert_default().replicas = Some(replicas);
        }
        Ok(new)
    })
    .await?;
    let object = asked.resource.kind.decode(&written.json);
    let object = object.map_err(|error| ApiError::internal(error.message))?;
    answer(&scale_of(&*object)?)
}

fn answer(scale: &Scale) -> Result<Response<Body>, Failure> {
    let value = serde_json::to_value(scale).map_err(ApiError::internal)?;
    Ok(json_value(StatusCode::OK, &value))
}

fn scale_of(object: &dyn Object) -> Result<Scale, Failure> {
    let (wanted, running, selector): (Option<i32>, i32, Option<&LabelSelector>) =
        if let Some(object) = object.as_any().downcast_ref::<Deployment>() {
            (
                object.spec.as_ref().and_then(|spec| spec.replicas),
                object.status.as_ref().and_then(|s| s.replicas).unwrap_or(0),
                object.spec.as_ref().map(|spec| &spec.selector),
            )
        } else if let Some(object) = object.as_any().downcast_ref::<ReplicaSet>() {
            (
                object.spec.as_ref().and_then(|spec| spec.replicas),
                object.status.as_ref().map_or(0, |status| status.replicas),
                object.spec.as_ref().map(|spec| &spec.selector),
            )
        } else {
            return Err(ApiError::no_such_path().into());
        };
    let selector = selector
        .and_then(|selector| Selector::from_label_selector(selector).ok())
        .map(|selector| selector.to_string());
    let metadata = object.metadata();
    Ok(Scale {
        metadata: ObjectMeta {
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
            creation_timestamp: metadata.creation_timestamp.clone(),
            ..ObjectMeta::default()
        },
        spec: Some(ScaleSpec { replicas: wanted }),
        status: Some(ScaleStatus { replicas: running, selector }),
    })
}
