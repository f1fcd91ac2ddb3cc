//! One version of one object: its stored bytes, and what selectors need of it.
//!
//! Never keeps the decoded object.

use std::sync::Arc;

use api::kind::{Kind, Object};
use bytes::Bytes;
use store::Revision;

use crate::json::Json;

/// An object version, ready to be sent.
#[derive(Debug)]
pub struct Entry {
    /// `NAMESPACE/NAME`, or `NAME` for kinds without a namespace.
    pub key: Arc<str>,
    /// The object as of its revision.
    pub json: Json,
    /// Labels and fields, for selectors.
    pub selectable: Selectable,
    /// Revision of this version.
    pub revision: Revision,
}

impl Entry {
    /// Makes an entry of a stored value. `Err` says why the value is no object of the kind.
    pub fn of(
        kind: &dyn Kind,
        key: &str,
        value: Bytes,
        revision: Revision,
    ) -> Result<Self, String> {
        let object = kind.decode(&value).map_err(|error| error.message)?;
        Self::new(key, value, revision, Selectable::of(kind, &*object))
    }

    /// The same where the object is known already.
    pub fn new(
        key: &str,
        value: Bytes,
        revision: Revision,
        selectable: Selectable,
    ) -> Result<Self, String> {
        Ok(Self { key: key.into(), json: Json::stored(value, revision)?, selectable, revision })
    }

    /// Bytes of JSON that it holds.
    pub fn size(&self) -> usize {
        self.json.value().len()
    }
}

/// An object's fields and labels, packed: names and values in turn, each with its length in
/// front. A map of strings would take as much memory as a small object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selectable {
    packed: Box<[u8]>,
    /// Where the fields end and the labels begin.
    labels_at: u32,
}

impl Selectable {
    /// Of a decoded object.
    pub fn of(kind: &dyn Kind, object: &dyn Object) -> Self {
        let mut packed = Vec::new();
        for (name, value) in kind.fields(object) {
            // One that is not there counts as empty.
            if !value.is_empty() {
                put(&mut packed, name);
                put(&mut packed, &value);
            }
        }
        let labels_at = packed.len() as u32;
        for (key, value) in object.metadata().labels.iter().flatten() {
            put(&mut packed, key);
            put(&mut packed, value);
        }
        Self { packed: packed.into(), labels_at }
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        find(&self.packed[self.labels_at as usize..], key)
    }

    /// A field's value; empty where the object does not have it.
    pub fn field(&self, name: &str) -> &str {
        find(&self.packed[..self.labels_at as usize], name).unwrap_or_default()
    }
}

fn put(into: &mut Vec<u8>, text: &str) {
    into.extend_from_slice(&(text.len() as u32).to_le_bytes());
    into.extend_from_slice(text.as_bytes());
}

fn take<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = from.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *from = rest;
    Some(text)
}

fn find<'a>(mut packed: &'a [u8], name: &str) -> Option<&'a str> {
    while let (Some(found), Some(value)) = (take(&mut packed), take(&mut packed)) {
        if found == name.as_bytes() {
            return std::str::from_utf8(value).ok();
        }
    }
    None
}
