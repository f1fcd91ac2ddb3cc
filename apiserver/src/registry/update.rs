//! Update of an existing object: whole, or one of its subresources.
//!
//! Never creates an object, and never writes over a version that it did not see.

use api::{kind::Object, status::ApiError};
use store::{KeyValue, Revision};

use crate::{
    admit, allocate::plan::Plan, failure::Failure, resource::Resource, server::Server, stored,
};

use super::{
    create::check_body_namespace,
    delete,
    write::{Outcome, Written, commit},
};

/// How often an update without a `resourceVersion` is tried against newer versions.
const TRIES: usize = 32;

/// Which part of the object an update is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All but the status.
    Main,
    /// The status.
    Status,
    /// Anything: the server's own writes, such as a binding.
    Internal,
}

/// An object to update.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// Its kind.
    pub resource: &'a Resource,
    /// Its namespace.
    pub namespace: Option<&'a str>,
    /// Its name.
    pub name: &'a str,
    /// What of it.
    pub part: Part,
    /// Whether nothing is to be written.
    pub dry_run: bool,
}

/// Reads the object, has `change` make a new one of it, and writes that; again when somebody
/// else came first, unless `change` named the version it wants.
pub async fn update(
    server: &Server,
    target: Target<'_>,
    change: impl Fn(&dyn Object) -> Result<Box<dyn Object>, Failure> + Send + Sync,
) -> Result<Written, Failure> {
    let Target { resource, namespace, name, .. } = target;
    let key = resource.store_key(namespace, name);
    let mut known: Option<KeyValue> = None;
    for _ in 0..TRIES {
        let kv = match known.take() {
            Some(kv) => Some(kv),
            None => server.store.get(&key, 0).await?.kv,
        };
        let kv = kv.ok_or_else(|| resource.not_found(name))?;
        match try_update(server, target, &kv, &change).await? {
            Tried::Written(written) => return Ok(written),
            Tried::Stale(Some(newer)) => known = Some(newer),
            Tried::Stale(None) => return Err(resource.not_found(name)),
            Tried::Again => {}
        }
    }
    Err(ApiError::modified(&resource.names, name).into())
}

enum Tried {
    Written(Written),
    Stale(Option<KeyValue>),
    Again,
}

async fn try_update(
    server: &Server,
    target: Target<'_>,
    kv: &KeyValue,
    change: &(impl Fn(&dyn Object) -> Result<Box<dyn Object>, Failure> + Send + Sync),
) -> Result<Tried, Failure> {
    let Target { resource, part, dry_run, .. } = target;
    let old = stored::decode(resource, kv)?;
    let mut new = change(&*old)?;
    prepare(target, &mut *new, &*old)?;
    if part == Part::Main {
        admit::check_others(server, resource, &*new).await?;
    }
    let plan = match part {
        Part::Main => admit::allocate(server, resource, &mut *new, Some(&*old))?,
        _ => Default::default(),
    };
    let checked = match part {
        Part::Main | Part::Status => admit::validate(resource, &*new, Some(&*old)),
        Part::Internal => Ok(()),
    };
    if let Err(failure) = checked {
        plan.undo(&server.allocators, &[]);
        return Err(failure);
    }
    let warnings = match part {
        Part::Main => resource.kind.warnings(&*new),
        _ => Vec::new(),
    };
    let value = stored::encode(&mut *new);
    let written = |revision: Revision| {
        let json = stored::json_at(&value, revision)?;
        Ok::<_, Failure>(Tried::Written(Written { json, warnings: warnings.clone() }))
    };
    if value == kv.value || dry_run {
        plan.undo(&server.allocators, &[]);
        return written(kv.mod_revision);
    }
    let outcome = if delete::is_done(&*resource.kind, &*new) {
        // The last finalizer went: so does the object.
        plan.undo(&server.allocators, &[]);
        let release = Plan::release(&*resource.kind, &*old);
        commit(server, resource, &*new, None, kv.mod_revision, &release).await?
    } else {
        commit(server, resource, &*new, Some(value.clone()), kv.mod_revision, &plan).await?
    };
    match outcome {
        Outcome::Committed(revision) => written(revision),
        Outcome::Stale(newer) => Ok(Tried::Stale(newer)),
        Outcome::Retry => Ok(Tried::Again),
    }
}

/// Makes the new object ready to be judged: it is the one that the path names, has its defaults,
/// and keeps of the old one what this part of it may not change.
fn prepare(target: Target<'_>, new: &mut dyn Object, old: &dyn Object) -> Result<(), Failure> {
    let Target { resource, namespace, name, part, .. } = target;
    if part != Part::Internal {
        check_identity(target, new, old)?;
    }
    if resource.names.namespaced {
        new.metadata_mut().namespace = namespace.map(str::to_owned);
    }
    new.metadata_mut().name = Some(name.to_owned());
    if part == Part::Internal {
        return Ok(());
    }
    admit::keep_old(new.metadata_mut(), old.metadata());
    resource.kind.default(new);
    if part == Part::Status {
        resource.kind.prepare_status_update(new, old);
    } else {
        resource.kind.prepare_update(new, old);
    }
    Ok(())
}

/// The name, namespace, uid and version that the new object says must be the old one's.
fn check_identity(target: Target<'_>, new: &dyn Object, old: &dyn Object) -> Result<(), Failure> {
    let Target { resource, namespace, name, .. } = target;
    let (new_meta, old_meta) = (new.metadata(), old.metadata());
    check_body_namespace(resource, namespace, new)?;
    let said = new_meta.name.as_deref().unwrap_or_default();
    if !said.is_empty() && said != name {
        return Err(Failure::bad_request(format!(
            "the name of the object ({said}) does not match the name on the URL ({name})"
        )));
    }
    let uid = new_meta.uid.as_deref().unwrap_or_default();
    let old_uid = old_meta.uid.as_deref().unwrap_or_default();
    if !uid.is_empty() && uid != old_uid {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {old_uid}"
        );
        return Err(resource.conflict(name, &why));
    }
    let version = new_meta.resource_version.as_deref().unwrap_or_default();
    if !matches!(version, "" | "0") && Some(version) != old_meta.resource_version.as_deref() {
        return Err(ApiError::modified(&resource.names, name).into());
    }
    Ok(())
}
