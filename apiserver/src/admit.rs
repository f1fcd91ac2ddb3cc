//! Admission of an object that is to be written: metadata that the server fills, defaults,
//! allocation, validation, and the state of its namespace.
//!
//! Never writes: the registry does, with what is returned here.

use api::{
    allocate::Refusal,
    kind::{Object, Role},
    status::ApiError,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, StatusCause, Time};

use crate::{allocate::plan::Plan, failure::Failure, resource::Resource, server::Server};

/// Letters of generated names: no vowels and no look-alikes, so that no word comes out.
const SUFFIX_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of the generated part of a name.
const SUFFIX_LENGTH: usize = 5;
/// Longest prefix that is kept whole, so that the name fits a label.
const MAX_PREFIX: usize = 63 - SUFFIX_LENGTH;

/// Now, as precise as timestamps of objects are.
pub fn now() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// A name from `metadata.generateName`.
pub fn generate_name(prefix: &str) -> String {
    let mut end = prefix.len().min(MAX_PREFIX);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = prefix[..end].to_owned();
    for _ in 0..SUFFIX_LENGTH {
        let letter = SUFFIX_LETTERS[rand::random_range(0..SUFFIX_LETTERS.len())];
        name.push(char::from(letter));
    }
    name
}

/// Drops lists and maps that hold nothing: upstream writes them as absent.
fn drop_empty(metadata: &mut ObjectMeta) {
    metadata.labels = metadata.labels.take().filter(|map| !map.is_empty());
    metadata.annotations = metadata.annotations.take().filter(|map| !map.is_empty());
    metadata.finalizers = metadata.finalizers.take().filter(|list| !list.is_empty());
    let owners = metadata.owner_references.take();
    metadata.owner_references = owners.filter(|list| !list.is_empty());
}

/// Fills the metadata of a new object.
pub fn fill_new(metadata: &mut ObjectMeta) {
    drop_empty(metadata);
    metadata.uid = Some(uuid::Uuid::new_v4().to_string());
    metadata.creation_timestamp = Some(now());
    metadata.resource_version = None;
    metadata.self_link = None;
    metadata.deletion_timestamp = None;
    metadata.deletion_grace_period_seconds = None;
    metadata.managed_fields = None;
}

/// Keeps what no client may change.
pub fn keep_old(metadata: &mut ObjectMeta, old: &ObjectMeta) {
    metadata.uid.clone_from(&old.uid);
    metadata.creation_timestamp.clone_from(&old.creation_timestamp);
    metadata.deletion_timestamp.clone_from(&old.deletion_timestamp);
    metadata.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
    metadata.generate_name.clone_from(&old.generate_name);
    metadata.resource_version = None;
    metadata.self_link = None;
    metadata.managed_fields = None;
    // Once an object is being deleted, nothing new may hold it back.
    if old.deletion_timestamp.is_some()
        && let Some(finalizers) = &mut metadata.finalizers
    {
        let before = old.finalizers.clone().unwrap_or_default();
        finalizers.retain(|finalizer| before.contains(finalizer));
    }
    drop_empty(metadata);
}

/// The allocation part of a transaction, for kinds that have one.
pub fn allocate(
    server: &Server,
    resource: &Resource,
    new: &mut dyn Object,
    old: Option<&dyn Object>,
) -> Result<Plan, Failure> {
    let name = new.metadata().name.clone().unwrap_or_default();
    let plan = Plan::make(&server.allocators, &*resource.kind, new, old);
    plan.map_err(|refusal| match refusal {
        Refusal::Invalid(errors) => ApiError::invalid(&resource.names, &name, &errors).into(),
        Refusal::Full(why) => ApiError::internal(why).into(),
    })
}

/// Whether the object may be written beside the others of its kind.
pub async fn check_others(
    server: &Server,
    resource: &Resource,
    new: &dyn Object,
) -> Result<(), Failure> {
    if !resource.kind.is_admitted_among_others() {
        return Ok(());
    }
    server.progress.wait_fresh(&*server.store).await?;
    let state = resource.cache.load();
    let others =
        state.items.values().filter_map(|entry| resource.kind.decode(&entry.json.to_bytes()).ok());
    let others: Vec<_> = others.collect();
    resource.kind.admit_among(new, &others).map_err(|why| {
        let name = new.metadata().name.as_deref().unwrap_or_default();
        ApiError::forbidden(&resource.names, name, &why).into()
    })
}

/// Every violated rule, as one 422.
pub fn validate(
    resource: &Resource,
    new: &dyn Object,
    old: Option<&dyn Object>,
) -> Result<(), Failure> {
    let mut errors = match old {
        Some(old) => resource.kind.validate_update(new, old),
        None => Vec::new(),
    };
    for error in resource.kind.validate(new) {
        if !errors.contains(&error) {
            errors.push(error);
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    let name = new.metadata().name.as_deref().unwrap_or_default();
    Err(ApiError::invalid(&resource.names, name, &errors).into())
}

/// Nothing is created in a namespace that does not exist or is going.
pub async fn check_namespace(
    server: &Server,
    resource: &Resource,
    namespace: &str,
    name: &str,
) -> Result<(), Failure> {
    let Some(namespaces) = server.resources.table().with_role(Role::Namespaces).cloned() else {
        return Ok(());
    };
    let mut found = namespaces.cache.load().items.get(namespace).cloned();
    if found.is_none() {
        // It may be newer than the cache.
        server.progress.wait_fresh(&*server.store).await?;
        found = namespaces.cache.load().items.get(namespace).cloned();
    }
    let Some(entry) = found else {
        return Err(namespaces.not_found(namespace));
    };
    if !namespaces.kind.is_closed(&|name| entry.selectable.field(name)) {
        return Ok(());
    }
    let why = format!(
        "unable to create new content in namespace {namespace} because it is being terminated"
    );
    let mut error = ApiError::forbidden(&resource.names, name, &why);
    if let Some(details) = &mut error.details {
        details.causes = Some(vec![StatusCause {
            field: Some("metadata.namespace".to_owned()),
            message: Some(format!("namespace {namespace} is being terminated")),
            reason: Some("NamespaceTerminating".to_owned()),
        }]);
    }
    Err(error.into())
}

/// What no cluster works without stays, as upstream.
pub fn check_deletable(resource: &Resource, name: &str) -> Result<(), Failure> {
    match resource.kind.immortal(name) {
        Some(why) => Err(ApiError::forbidden(&resource.names, name, why).into()),
        None => Ok(()),
    }
}
