//! Subresources that only some kinds have: finalize, scale, binding, eviction.
//!
//! Never serves `status`: the registry does, for every kind that has one.

use axum::body::Body;
use http::{Response, StatusCode};
use serde_json::Value;

use api::status::ApiError;

use crate::{
    decode::{self, FieldValidation, read_body},
    encode::json_value,
    failure::Failure,
    request::Verb,
};

use super::{
    Asked, binding, delete, scale,
    update::{Part, update},
};

/// The subresources of a kind beyond `status`, for discovery and for dispatch.
pub fn names(kind: &str) -> &'static [&'static str] {
    match kind {
        "Namespace" => &["finalize"],
        "Deployment" | "ReplicaSet" => &["scale"],
        "Pod" => &["binding", "eviction"],
        _ => &[],
    }
}

/// Answers a request on one of them.
pub(super) async fn answer(
    asked: &Asked<'_>,
    verb: Verb,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let subresource = asked.path.subresource.as_str();
    if !names(asked.resource.names.kind).contains(&subresource) {
        return Err(ApiError::no_such_path().into());
    }
    match (subresource, verb) {
        ("finalize", Verb::Update) => finalize(asked, body).await,
        ("scale", Verb::Get) => scale::get(asked).await,
        ("scale", Verb::Update) => scale::update(asked, body).await,
        ("scale", Verb::Patch) => scale::patch(asked, body).await,
        ("binding", Verb::Create) => binding::bind(asked, body).await,
        ("eviction", Verb::Create) => evict(asked, body).await,
        (_, other) => Err(asked.not_allowed(other)),
    }
}

/// Sets a namespace's `spec.finalizers`: how the namespace controller lets it go.
async fn finalize(asked: &Asked<'_>, body: Body) -> Result<Response<Body>, Failure> {
    use k8s_openapi::api::core::v1::Namespace;
    let body = read_body(body).await?;
    let validation = FieldValidation::of(asked.query)?;
    let mut warnings = Vec::new();
    let object = decode::object(asked.resource, &asked.headers, &body, validation, &mut warnings)?;
    let wanted = object.as_any().downcast_ref::<Namespace>();
    let finalizers = wanted
        .and_then(|namespace| namespace.spec.as_ref())
        .and_then(|spec| spec.finalizers.clone());
    let version = object.metadata().resource_version.clone().filter(|v| !v.is_empty());
    let written = update(asked.server, asked.target(Part::Internal), |old| {
        if version.is_some() && version != old.metadata().resource_version {
            return Err(ApiError::modified(asked.resource.names, asked.name()).into());
        }
        let mut new = old.clone_object();
        if let Some(namespace) = new.as_any_mut().downcast_mut::<Namespace>() {
            namespace.spec.get_or_insert_default().finalizers.clone_from(&finalizers);
        }
        Ok(new)
    });
    asked.written(written.await?, StatusCode::OK)
}

/// Deletes a pod on behalf of a drain. Budgets are not kept here, so none can refuse it.
async fn evict(asked: &Asked<'_>, body: Body) -> Result<Response<Body>, Failure> {
    let mut eviction = decode::value(&asked.headers, &read_body(body).await?)?;
    let options = eviction.get_mut("deleteOptions").map(Value::take);
    let options = delete::options(options.unwrap_or_default(), asked.query)?;
    let dry_run = asked.dry_run || delete::is_dry_run(&options, asked.query);
    let (server, resource) = (asked.server, asked.resource);
    delete::delete(server, resource, asked.namespace(), asked.name(), &options, dry_run).await?;
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
    });
    Ok(json_value(StatusCode::CREATED, &status))
}
