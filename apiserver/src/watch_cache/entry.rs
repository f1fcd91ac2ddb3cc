//! One version of one object as clients get it: encoded once, with what selectors need.
//!
//! Never keeps the decoded object.

use std::{collections::BTreeMap, sync::Arc};

use api::kind::Kind;
use bytes::Bytes;
use serde_json::Value;
use store::Revision;

const METADATA: &[u8] = b"\"metadata\":{";
const FIELD: &[u8] = b"\"resourceVersion\":\"";

/// An object version, ready to be sent.
#[derive(Debug)]
pub struct Entry {
    /// `NAMESPACE/NAME`, or `NAME` for kinds without a namespace.
    pub key: Arc<str>,
    /// The object's JSON with `metadata.resourceVersion` set.
    pub json: Bytes,
    /// Labels, for label selectors.
    pub labels: BTreeMap<String, String>,
    /// Selectable fields, for field selectors.
    pub fields: Vec<(&'static str, String)>,
    /// Revision of this version.
    pub revision: Revision,
}

impl Entry {
    /// Makes an entry of a stored value. `Err` says why the value is no object of the kind.
    pub fn of(
        kind: &dyn Kind,
        key: &str,
        value: &[u8],
        revision: Revision,
    ) -> Result<Self, String> {
        let object = kind.decode(value).map_err(|error| error.message)?;
        Ok(Self {
            key: key.into(),
            json: with_resource_version(value, revision)?.into(),
            labels: object.metadata().labels.clone().unwrap_or_default(),
            fields: kind.fields(&*object),
            revision,
        })
    }

    /// The same object as of a later revision: how a deletion is told.
    pub fn json_at(&self, revision: Revision) -> Vec<u8> {
        with_resource_version(&self.json, revision).unwrap_or_else(|_| self.json.to_vec())
    }
}

/// Sets `metadata.resourceVersion` in an object's JSON. Objects that this server wrote
/// begin with apiVersion, kind and metadata, so that a splice does; others go over a tree.
pub fn with_resource_version(json: &[u8], revision: Revision) -> Result<Vec<u8>, String> {
    match splice_position(json) {
        Some(at) => {
            let rest = &json[at..];
            let rest = match rest.strip_prefix(FIELD) {
                // An entry's own JSON: the old number goes.
                Some(old) => {
                    let digits = old.iter().take_while(|b| b.is_ascii_digit()).count();
                    let old = &old[digits..];
                    old.strip_prefix(b"\",")
                        .or_else(|| old.strip_prefix(b"\""))
                        .ok_or("metadata.resourceVersion is no number")?
                }
                None => rest,
            };
            let number = revision.to_string();
            let mut out = Vec::with_capacity(json.len() + FIELD.len() + number.len() + 2);
            out.extend_from_slice(&json[..at]);
            out.extend_from_slice(FIELD);
            out.extend_from_slice(number.as_bytes());
            out.push(b'"');
            if rest.first() != Some(&b'}') {
                out.push(b',');
            }
            out.extend_from_slice(rest);
            Ok(out)
        }
        None => {
            let mut value: Value = serde_json::from_slice(json).map_err(|e| e.to_string())?;
            let metadata =
                value.get_mut("metadata").and_then(Value::as_object_mut).ok_or("no metadata")?;
            metadata.insert("resourceVersion".to_owned(), revision.to_string().into());
            serde_json::to_vec(&value).map_err(|e| e.to_string())
        }
    }
}

/// Where the fields of the top-level `metadata` begin, if only `apiVersion` and `kind` stand
/// before it and no other `resourceVersion` can follow.
fn splice_position(json: &[u8]) -> Option<usize> {
    // Longest apiVersion and kind of any kind, with room to spare.
    const HEAD: usize = 256;
    let head = &json[..json.len().min(HEAD)];
    if !head.starts_with(b"{\"apiVersion\":\"") {
        return None;
    }
    let at = head.windows(METADATA.len()).position(|window| window == METADATA)?;
    let plain = head[1..at].iter().all(|b| !matches!(b, b'{' | b'['));
    plain.then_some(at + METADATA.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(json: &str, revision: Revision) -> String {
        String::from_utf8(with_resource_version(json.as_bytes(), revision).unwrap()).unwrap()
    }

    #[test]
    fn resource_version_is_set_and_replaced() {
        let stored =
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"metadata":{}}}"#;
        let sent = set(stored, 7);
        assert_eq!(
            sent,
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"7","name":"a"},"spec":{"metadata":{}}}"#
        );
        assert_eq!(set(&sent, 12), sent.replace("\"7\"", "\"12\""));
    }

    #[test]
    fn a_value_in_another_order_goes_over_a_tree() {
        let stored = r#"{"spec":{"metadata":{}},"metadata":{"name":"a"},"kind":"Pod"}"#;
        let sent: Value = serde_json::from_str(&set(stored, 7)).unwrap();
        assert_eq!(sent["metadata"]["resourceVersion"], "7");
        assert_eq!(sent["spec"]["metadata"], serde_json::json!({}));
    }

    #[test]
    fn empty_metadata_gets_no_comma() {
        let stored = r#"{"apiVersion":"v1","kind":"Pod","metadata":{}}"#;
        assert!(set(stored, 7).contains(r#"{"resourceVersion":"7"}"#));
    }
}
