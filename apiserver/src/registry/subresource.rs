//! Subresources: each kind's table says which there are and what they do.

use axum::body::Body;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use api::{
    status::ApiError,
    subresource::{Act, Behaviour, Replace, Subresource},
};

use crate::{
    admit,
    decode::{self, FieldValidation, read_body},
    encode::json_value,
    failure::Failure,
    request::Verb,
};

use super::{
    Asked, delete, get, patch_one, scale,
    update::{Part, Target, update},
    update_one,
};

/// Answers a request on a subresource that the kind has.
pub(super) async fn answer(
    asked: &Asked<'_>,
    subresource: &Subresource,
    verb: Verb,
    body: Body,
) -> Result<Response<Body>, Failure> {
    match (&subresource.behaviour, verb) {
        (Behaviour::Status, Verb::Get) => get(asked).await,
        (Behaviour::Status, Verb::Update) => update_one(asked, Part::Status, body).await,
        (Behaviour::Status, Verb::Patch) => patch_one(asked, Part::Status, body).await,
        (Behaviour::Replace(replace), Verb::Update) => set_part(asked, replace, body).await,
        (Behaviour::Scale { read, .. }, Verb::Get) => scale::get(asked, read).await,
        (Behaviour::Scale { read, write }, Verb::Update) => {
            scale::update(asked, read, write, body).await
        }
        (Behaviour::Scale { read, write }, Verb::Patch) => {
            scale::patch(asked, read, write, body).await
        }
        (Behaviour::Act(act), Verb::Create) => change(asked, subresource, act, body).await,
        (Behaviour::Evict, Verb::Create) => evict(asked, body).await,
        (_, other) => Err(asked.not_allowed(other)),
    }
}

/// Writes the part of the object that is the subresource's.
async fn set_part(
    asked: &Asked<'_>,
    replace: &Replace,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let body = read_body(body).await?;
    let validation = FieldValidation::of(asked.query)?;
    let mut warnings = Vec::new();
    let object = decode::object(asked.resource, &asked.headers, &body, validation, &mut warnings)?;
    let version = object.metadata().resource_version.clone().filter(|v| !v.is_empty());
    let written = update(asked.server, asked.target(Part::Internal), |old| {
        if version.is_some() && version != old.metadata().resource_version {
            return Err(ApiError::modified(&asked.resource.names, asked.name()).into());
        }
        let mut new = old.clone_object();
        replace(&mut *new, &*object);
        Ok(new)
    });
    asked.written(written.await?, StatusCode::OK)
}

/// Changes the object that the path, or else the body, names.
async fn change(
    asked: &Asked<'_>,
    subresource: &Subresource,
    act: &Act,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let body = decode::value(&asked.headers, &read_body(body).await?)?;
    let own_name = body["metadata"]["name"].as_str().unwrap_or_default();
    let name = asked.path.name.as_deref().unwrap_or(own_name).to_owned();
    if name.is_empty() {
        let kind = subresource.request.map_or(subresource.name, |(_, _, kind)| kind);
        return Err(Failure::bad_request(format!("{kind}: metadata.name is required")));
    }
    let change = act(body)?;
    let target = Target { name: &name, ..asked.target(Part::Internal) };
    update(asked.server, target, |old| {
        let mut new = old.clone_object();
        change(&mut *new, admit::now())?;
        Ok(new)
    })
    .await?;
    Ok(created())
}

/// Deletes the object on behalf of a drain. Budgets are not kept here, so none can refuse it.
async fn evict(asked: &Asked<'_>, body: Body) -> Result<Response<Body>, Failure> {
    let mut eviction = decode::value(&asked.headers, &read_body(body).await?)?;
    let options = eviction.get_mut("deleteOptions").map(Value::take);
    let options = delete::options(options.unwrap_or_default(), asked.query)?;
    let dry_run = asked.dry_run || delete::is_dry_run(&options, asked.query);
    let (server, resource) = (asked.server, asked.resource);
    delete::delete(server, resource, asked.namespace(), asked.name(), &options, dry_run).await?;
    Ok(created())
}

fn created() -> Response<Body> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
    });
    json_value(StatusCode::CREATED, &status)
}
