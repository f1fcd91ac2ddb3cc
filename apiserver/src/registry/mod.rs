//! The registry: each verb on each kind, from a decoded path to a response.
//!
//! Never knows a kind by name: what is special of one is said by the kind (`api::kind`).

mod create;
pub mod delete;
mod list;
mod patch;
mod render;
mod scale;
mod subresource;
mod update;
mod watch;
mod write;

use std::sync::Arc;

use api::status::ApiError;
use axum::body::Body;
use http::{HeaderMap, Request, Response, StatusCode};
use serde_json::json;

use crate::{
    decode::{self, FieldValidation, media_type, read_body},
    encode::{self, Form, json_value, negotiate},
    failure::Failure,
    request::{Query, ResourcePath, Verb},
    resource::Resource,
    select::Selection,
    server::Server,
};

use self::{
    delete::Deleted,
    update::{Part, Target},
    write::Written,
};

pub use self::create::create;

/// What a request on one kind comes with, beside its body.
struct Asked<'a> {
    server: &'a Arc<Server>,
    resource: &'a Resource,
    path: &'a ResourcePath,
    query: &'a Query,
    headers: HeaderMap,
    form: Form,
    dry_run: bool,
}

impl Asked<'_> {
    fn namespace(&self) -> Option<&str> {
        self.path.namespace.as_deref()
    }

    fn name(&self) -> &str {
        self.path.name.as_deref().unwrap_or_default()
    }

    fn target(&self, part: Part) -> Target<'_> {
        Target {
            resource: self.resource,
            namespace: self.namespace(),
            name: self.name(),
            part,
            dry_run: self.dry_run,
        }
    }

    fn written(&self, written: Written, code: StatusCode) -> Result<Response<Body>, Failure> {
        let mut response = render::object(self.resource, &written.json, self.form, code)?;
        encode::add_warnings(response.headers_mut(), &written.warnings);
        Ok(response)
    }

    fn not_allowed(&self, verb: Verb) -> Failure {
        ApiError::method_not_allowed(&self.resource.names, verb.name()).into()
    }
}

/// Answers a request on a kind.
pub async fn answer(
    server: &Arc<Server>,
    resource: &Arc<Resource>,
    path: &ResourcePath,
    query: &Query,
    verb: Verb,
    request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    let (parts, body) = request.into_parts();
    let asked = Asked {
        server,
        resource,
        path,
        query,
        form: negotiate(&parts.headers, query)?,
        headers: parts.headers,
        dry_run: dry_run(query)?,
    };
    if resource.names.namespaced && path.namespace.is_none() && path.name.is_some() {
        return Err(ApiError::no_such_path().into());
    }
    match (path.subresource.as_str(), verb) {
        ("", Verb::Get) => get(&asked).await,
        ("", Verb::List) => {
            let selection = Selection::of(resource, path, query)?;
            let page = list::list(server, resource, &selection, query).await?;
            render::page(resource, page, asked.form)
        }
        ("", Verb::Watch) => {
            let selection = Selection::of(resource, path, query)?;
            watch::watch(server.clone(), resource.clone(), selection, asked.form, query).await
        }
        ("", Verb::Create) if path.name.is_none() => create_one(&asked, body).await,
        ("", Verb::Update) => update_one(&asked, Part::Main, body).await,
        ("", Verb::Patch) => patch_one(&asked, Part::Main, body).await,
        ("", Verb::Delete) => delete_one(&asked, body).await,
        ("", Verb::DeleteCollection) => delete_many(&asked, body).await,
        ("", other) => Err(asked.not_allowed(other)),
        (name, verb) => {
            let found = resource.subresource(name).ok_or_else(ApiError::no_such_path)?;
            subresource::answer(&asked, found, verb, body).await
        }
    }
}

/// Custom resource definitions: there are none, which kubectl asks for before it says that
/// it knows no such kind.
const DEFINITIONS: (&str, &str, &str) = ("apiextensions.k8s.io", "v1", "customresourcedefinitions");

/// Answers a request on a resource that is no kind: a subresource that is a resource of its own
/// (`POST bindings`), and the definitions.
pub async fn virtual_resource(
    server: &Arc<Server>,
    path: &ResourcePath,
    query: &Query,
    verb: Verb,
    request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    let asked_for = (&*path.group, &*path.version, &*path.plural);
    if asked_for == DEFINITIONS && verb == Verb::List && path.namespace.is_none() {
        let none = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinitionList",
            "metadata": {},
            "items": [],
        });
        return Ok(json_value(StatusCode::OK, &none));
    }
    let table = server.resources.table();
    let found = table.of_collection(&path.group, &path.version, &path.plural);
    let (Some((resource, subresource)), Verb::Create) = (found, verb) else {
        return Err(ApiError::no_such_path().into());
    };
    let (parts, body) = request.into_parts();
    let asked = Asked {
        server,
        resource,
        path,
        query,
        headers: parts.headers,
        form: Form::Object,
        dry_run: dry_run(query)?,
    };
    subresource::answer(&asked, subresource, verb, body).await
}

/// `dryRun=All`; other values are a 400.
fn dry_run(query: &Query) -> Result<bool, Failure> {
    let values = query.all("dryRun");
    match values.iter().find(|value| *value != "All") {
        Some(other) => Err(Failure::bad_request(format!(
            "dryRun: Unsupported value: {other:?}: supported values: \"All\""
        ))),
        None => Ok(!values.is_empty()),
    }
}

async fn get(asked: &Asked<'_>) -> Result<Response<Body>, Failure> {
    let Asked { server, resource, query, .. } = asked;
    match query.get("resourceVersion").map(list::parse_version).transpose()? {
        None => server.progress.wait_fresh(&*server.store).await?,
        Some(revision) => server.progress.wait(revision).await?,
    }
    let key = resource.cache_key(asked.namespace(), asked.name());
    let state = resource.cache.load();
    let entry = state.items.get(key.as_str());
    let entry = entry.ok_or_else(|| resource.not_found(asked.name()))?;
    render::object(resource, &entry.json, asked.form, StatusCode::OK)
}

async fn create_one(asked: &Asked<'_>, body: Body) -> Result<Response<Body>, Failure> {
    let validation = FieldValidation::of(asked.query)?;
    let body = read_body(body).await?;
    let mut warnings = Vec::new();
    let object = decode::object(asked.resource, &asked.headers, &body, validation, &mut warnings)?;
    let created = create(asked.server, asked.resource, asked.namespace(), object, asked.dry_run);
    let mut written = created.await?;
    written.warnings.splice(0..0, warnings);
    asked.written(written, StatusCode::CREATED)
}

async fn update_one(asked: &Asked<'_>, part: Part, body: Body) -> Result<Response<Body>, Failure> {
    let validation = FieldValidation::of(asked.query)?;
    let body = read_body(body).await?;
    let mut warnings = Vec::new();
    let object = decode::object(asked.resource, &asked.headers, &body, validation, &mut warnings)?;
    if object.metadata().name.as_deref().is_none_or(str::is_empty) {
        return Err(Failure::bad_request(
            "the name of the object must be set in the body of an update",
        ));
    }
    let updated = update::update(asked.server, asked.target(part), |_| Ok(object.clone_object()));
    let mut written = updated.await?;
    written.warnings.splice(0..0, warnings);
    asked.written(written, StatusCode::OK)
}

async fn patch_one(asked: &Asked<'_>, part: Part, body: Body) -> Result<Response<Body>, Failure> {
    let validation = FieldValidation::of(asked.query)?;
    let patch_type = patch::patch_type(media_type(&asked.headers))?;
    let body = read_body(body).await?;
    let target = asked.target(part);
    let patched = patch::patch_object(asked.server, target, &body, patch_type, validation);
    asked.written(patched.await?, StatusCode::OK)
}

async fn delete_one(asked: &Asked<'_>, body: Body) -> Result<Response<Body>, Failure> {
    let body = read_body(body).await?;
    let options = delete::read_options(&asked.headers, &body, asked.query)?;
    let dry_run = delete::is_dry_run(&options, asked.query);
    let deleted = delete::delete(
        asked.server,
        asked.resource,
        asked.namespace(),
        asked.name(),
        &options,
        dry_run,
    );
    match deleted.await? {
        Deleted::Object(json) => render::object(asked.resource, &json, asked.form, StatusCode::OK),
        Deleted::Status(status) => Ok(json_value(StatusCode::OK, &status)),
    }
}

async fn delete_many(asked: &Asked<'_>, body: Body) -> Result<Response<Body>, Failure> {
    let body = read_body(body).await?;
    let options = delete::read_options(&asked.headers, &body, asked.query)?;
    let selection = Selection::of(asked.resource, asked.path, asked.query)?;
    let verb = Verb::DeleteCollection;
    let everywhere = asked.resource.names.namespaced && asked.path.namespace.is_none();
    if everywhere || !asked.resource.names.verbs.contains(&verb.name()) {
        return Err(asked.not_allowed(verb));
    }
    let deleted = delete::delete_collection(
        asked.server,
        asked.resource,
        asked.namespace(),
        &selection,
        asked.query,
        &options,
    );
    render::page(asked.resource, deleted.await?, asked.form)
}

/// Creates an object of the server's own, or makes the existing one equal to it.
pub async fn put(
    server: &Server,
    resource: &Resource,
    namespace: &str,
    name: &str,
    object: serde_json::Value,
) -> Result<(), Failure> {
    let decoded = api::decode::from_value(&*resource.kind, object)
        .map_err(|error| ApiError::internal(error.message))?;
    let object = decoded.object;
    let namespace = Some(namespace);
    let created = create(server, resource, namespace, object.clone_object(), false).await;
    match created {
        Err(Failure(ApiError { reason: "AlreadyExists", .. })) => {}
        other => return other.map(|_| ()),
    }
    let target = Target { resource, namespace, name, part: Part::Main, dry_run: false };
    update::update(server, target, |_| Ok(object.clone_object())).await?;
    Ok(())
}
