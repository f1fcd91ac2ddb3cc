//! Makes the keys of the allocators fit their holders again, once, when a server starts: a key
//! that no object holds is removed, and an object whose key is missing gets it.
//!
//! Objects and keys are written in one transaction and cannot part by themselves: this is
//! for a store that was edited or restored by hand. Never changes an object, and never takes
//! a key that was written after it looked.

use std::collections::BTreeMap;

use bytes::Bytes;
use store::{Compare, Error, KeyValue, ListOptions, Op, Revision, Store};
use tracing::warn;

use crate::{keys::ALLOCATIONS, resource::Table, stored};

use super::{key, plan::owner};

/// Keys fetched by one call.
const PAGE: usize = 2_000;

/// Repairs the keys, and returns how many were wrong.
pub async fn repair(store: &dyn Store, table: &Table) -> Result<usize, Error> {
    let revision = store.current_revision().await?;
    let mut held: BTreeMap<String, Bytes> = BTreeMap::new();
    for resource in table.stored().filter(|resource| resource.kind.allocates()) {
        for kv in list(store, &resource.prefix, revision).await? {
            let Ok(object) = stored::decode(resource, &kv) else {
                // The feed has named it. What it holds is not known: nothing may be given away.
                return Ok(0);
            };
            let metadata = object.metadata();
            let namespace = metadata.namespace.as_deref().unwrap_or_default();
            let name = metadata.name.as_deref().unwrap_or_default();
            let owner = owner(&resource.names.plural, namespace, name);
            for key in resource.kind.claims(&*object).into_iter().map(key) {
                if let Some(other) = held.insert(key.clone(), owner.clone().into()) {
                    let other = String::from_utf8_lossy(&other);
                    warn!("{key} is held by {other} and by {owner}; delete one of them");
                }
            }
        }
    }
    let mut wrong = Vec::new();
    for kv in list(store, ALLOCATIONS, revision).await? {
        if held.remove(&kv.key).is_none() {
            let owner = String::from_utf8_lossy(&kv.value);
            warn!("{} is given back: {owner} does not hold it", kv.key);
            let key = kv.key.clone();
            wrong.push((kv.key, kv.mod_revision, Op::Delete { key }));
        }
    }
    for (key, value) in held {
        let owner = String::from_utf8_lossy(&value);
        warn!("{key} was free and is taken: {owner} holds it");
        let (put, lease) = (key.clone(), 0);
        let op = Op::Put { key: put, value, lease };
        wrong.push((key, 0, op));
    }
    let count = wrong.len();
    for (key, mod_revision, op) in wrong {
        // A conflict: another server has changed it since, and knows better.
        let compare = Compare { key, mod_revision };
        store.txn(vec![compare], vec![op]).await?;
    }
    Ok(count)
}

async fn list(store: &dyn Store, prefix: &str, revision: Revision) -> Result<Vec<KeyValue>, Error> {
    let mut items: Vec<KeyValue> = Vec::new();
    loop {
        let options = ListOptions {
            prefix: prefix.to_owned(),
            after: items.last().map(|kv| kv.key.clone()),
            limit: PAGE,
            revision,
        };
        let page = store.list(options).await?;
        let last = page.remaining == 0 || page.items.is_empty();
        items.extend(page.items);
        if last {
            return Ok(items);
        }
    }
}
