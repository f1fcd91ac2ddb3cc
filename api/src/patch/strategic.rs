//! Strategic merge patch of objects: as a merge patch, but lists merge by key where the kind
//! says so, and directives (`$patch`, `$retainKeys`, …) say what a merge cannot.
//!
//! Never knows a kind by name: `crate::shape` has the types and merge facts.

use serde_json::{Map, Value};

mod list;

use crate::shape::{self, Field, Shape};

use super::PatchError;

/// How an object or a list item is dealt with as a whole.
pub(super) const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ORDER_PREFIX: &str = "$setElementOrder/";
const DELETE_PREFIX: &str = "$deleteFromPrimitiveList/";

/// The object as the patch leaves it.
pub fn apply(definition: &str, original: Value, patch: Value) -> Result<Value, PatchError> {
    let (Value::Object(original), Value::Object(patch)) = (original, patch) else {
        return Err(malformed("a strategic merge patch is an object"));
    };
    merge_object(&Shape::Struct(definition.to_owned()), original, patch).map(Value::Object)
}

pub(super) fn malformed(message: impl Into<String>) -> PatchError {
    PatchError::Malformed(message.into())
}

/// Merges two objects whose type is `shape`.
pub(super) fn merge_object(
    shape: &Shape,
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
) -> Result<Map<String, Value>, PatchError> {
    match patch.remove(DIRECTIVE).as_ref().map(Value::as_str) {
        None => {}
        Some(Some("replace")) => return Ok(patch),
        Some(Some("delete")) => return Ok(Map::new()),
        Some(Some("merge")) => {}
        Some(other) => {
            return Err(malformed(format!(
                "unknown $patch type {}: delete, merge and replace are known",
                other.unwrap_or("that is not text")
            )));
        }
    }
    retain_keys(&mut original, &mut patch)?;
    let mut orders = take_prefixed(&mut patch, ORDER_PREFIX)?;
    let mut deletions = take_prefixed(&mut patch, DELETE_PREFIX)?;
    for (key, value) in patch {
        if value.is_null() {
            original.remove(&key);
            continue;
        }
        let field = field(shape, &key);
        let order = orders.remove(&key);
        let deleted = deletions.remove(&key).unwrap_or_default();
        let merged = merge_field(field.as_ref(), original.remove(&key), value, order, deleted)?;
        original.insert(key, merged);
    }
    // Directives on lists that the patch has no items for.
    let keys: Vec<String> = orders.keys().chain(deletions.keys()).cloned().collect();
    for key in keys {
        let field = field(shape, &key);
        if !original.get(&key).is_some_and(Value::is_array) || !has(field.as_ref(), "merge") {
            continue;
        }
        let list = original.remove(&key);
        let order = orders.remove(&key);
        let deleted = deletions.remove(&key).unwrap_or_default();
        let merged = merge_field(field.as_ref(), list, Value::Array(vec![]), order, deleted)?;
        original.insert(key, merged);
    }
    Ok(original)
}

/// A field's type and facts; values of a map have the map's.
fn field(shape: &Shape, key: &str) -> Option<Field> {
    match shape {
        Shape::Struct(definition) => shape::fields(definition)?.get(key).cloned(),
        Shape::Map(values) => Some(Field { shape: (**values).clone(), facts: None }),
        _ => None,
    }
}

/// Whether the field's patch strategy has this word.
fn has(field: Option<&Field>, wanted: &str) -> bool {
    let strategy = field.and_then(|field| field.facts).and_then(|facts| facts.patch_strategy);
    strategy.unwrap_or_default().split(',').any(|word| word == wanted)
}

fn merge_field(
    field: Option<&Field>,
    original: Option<Value>,
    patch: Value,
    order: Option<Vec<Value>>,
    deleted: Vec<Value>,
) -> Result<Value, PatchError> {
    let any = Shape::Any;
    let shape = field.map_or(&any, |field| &field.shape);
    let facts = field.and_then(|field| field.facts);
    match (original, patch) {
        (_, patch @ Value::Object(_)) if has(field, "replace") => Ok(patch),
        (Some(Value::Object(original)), Value::Object(patch)) => {
            merge_object(shape, original, patch).map(Value::Object)
        }
        // Nulls and directives have no place in a new object.
        (_, Value::Object(patch)) => merge_object(shape, Map::new(), patch).map(Value::Object),
        (original, Value::Array(patch)) if has(field, "merge") => {
            let original = match original {
                Some(Value::Array(original)) => original,
                _ => Vec::new(),
            };
            let any = Shape::Any;
            let item = match shape {
                Shape::List(item) => item,
                _ => &any,
            };
            let key = facts.and_then(|facts| facts.merge_key);
            let list = list::Lists { original, patch, order, deleted };
            list::merge(item, key, list).map(Value::Array)
        }
        (Some(original), Value::Array(patch)) if patch.is_empty() && order.is_some() => {
            Ok(original)
        }
        (_, patch) => Ok(patch),
    }
}

/// Drops every field of the original that `$retainKeys` does not list.
fn retain_keys(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
) -> Result<(), PatchError> {
    let Some(retained) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let Value::Array(retained) = retained else {
        return Err(malformed("$retainKeys is a list of field names"));
    };
    let kept = |key: &str| retained.iter().any(|name| name.as_str() == Some(key));
    let stray =
        patch.iter().find(|(key, value)| !value.is_null() && !key.starts_with('$') && !kept(key));
    if let Some((key, _)) = stray {
        return Err(malformed(format!(
            "the patch sets \"{key}\", which $retainKeys does not list"
        )));
    }
    original.retain(|key, _| kept(key));
    Ok(())
}

/// Takes the directives of one kind out of a patch: field → list.
fn take_prefixed(
    patch: &mut Map<String, Value>,
    prefix: &str,
) -> Result<std::collections::BTreeMap<String, Vec<Value>>, PatchError> {
    let keys: Vec<String> = patch.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
    let mut taken = std::collections::BTreeMap::new();
    for key in keys {
        match patch.remove(&key) {
            Some(Value::Array(list)) => taken.insert(key[prefix.len()..].to_owned(), list),
            _ => return Err(malformed(format!("\"{key}\" is a list"))),
        };
    }
    Ok(taken)
}
