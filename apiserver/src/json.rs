//! An object's JSON on its way out: the bytes as they are stored, and the place among them
//! where `metadata.resourceVersion` goes.
//!
//! The stored bytes are shared with the store and copied nowhere; the number, which is the
//! store's revision, is put in where an answer is sent.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value};
use store::Revision;

const METADATA: &[u8] = b"\"metadata\":{";
const FIELD: &str = "\"resourceVersion\":\"";

/// Longest apiVersion and kind of any kind, with room to spare.
const HEAD_BYTES: usize = 512;

/// An object's JSON, in which a `resourceVersion` may still have to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json {
    value: Bytes,
    /// Where the fields of `metadata` begin, and the version to set there.
    version: Option<(u32, Revision)>,
}

impl Json {
    /// Sent as it is: an object that was not stored.
    pub fn plain(value: Bytes) -> Self {
        Self { value, version: None }
    }

    /// A stored value as of a revision. A value that another program wrote in an order of its
    /// own is written anew. `Err` says why the value is no object.
    pub fn stored(value: Bytes, revision: Revision) -> Result<Self, String> {
        if let Some(at) = splice_position(&value) {
            return Ok(Self { value, version: Some((at, revision)) });
        }
        let value = Bytes::from(in_order(&value)?);
        let at = splice_position(&value).ok_or("apiVersion and kind are too long")?;
        Ok(Self { value, version: Some((at, revision)) })
    }

    /// The same object as of another revision.
    pub fn at(&self, revision: Revision) -> Self {
        let version = self.version.map(|(at, _)| (at, revision));
        Self { value: self.value.clone(), version }
    }

    /// The stored bytes, without a `resourceVersion`: for readers that know it already.
    pub fn value(&self) -> &Bytes {
        &self.value
    }

    /// What is sent, in order. The first and the last piece are the stored bytes.
    pub fn pieces(&self) -> [Bytes; 3] {
        let Some((at, revision)) = self.version else {
            return [self.value.clone(), Bytes::new(), Bytes::new()];
        };
        let at = at as usize;
        let mut field = BytesMut::with_capacity(FIELD.len() + 24);
        self.put_field(at, revision, &mut field);
        [self.value.slice(..at), field.freeze(), self.value.slice(at..)]
    }

    /// Appends what is sent.
    pub fn put(&self, into: &mut BytesMut) {
        let Some((at, revision)) = self.version else {
            return into.extend_from_slice(&self.value);
        };
        let at = at as usize;
        into.extend_from_slice(&self.value[..at]);
        self.put_field(at, revision, into);
        into.extend_from_slice(&self.value[at..]);
    }

    /// What is sent, in one piece of its own.
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.size());
        self.put(&mut bytes);
        bytes.freeze()
    }

    /// Bytes that are sent, or a few more.
    pub fn size(&self) -> usize {
        self.value.len() + FIELD.len() + 24
    }

    fn put_field(&self, at: usize, revision: Revision, into: &mut BytesMut) {
        into.put_slice(FIELD.as_bytes());
        into.put_slice(revision.to_string().as_bytes());
        let last = self.value.get(at) == Some(&b'}');
        into.put_slice(if last { b"\"" } else { b"\"," });
    }
}

/// Where the fields of the top-level `metadata` begin, if only `apiVersion` and `kind` stand
/// before it and no other `resourceVersion` follows at once.
fn splice_position(json: &[u8]) -> Option<u32> {
    let head = &json[..json.len().min(HEAD_BYTES)];
    if !head.starts_with(b"{\"apiVersion\":\"") {
        return None;
    }
    let at = head.windows(METADATA.len()).position(|window| window == METADATA)?;
    let plain = head[1..at].iter().all(|b| !matches!(b, b'{' | b'['));
    let at = at + METADATA.len();
    let free = !json[at..].starts_with(FIELD.as_bytes());
    (plain && free).then_some(at as u32)
}

/// An object with apiVersion, kind and metadata first, and without a `resourceVersion`.
fn in_order(json: &[u8]) -> Result<String, String> {
    let mut object: Map<String, Value> =
        serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let mut text = String::from("{");
    for name in ["apiVersion", "kind"] {
        let value = object.remove(name).unwrap_or_else(|| "".into());
        text.push_str(&format!("\"{name}\":{value},"));
    }
    let mut metadata = object.remove("metadata").ok_or("no metadata")?;
    let fields = metadata.as_object_mut().ok_or("no metadata")?;
    fields.remove("resourceVersion");
    text.push_str(&format!("\"metadata\":{metadata}"));
    for (name, value) in object {
        text.push_str(&format!(",{}:{value}", Value::from(name)));
    }
    text.push('}');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(json: &str, revision: Revision) -> String {
        let json = Json::stored(Bytes::copy_from_slice(json.as_bytes()), revision).unwrap();
        let whole = json.to_bytes();
        assert_eq!(json.pieces().concat(), whole);
        assert!(whole.len() <= json.size());
        String::from_utf8(whole.to_vec()).unwrap()
    }

    #[test]
    fn a_version_is_put_in_and_nothing_is_copied() {
        let stored =
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"metadata":{}}}"#;
        assert_eq!(
            sent(stored, 7),
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"7","name":"a"},"spec":{"metadata":{}}}"#
        );
        let value = Bytes::from_static(stored.as_bytes());
        let json = Json::stored(value.clone(), 7).unwrap();
        assert_eq!(json.value().as_ptr(), value.as_ptr());
        assert!(json.at(12).to_bytes().starts_with(
            br#"{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"12","#
        ));
    }

    #[test]
    fn a_value_in_another_order_is_written_anew() {
        for stored in [
            r#"{"spec":{"metadata":{}},"metadata":{"name":"a"},"kind":"Pod"}"#,
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"3"},"spec":{"metadata":{}}}"#,
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"3","name":"a"},"spec":{"metadata":{}}}"#,
        ] {
            let sent: Value = serde_json::from_str(&sent(stored, 7)).unwrap();
            assert_eq!(sent["metadata"]["resourceVersion"], "7");
            assert_eq!(sent["metadata"]["name"], "a");
            assert_eq!(sent["spec"]["metadata"], serde_json::json!({}));
        }
    }

    #[test]
    fn empty_metadata_gets_no_comma() {
        let stored = r#"{"apiVersion":"v1","kind":"Pod","metadata":{}}"#;
        assert!(sent(stored, 7).contains(r#"{"resourceVersion":"7"}"#));
    }
}
