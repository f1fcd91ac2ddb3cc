//! Create: a name, metadata, defaults, allocation, validation, and one transaction.
//!
//! Never replaces an object that exists.

use api::{
    field::{FieldError, Path},
    kind::Object,
    status::ApiError,
};

use crate::{admit, failure::Failure, json::Json, resource::Resource, server::Server, stored};

use super::write::{Outcome, Written, commit};

/// Generated names that are tried before the client is told that they are taken, as upstream.
const NAME_TRIES: usize = 8;

/// How often a create is planned again because an allocation was no longer free.
const ALLOCATION_TRIES: usize = 16;

/// Writes a new object.
pub async fn create(
    server: &Server,
    resource: &Resource,
    namespace: Option<&str>,
    object: Box<dyn Object>,
    dry_run: bool,
) -> Result<Written, Failure> {
    check_new(resource, namespace, &*object)?;
    let prefix = object.metadata().generate_name.clone().unwrap_or_default();
    let generated = object.metadata().name.as_deref().is_none_or(str::is_empty);
    if generated && prefix.is_empty() {
        let field = Path::new("metadata.name");
        let error = FieldError::required(&field, "name or generateName is required");
        return Err(ApiError::invalid(&resource.names, "", &[error]).into());
    }
    if let (Some(namespace), true) = (namespace, resource.names.namespaced) {
        let name = object.metadata().name.as_deref().unwrap_or_default();
        admit::check_namespace(server, resource, namespace, name).await?;
    }
    let (mut names_left, mut plans_left) = (NAME_TRIES, ALLOCATION_TRIES);
    // Only what may have to be tried again is copied.
    let spare = (generated || resource.kind.allocates()).then(|| object.clone_object());
    let mut given = Some(object);
    loop {
        let next = given.take().or_else(|| spare.as_ref().map(|spare| spare.clone_object()));
        let mut new = next.ok_or_else(|| ApiError::internal("the object was tried already"))?;
        if generated {
            new.metadata_mut().name = Some(admit::generate_name(&prefix));
        }
        if resource.names.namespaced {
            new.metadata_mut().namespace = namespace.map(str::to_owned);
        }
        admit::fill_new(new.metadata_mut());
        resource.kind.prepare_create(&mut *new);
        resource.kind.default(&mut *new);
        admit::check_others(server, resource, &*new).await?;
        let plan = admit::allocate(server, resource, &mut *new, None)?;
        if let Err(failure) = admit::validate(resource, &*new, None) {
            plan.undo(&server.allocators, &[]);
            return Err(failure);
        }
        let warnings = resource.kind.warnings(&*new);
        let value = stored::encode(&mut *new);
        if dry_run {
            plan.undo(&server.allocators, &[]);
            // Nothing was stored: there is no `resourceVersion`.
            let json = Json::plain(value);
            return Ok(Written { json, warnings });
        }
        match commit(server, resource, &*new, Some(value.clone()), 0, &plan).await? {
            Outcome::Committed(revision) => {
                let json = stored::json_at(&value, revision)?;
                return Ok(Written { json, warnings });
            }
            Outcome::Stale(_) if generated && names_left > 1 => names_left -= 1,
            Outcome::Stale(_) => {
                let name = new.metadata().name.as_deref().unwrap_or_default();
                return Err(ApiError::already_exists(&resource.names, name).into());
            }
            Outcome::Retry if plans_left > 1 => plans_left -= 1,
            Outcome::Retry => {
                return Err(ApiError::internal("no free address or port could be taken").into());
            }
        }
    }
}

fn check_new(
    resource: &Resource,
    namespace: Option<&str>,
    object: &dyn Object,
) -> Result<(), Failure> {
    let metadata = object.metadata();
    if metadata.resource_version.as_deref().is_some_and(|v| !v.is_empty()) {
        return Err(Failure::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    check_body_namespace(resource, namespace, object)
}

/// The namespace in a body, if there is one, must be that of the path.
pub fn check_body_namespace(
    resource: &Resource,
    namespace: Option<&str>,
    object: &dyn Object,
) -> Result<(), Failure> {
    let said = object.metadata().namespace.as_deref().filter(|ns| !ns.is_empty());
    match (resource.names.namespaced, said, namespace) {
        (true, _, None) => {
            Err(Failure::bad_request("an empty namespace may not be set during creation"))
        }
        (true, Some(said), Some(namespace)) if said != namespace => {
            Err(Failure::bad_request(format!(
                "the namespace of the provided object does not match the namespace sent on the request ({said} != {namespace})"
            )))
        }
        _ => Ok(()),
    }
}
