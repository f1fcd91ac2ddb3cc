//! From Kubernetes' protobuf bodies to the tree that the same object's JSON has.
//!
//! Never writes protobuf: every client that sends it reads JSON as well.
//!
//! A body is four magic bytes and a `runtime.Unknown`, which names the kind and holds the
//! message. Types come with the definitions of `crate::shape`, field numbers with the tables
//! beside the kinds; the two are joined here. Nesting is bounded by the definitions, none of
//! which contains itself; size by whoever reads the body.

mod message;
pub mod numbers;
mod wire;

use serde_json::{Map, Value};

use crate::{decode_error::DecodeError, kind::Kind, kinds, openapi};

use self::wire::Reader;

/// What every body starts with.
const MAGIC: &[u8] = b"k8s\0";

/// The body as the tree that its JSON has. `default` is the kind of a body that names none.
pub fn value(body: &[u8], default: Option<&dyn Kind>) -> Result<Value, DecodeError> {
    if !body.starts_with(MAGIC) {
        return Err(DecodeError::new(
            "the body is not protobuf of Kubernetes: byte 0: it must start with 6b 38 73 00",
        ));
    }
    let unknown = Unknown::read(Reader::new(body, MAGIC.len()))?;
    let definition = match (unknown.kind, default) {
        ("", Some(kind)) => kind.definition(),
        ("", None) => return Err(DecodeError::new("the body does not name its kind")),
        (kind, _) => definition_of(unknown.api_version, kind)?,
    };
    let mut fields = Map::new();
    for (name, text) in [("apiVersion", unknown.api_version), ("kind", unknown.kind)] {
        if !text.is_empty() {
            fields.insert(name.to_owned(), text.into());
        }
    }
    if let Some(raw) = unknown.raw {
        message::read(definition, raw, &mut fields)?;
    }
    Ok(Value::Object(fields))
}

/// `runtime.Unknown`, as far as a server looks at it.
#[derive(Default)]
struct Unknown<'a> {
    api_version: &'a str,
    kind: &'a str,
    raw: Option<Reader<'a>>,
}

impl<'a> Unknown<'a> {
    fn read(mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let mut unknown = Self::default();
        while let Some(field) = reader.field()? {
            match field.number {
                1 => {
                    let mut type_meta = field.message()?;
                    while let Some(field) = type_meta.field()? {
                        match field.number {
                            1 => unknown.api_version = field.text()?,
                            2 => unknown.kind = field.text()?,
                            _ => {}
                        }
                    }
                }
                2 => unknown.raw = Some(field.message()?),
                3 if !field.text()?.is_empty() => {
                    return Err(field.malformed("a contentEncoding is not supported"));
                }
                _ => {}
            }
        }
        Ok(unknown)
    }
}

fn definition_of(api_version: &str, kind: &str) -> Result<&'static str, DecodeError> {
    if let Some(kind) = kinds::find_kind(api_version, kind) {
        return Ok(kind.definition());
    }
    let request = openapi::REQUESTS.iter().find(|request| {
        request.kind == kind && request.api_version.is_none_or(|one| one == api_version)
    });
    request.map(|request| request.definition).ok_or_else(|| {
        DecodeError::new(format!(
            "no kind \"{kind}\" of version \"{api_version}\" is read as protobuf here; send application/json"
        ))
    })
}
