//! From bytes to objects: JSON, YAML and protobuf, with positions in errors.
//!
//! Never defaults or validates.

use serde_json::Value;

use crate::{
    conform,
    decode_error::DecodeError,
    document::Document,
    kind::{Kind, Names, Object},
    plain, protobuf,
    version::Version,
};

/// The form of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// An object, and what was odd about its text.
pub struct Decoded {
    /// The object.
    pub object: Box<dyn Object>,
    /// `unknown field "spec.x"` and `duplicate field "spec.y"`: an error in strict field
    /// validation (see [`strict_error`]), warnings otherwise. Of a duplicate the last one counts.
    pub issues: Vec<String>,
}

/// A body as a tree, and its duplicate fields, of which protobuf has none.
pub fn parse(body: &[u8], format: Format) -> Result<(Value, Vec<String>), DecodeError> {
    let document = match format {
        Format::Json => Document::from_json(body)?,
        Format::Yaml => Document::from_yaml(body)?,
        Format::Protobuf => return Ok((protobuf::value(body, None)?, Vec::new())),
    };
    let mut issues = Vec::new();
    let value = document.into_value(&mut issues);
    Ok((value, issues))
}

/// A body as an object of the kind. `apiVersion` and `kind` may be missing; where they are
/// there, they must be the kind's.
pub fn decode(kind: &dyn Kind, body: &[u8], format: Format) -> Result<Decoded, DecodeError> {
    if format == Format::Json
        && plain::is_plain(kind, body)
        && let Ok(object) = kind.decode(body)
    {
        return Ok(Decoded { object, issues: Vec::new() });
    }
    let (value, duplicates) = match format {
        Format::Protobuf => (protobuf::value(body, Some(kind))?, Vec::new()),
        Format::Json | Format::Yaml => parse(body, format)?,
    };
    let mut decoded = from_value(kind, value)?;
    decoded.issues.splice(0..0, duplicates);
    Ok(decoded)
}

/// The same for a tree, such as the outcome of a patch.
pub fn from_value(kind: &dyn Kind, value: Value) -> Result<Decoded, DecodeError> {
    check_type(kind.names(), &value)?;
    let mut issues = Vec::new();
    conform::check(kind.definition(), &value, &mut issues)
        .map_err(|error| cannot_be_handled(kind.names(), &error))?;
    let json = serde_json::to_vec(&value).map_err(|error| DecodeError::new(error.to_string()))?;
    let object =
        kind.decode(&json).map_err(|error| cannot_be_handled(kind.names(), &error.message))?;
    Ok(Decoded { object, issues })
}

/// The same for a tree of another version than the stored one.
pub fn from_version(
    kind: &dyn Kind,
    version: &Version,
    value: Value,
) -> Result<Decoded, DecodeError> {
    check_type(&version.names, &value)?;
    let mut issues = Vec::new();
    conform::check(&version.definition, &value, &mut issues)
        .map_err(|error| cannot_be_handled(&version.names, &error))?;
    let decoded = from_value(kind, version.stored(value, kind.names()))?;
    Ok(Decoded { issues, ..decoded })
}

/// The error that strict field validation ends with.
pub fn strict_error(kind: &dyn Kind, issues: &[String]) -> DecodeError {
    cannot_be_handled(kind.names(), &format!("strict decoding error: {}", issues.join(", ")))
}

fn cannot_be_handled(names: &Names, cause: &str) -> DecodeError {
    DecodeError::new(format!(
        "{} in version \"{}\" cannot be handled as a {}: {cause}",
        names.kind, names.version, names.kind
    ))
}

fn check_type(names: &Names, value: &Value) -> Result<(), DecodeError> {
    let Some(fields) = value.as_object() else {
        let found = conform::type_name(value);
        return Err(cannot_be_handled(names, &format!("the body is {found}, not an object")));
    };
    let api_version = names.api_version();
    for (field, label, expected) in
        [("apiVersion", "API version", &api_version), ("kind", "kind", &names.kind)]
    {
        match fields.get(field) {
            None | Some(Value::Null) => {}
            Some(Value::String(found)) if found.is_empty() || found == expected => {}
            Some(found) => {
                let found = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
                return Err(DecodeError::new(format!(
                    "the {label} in the data ({found}) does not match the expected {label} ({expected})"
                )));
            }
        }
    }
    Ok(())
}
