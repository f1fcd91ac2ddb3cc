//! The `scale` subresource of the kinds that have one.
//!
//! Never changes anything but `spec.replicas`.

use api::{
    decode::{self as text, Format},
    kind::Object,
    patch::{PatchError, PatchType},
    status::ApiError,
    subresource,
};
use axum::body::Body;
use http::{Response, StatusCode};
use k8s_openapi::{
    api::autoscaling::v1::{Scale, ScaleSpec, ScaleStatus},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::Value;

use crate::{
    decode::{self, media_type, read_body},
    encode::json_value,
    failure::Failure,
    stored,
};

use super::{
    Asked,
    patch::{patch_failure, patch_type},
    update::{Part, update as update_object},
};

type Read = dyn Fn(&dyn Object) -> subresource::Scale + Send + Sync;
type Write = dyn Fn(&mut dyn Object, i32) + Send + Sync;

/// Reads the scale.
pub async fn get(asked: &Asked<'_>, read: &Read) -> Result<Response<Body>, Failure> {
    let key = asked.resource.store_key(asked.namespace(), asked.name());
    let kv = asked.server.store.get(&key, 0).await?.kv;
    let kv = kv.ok_or_else(|| asked.resource.not_found(asked.name()))?;
    let object = stored::decode(asked.resource, &kv)?;
    answer(&scale_of(read, &*object))
}

/// Replaces the scale.
pub async fn update(
    asked: &Asked<'_>,
    read: &Read,
    write: &Write,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let wanted = decode::value(&asked.headers, &read_body(body).await?)?;
    set(asked, read, write, |_| Ok(wanted.clone())).await
}

/// Patches the scale.
pub async fn patch(
    asked: &Asked<'_>,
    read: &Read,
    write: &Write,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let patch_type = patch_type(media_type(&asked.headers))?;
    let body = read_body(body).await?;
    let (wanted, _) =
        text::parse(&body, Format::Json).map_err(|error| Failure::bad_request(error.message))?;
    set(asked, read, write, |scale| {
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
    read: &Read,
    write: &Write,
    change: impl Fn(&Scale) -> Result<Value, Failure> + Send + Sync,
) -> Result<Response<Body>, Failure> {
    let written = update_object(asked.server, asked.target(Part::Main), |old| {
        let wanted: Scale = serde_json::from_value(change(&scale_of(read, old))?)
            .map_err(|error| Failure::bad_request(format!("Scale: {error}")))?;
        let replicas = wanted.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
        let mut new = old.clone_object();
        let version = wanted.metadata.resource_version;
        new.metadata_mut().resource_version = version;
        write(&mut *new, replicas);
        Ok(new)
    })
    .await?;
    let object = asked.resource.kind.decode(&written.json.to_bytes());
    let object = object.map_err(|error| ApiError::internal(error.message))?;
    answer(&scale_of(read, &*object))
}

fn answer(scale: &Scale) -> Result<Response<Body>, Failure> {
    let value = serde_json::to_value(scale).map_err(ApiError::internal)?;
    Ok(json_value(StatusCode::OK, &value))
}

fn scale_of(read: &Read, object: &dyn Object) -> Scale {
    let metadata = object.metadata();
    let own = read(object);
    Scale {
        metadata: ObjectMeta {
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
            creation_timestamp: metadata.creation_timestamp.clone(),
            ..ObjectMeta::default()
        },
        spec: Some(ScaleSpec { replicas: own.wanted }),
        status: Some(ScaleStatus { replicas: own.running, selector: own.selector }),
    }
}
