//! The transaction at the end of every write: the object, what it allocates, its lease.
//!
//! Never decides what is written.

use api::{kind::Object, status::ApiError};
use bytes::Bytes;
use store::{Compare, KeyValue, Op, Revision, Txn};

use crate::{
    allocate::plan::{Plan, owner},
    failure::Failure,
    json::Json,
    resource::Resource,
    server::Server,
    watch_cache::entry::Selectable,
};

/// An object as it was written, or would have been.
pub struct Written {
    /// With `resourceVersion`, if it was written.
    pub json: Json,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

/// How a transaction ended.
pub enum Outcome {
    /// Written, with this revision.
    Committed(Revision),
    /// Somebody else wrote the object first; this is it now.
    Stale(Option<KeyValue>),
    /// Something that was allocated was no longer free; plan again.
    Retry,
}

/// Writes `value` (or removes the key, with `None`) if the key is still at `revision`.
pub async fn commit(
    server: &Server,
    resource: &Resource,
    object: &dyn Object,
    value: Option<Bytes>,
    revision: Revision,
    plan: &Plan,
) -> Result<Outcome, Failure> {
    let metadata = object.metadata();
    let name = metadata.name.as_deref().unwrap_or_default();
    let key = resource.store_key(metadata.namespace.as_deref(), name);
    let mut compares = vec![Compare { key: key.clone(), mod_revision: revision }];
    compares.extend(plan.compares());
    let lease = match &value {
        Some(_) if resource.kind.expires() => server.event_lease().await?,
        _ => 0,
    };
    if let Some(value) = &value {
        server.announced.announce(&key, value, Selectable::of(&*resource.kind, object));
    }
    let withdraw = value.clone().map(|value| (key.clone(), value));
    let mut ops = vec![match value {
        Some(value) => Op::Put { key, value, lease },
        None => Op::Delete { key },
    }];
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let owner = owner(&resource.names.plural, namespace, name);
    ops.extend(plan.ops(owner.as_bytes()));
    let committed = server.store.txn(compares, ops).await;
    if let (Ok(Txn::Conflict { .. }) | Err(_), Some((key, value))) = (&committed, withdraw) {
        server.announced.take(&key, &value);
    }
    let current = match committed {
        Ok(Txn::Committed { revision }) => return Ok(Outcome::Committed(revision)),
        Ok(Txn::Conflict { current, .. }) => current,
        Err(error) => {
            plan.undo(&server.allocators, &[]);
            return Err(error.into());
        }
    };
    let held: Vec<bool> = current.iter().skip(1).map(Option::is_some).collect();
    let errors = plan.undo(&server.allocators, &held);
    let mut current = current.into_iter();
    let now = current.next().flatten();
    if now.as_ref().map_or(0, |kv| kv.mod_revision) != revision {
        return Ok(Outcome::Stale(now));
    }
    if errors.is_empty() {
        Ok(Outcome::Retry)
    } else {
        Err(ApiError::invalid(&resource.names, name, &errors).into())
    }
}
