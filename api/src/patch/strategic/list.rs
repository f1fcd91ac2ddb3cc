//! Strategic merge patch of lists: items merge by key, and keep an order that both sides know.
//!
//! Never merges a list that its kind calls atomic: the caller replaces it.

use serde_json::{Map, Value};

use crate::{patch::PatchError, shape::Shape};

use super::{DIRECTIVE, malformed, merge_object};

/// What goes into a merge.
pub struct Lists {
    /// The list as it is stored.
    pub original: Vec<Value>,
    /// Items to merge into it.
    pub patch: Vec<Value>,
    /// `$setElementOrder`: the wanted order of the items it names.
    pub order: Option<Vec<Value>>,
    /// `$deleteFromPrimitiveList`: texts and numbers to drop.
    pub deleted: Vec<Value>,
}

/// The merged list. `item` is the type of an item, `key` the field that identifies it; texts and
/// numbers are their own key.
pub fn merge(item: &Shape, key: Option<&str>, lists: Lists) -> Result<Vec<Value>, PatchError> {
    let Lists { original, patch, order, deleted } = lists;
    let server_order = original.clone();
    let objects = original.iter().chain(&patch).any(Value::is_object);
    let (mut merged, named, server_order) = if objects {
        let key =
            key.ok_or_else(|| malformed("cannot merge lists of objects without merge key"))?;
        let (original, patch) = directives(original, patch, key)?;
        let order_base = original.clone();
        (merge_objects(item, key, original, &patch)?, patch, order_base)
    } else {
        (merge_scalars(original, &patch, &deleted), patch, server_order)
    };
    if let Some(order) = &order {
        check_order(&named, order, key)?;
    }
    let any_order = [Some(named), order];
    for order in any_order.into_iter().flatten().filter(|order| !order.is_empty()) {
        merged = arrange(merged, &order, &server_order, key);
    }
    Ok(merged)
}

fn merge_scalars(original: Vec<Value>, patch: &[Value], deleted: &[Value]) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    for value in original.into_iter().filter(|value| !deleted.contains(value)) {
        if !merged.contains(&value) {
            merged.push(value);
        }
    }
    for value in patch {
        if !merged.contains(value) {
            merged.push(value.clone());
        }
    }
    merged
}

/// Obeys and drops the items that are directives. After `$patch: replace` nothing is merged:
/// the other items of the patch are the list.
fn directives(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let mut items = Vec::new();
    let mut replace = false;
    for item in patch {
        match item.get(DIRECTIVE).map(Value::as_str) {
            None => items.push(item),
            Some(Some("delete")) => {
                let id = id(&item, Some(key)).ok_or_else(|| no_key(&item, key))?.clone();
                original.retain(|other| other.get(key) != Some(&id));
            }
            Some(Some("replace")) => replace = true,
            Some(other) => {
                return Err(malformed(format!(
                    "unknown $patch type {} of a list item: delete and replace are known",
                    other.unwrap_or("that is not text")
                )));
            }
        }
    }
    if replace {
        return Ok((Vec::new(), items));
    }
    Ok((original, items))
}

fn merge_objects(
    shape: &Shape,
    key: &str,
    mut merged: Vec<Value>,
    patch: &[Value],
) -> Result<Vec<Value>, PatchError> {
    for item in patch {
        let wanted = id(item, Some(key)).ok_or_else(|| no_key(item, key))?;
        let Value::Object(item) = item else {
            return Err(no_key(item, key));
        };
        match merged.iter_mut().find(|other| other.get(key) == Some(wanted)) {
            Some(found) => {
                let original = match found.take() {
                    Value::Object(original) => original,
                    _ => Map::new(),
                };
                *found = Value::Object(merge_object(shape, original, item.clone())?);
            }
            None => merged.push(Value::Object(merge_object(shape, Map::new(), item.clone())?)),
        }
    }
    Ok(merged)
}

/// What identifies an item: the value of its key, or itself.
fn id<'a>(item: &'a Value, key: Option<&str>) -> Option<&'a Value> {
    match (item, key) {
        (Value::Object(fields), Some(key)) => fields.get(key),
        (Value::Object(_), None) => None,
        (scalar, None) => Some(scalar),
        (_, Some(_)) => None,
    }
}

fn no_key(item: &Value, key: &str) -> PatchError {
    malformed(format!("map: {item} does not contain declared merge key: {key}"))
}

/// Every item of the patch must stand in the wanted order, in the same sequence.
fn check_order(patch: &[Value], order: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    if order.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter();
    for item in patch {
        if !rest.any(|wanted| id(wanted, key) == id(item, key)) {
            return Err(malformed(format!(
                "the order of the items {} does not match $setElementOrder {}",
                Value::from(patch.to_vec()),
                Value::from(order.to_vec())
            )));
        }
    }
    Ok(())
}

/// Puts the items that `order` names into its sequence, and the others, which only the server
/// knows, before the first named item that they stood before on the server, else behind.
fn arrange(
    items: Vec<Value>,
    order: &[Value],
    server_order: &[Value],
    key: Option<&str>,
) -> Vec<Value> {
    let position = |list: &[Value], item: &Value| {
        let wanted = id(item, key);
        list.iter().position(|other| wanted.is_some() && id(other, key) == wanted)
    };
    let (mut named, mut server_only): (Vec<_>, Vec<_>) =
        items.into_iter().partition(|item| position(order, item).is_some());
    named.sort_by_key(|item| position(order, item));
    server_only.sort_by_key(|item| position(server_order, item).unwrap_or(usize::MAX));
    let mut arranged = Vec::with_capacity(named.len() + server_only.len());
    let mut server_only = server_only.into_iter().peekable();
    for item in named {
        if let Some(at) = position(server_order, &item) {
            let before = |other: &Value| position(server_order, other).is_some_and(|p| p < at);
            while let Some(other) = server_only.next_if(|other| before(other)) {
                arranged.push(other);
            }
        }
        arranged.push(item);
    }
    arranged.extend(server_only);
    arranged
}
