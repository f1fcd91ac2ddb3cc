//! Delete: preconditions, grace, finalizers; removal when nothing holds the object back.
//!
//! Never removes what others own: the garbage collector and the namespace controller do.

use std::sync::Arc;

use api::{
    kind::{Kind, Object},
    status::ApiError,
};
use bytes::Bytes;
use http::HeaderMap;
use jiff::{Timestamp, ToSpan};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, Time};
use serde_json::Value;

use crate::{
    admit, allocate::plan::Plan, decode, encode, failure::Failure, json::Json, request::Query,
    resource::Resource, select::Selection, server::Server, stored,
};

use super::{
    list,
    write::{Outcome, commit},
};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// How often a delete is tried against newer versions.
const TRIES: usize = 32;

/// What the client gets.
pub enum Deleted {
    /// The object: as it was, or as it is now on its way out.
    Object(Json),
    /// A `Status`.
    Status(Value),
}

/// Options from the body of a request, if it has one.
pub fn read_options(
    headers: &HeaderMap,
    body: &[u8],
    query: &Query,
) -> Result<DeleteOptions, Failure> {
    match body.iter().all(u8::is_ascii_whitespace) {
        true => options(Value::Null, query),
        false => options(decode::value(headers, body)?, query),
    }
}

/// Options from a tree, which may be null; what it leaves out, from the query.
pub fn options(asked: Value, query: &Query) -> Result<DeleteOptions, Failure> {
    let options: Option<DeleteOptions> = serde_json::from_value(asked)
        .map_err(|error| Failure::bad_request(format!("couldn't decode DeleteOptions: {error}")))?;
    let mut options = options.unwrap_or_default();
    if let Some(seconds) = query.get("gracePeriodSeconds") {
        let parsed = seconds.parse::<i64>();
        let parsed = parsed.map_err(|_| {
            Failure::bad_request(format!("gracePeriodSeconds: invalid value {seconds:?}"))
        })?;
        options.grace_period_seconds.get_or_insert(parsed);
    }
    if let Some(policy) = query.get("propagationPolicy") {
        options.propagation_policy.get_or_insert_with(|| policy.to_owned());
    }
    if options.propagation_policy.is_some() && options.orphan_dependents.is_some() {
        return Err(Failure::bad_request(
            "orphanDependents and propagationPolicy cannot be both set",
        ));
    }
    match options.propagation_policy.as_deref() {
        None | Some("Orphan" | "Background" | "Foreground") => Ok(options),
        Some(other) => Err(Failure::bad_request(format!(
            "propagationPolicy: Unsupported value: {other:?}: supported values: \"Background\", \"Foreground\", \"Orphan\""
        ))),
    }
}

/// Whether `dryRun` is asked for, by options or query.
pub fn is_dry_run(options: &DeleteOptions, query: &Query) -> bool {
    let all = |value: &String| value == "All";
    options.dry_run.iter().flatten().any(all) || query.all("dryRun").iter().any(all)
}

/// Deletes one object, or marks it as being deleted.
pub async fn delete(
    server: &Server,
    resource: &Resource,
    namespace: Option<&str>,
    name: &str,
    options: &DeleteOptions,
    dry_run: bool,
) -> Result<Deleted, Failure> {
    admit::check_deletable(resource, name)?;
    let key = resource.store_key(namespace, name);
    for _ in 0..TRIES {
        let kv = server.store.get(&key, 0).await?.kv;
        let kv = kv.ok_or_else(|| resource.not_found(name))?;
        let old = stored::decode(resource, &kv)?;
        check_preconditions(resource, &*old, options)?;
        let mut new = old.clone_object();
        let gone = mark(&*resource.kind, &mut *new, options);
        let value = stored::encode(&mut *new);
        if dry_run || (!gone && value == kv.value) {
            return answer(resource, &*new, &value, kv.mod_revision, gone);
        }
        let (written, plan) = if gone {
            (None, Plan::release(&*resource.kind, &*old))
        } else {
            (Some(value.clone()), Plan::default())
        };
        match commit(server, resource, &*new, written, kv.mod_revision, &plan).await? {
            Outcome::Committed(revision) => {
                return answer(resource, &*new, &value, revision, gone);
            }
            Outcome::Stale(None) => return Err(resource.not_found(name)),
            Outcome::Stale(Some(_)) | Outcome::Retry => {}
        }
    }
    Err(ApiError::modified(&resource.names, name).into())
}

/// Deletes every selected object; the answer is the list of them.
pub async fn delete_collection(
    server: &Arc<Server>,
    resource: &Resource,
    namespace: Option<&str>,
    selection: &Selection,
    query: &Query,
    options: &DeleteOptions,
) -> Result<list::Page, Failure> {
    let page = list::list(server, resource, selection, query).await?;
    let dry_run = is_dry_run(options, query);
    for entry in &page.entries {
        let (own_namespace, name) = match entry.key.split_once('/') {
            Some((own, name)) => (Some(own), name),
            None => (namespace, &*entry.key),
        };
        match delete(server, resource, own_namespace, name, options, dry_run).await {
            Ok(_) => {}
            // Somebody else deleted it meanwhile.
            Err(failure) if failure.0.code == 404 => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(page)
}

/// Whether an object that is being deleted is held back by nothing any more.
pub fn is_done(kind: &dyn Kind, object: &dyn Object) -> bool {
    let metadata = object.metadata();
    metadata.deletion_timestamp.is_some()
        && metadata.finalizers.as_ref().is_none_or(Vec::is_empty)
        && metadata.deletion_grace_period_seconds.unwrap_or(0) == 0
        && !kind.is_held(object)
}

fn answer(
    resource: &Resource,
    object: &dyn Object,
    value: &Bytes,
    revision: store::Revision,
    gone: bool,
) -> Result<Deleted, Failure> {
    // Upstream returns some kinds themselves, of others a Status once they are gone.
    if !gone || resource.kind.is_returned_when_deleted() {
        return Ok(Deleted::Object(stored::json_at(value, revision)?));
    }
    let metadata = object.metadata();
    let name = metadata.name.as_deref().unwrap_or_default();
    let status = encode::success(&resource.names, name, metadata.uid.as_deref());
    Ok(Deleted::Status(status))
}

fn check_preconditions(
    resource: &Resource,
    object: &dyn Object,
    options: &DeleteOptions,
) -> Result<(), Failure> {
    let Some(wanted) = &options.preconditions else {
        return Ok(());
    };
    let metadata = object.metadata();
    let name = metadata.name.as_deref().unwrap_or_default();
    let pairs = [
        ("UID", &wanted.uid, &metadata.uid),
        ("ResourceVersion", &wanted.resource_version, &metadata.resource_version),
    ];
    for (what, wanted, found) in pairs {
        if let Some(wanted) = wanted
            && Some(wanted) != found.as_ref()
        {
            let found = found.as_deref().unwrap_or_default();
            let why = format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
            );
            return Err(resource.conflict(name, &why));
        }
    }
    Ok(())
}

/// Marks an object as being deleted. `true`: nothing holds it back, it can be removed now.
fn mark(kind: &dyn Kind, object: &mut dyn Object, options: &DeleteOptions) -> bool {
    let grace_s = kind.grace_s(object, options.grace_period_seconds);
    set_propagation(object, options);
    let already = object.metadata().deletion_timestamp.is_some();
    let metadata = object.metadata_mut();
    let held = metadata.finalizers.as_ref().is_some_and(|f| !f.is_empty());
    if already {
        // A second delete may only shorten the grace.
        let before = metadata.deletion_grace_period_seconds.unwrap_or(0);
        if grace_s < before {
            metadata.deletion_grace_period_seconds = Some(grace_s);
            metadata.deletion_timestamp = Some(after_grace(grace_s));
        }
        return is_done(kind, object);
    }
    let held_itself = kind.is_held(object);
    let metadata = object.metadata_mut();
    if grace_s == 0 && !held && !held_itself {
        return true;
    }
    metadata.deletion_timestamp = Some(after_grace(grace_s));
    metadata.deletion_grace_period_seconds = (!held_itself).then_some(grace_s);
    if let Some(generation) = &mut metadata.generation {
        *generation += 1;
    }
    kind.begin_deletion(object);
    false
}

fn after_grace(grace_s: i64) -> Time {
    let Time(now) = admit::now();
    Time(now.checked_add(grace_s.seconds()).unwrap_or(Timestamp::MAX))
}

/// `propagationPolicy` as the finalizers that the garbage collector acts on.
fn set_propagation(object: &mut dyn Object, options: &DeleteOptions) {
    let policy = match (&options.propagation_policy, options.orphan_dependents) {
        (Some(policy), _) => policy.as_str(),
        (None, Some(true)) => "Orphan",
        (None, Some(false)) => "Background",
        (None, None) => return,
    };
    let metadata = object.metadata_mut();
    let mut finalizers = metadata.finalizers.take().unwrap_or_default();
    finalizers.retain(|finalizer| finalizer != ORPHAN && finalizer != FOREGROUND);
    match policy {
        "Orphan" => finalizers.push(ORPHAN.to_owned()),
        "Foreground" => finalizers.push(FOREGROUND.to_owned()),
        _ => {}
    }
    metadata.finalizers = (!finalizers.is_empty()).then_some(finalizers);
}
