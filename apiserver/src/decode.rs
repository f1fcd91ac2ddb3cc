//! From a request's body to an object: size limit, media type, unknown fields.
//!
//! Never defaults or validates.

use api::{
    decode::{self, Decoded, Format},
    kind::Object,
    status::ApiError,
};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde_json::Value;

use crate::{
    drain::{MAX_BODY_BYTES, TooLong},
    failure::Failure,
    request::Query,
    resource::Resource,
};

/// What to do with fields that the kind does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them.
    Ignore,
    /// Drop them and warn: the default.
    Warn,
    /// 400.
    Strict,
}

impl FieldValidation {
    /// From the query parameter `fieldValidation`.
    pub fn of(query: &Query) -> Result<Self, Failure> {
        match query.get("fieldValidation") {
            None | Some("Warn") => Ok(Self::Warn),
            Some("Ignore") => Ok(Self::Ignore),
            Some("Strict") => Ok(Self::Strict),
            Some(other) => Err(Failure::bad_request(format!(
                "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
            ))),
        }
    }
}

/// Reads a body to its end or the limit, which the body itself keeps.
pub async fn read_body(body: Body) -> Result<Bytes, Failure> {
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(ApiError::too_large(MAX_BODY_BYTES).into());
    }
    match body.collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if TooLong::is_cause_of(&error) => {
            Err(ApiError::too_large(MAX_BODY_BYTES).into())
        }
        Err(error) => Err(Failure::bad_request(format!("reading the body: {error}"))),
    }
}

/// The media type of a body, without parameters; JSON where none is said.
pub fn media_type(headers: &HeaderMap) -> &str {
    let header = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = header.unwrap_or("application/json");
    media_type.split(';').next().unwrap_or_default().trim()
}

/// The format of a body, by its media type.
pub fn format_of(headers: &HeaderMap) -> Result<Format, Failure> {
    match media_type(headers) {
        // What curl says when nobody told it: upstream reads it as JSON, too.
        "application/json" | "application/x-www-form-urlencoded" | "" => Ok(Format::Json),
        "application/yaml" => Ok(Format::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(Format::Protobuf),
        _ => Err(ApiError::unsupported_media_type(&[
            "application/json",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
        ])
        .into()),
    }
}

/// A body as an object of the kind; warnings are added to the list.
pub fn object(
    resource: &Resource,
    headers: &HeaderMap,
    body: &[u8],
    validation: FieldValidation,
    warnings: &mut Vec<String>,
) -> Result<Box<dyn Object>, Failure> {
    let format = format_of(headers)?;
    let decoded = match resource.version() {
        None => decode::decode(&*resource.kind, body, format),
        Some(version) => decode::parse(body, format).and_then(|(value, duplicates)| {
            let mut decoded = decode::from_version(&*resource.kind, version, value)?;
            decoded.issues.splice(0..0, duplicates);
            Ok(decoded)
        }),
    };
    let decoded = decoded.map_err(|error| Failure::bad_request(error.message))?;
    check_issues(resource, decoded, validation, warnings)
}

/// A tree, such as the outcome of a patch, as an object of the kind.
pub fn object_of_value(
    resource: &Resource,
    value: Value,
    validation: FieldValidation,
    warnings: &mut Vec<String>,
) -> Result<Box<dyn Object>, Failure> {
    let decoded = match resource.version() {
        None => {
            let json = serde_json::to_vec(&value).map_err(ApiError::internal)?;
            decode::decode(&*resource.kind, &json, Format::Json)
        }
        Some(version) => decode::from_version(&*resource.kind, version, value),
    };
    let decoded = decoded.map_err(|error| Failure::bad_request(error.message))?;
    check_issues(resource, decoded, validation, warnings)
}

/// A body as a tree, for the small objects of subresources.
pub fn value(headers: &HeaderMap, body: &[u8]) -> Result<Value, Failure> {
    let (value, _) = decode::parse(body, format_of(headers)?)
        .map_err(|error| Failure::bad_request(error.message))?;
    Ok(value)
}

fn check_issues(
    resource: &Resource,
    decoded: Decoded,
    validation: FieldValidation,
    warnings: &mut Vec<String>,
) -> Result<Box<dyn Object>, Failure> {
    match validation {
        FieldValidation::Strict if !decoded.issues.is_empty() => {
            let error = decode::strict_error(&*resource.kind, &decoded.issues);
            return Err(Failure::bad_request(error.message));
        }
        FieldValidation::Warn => warnings.extend(decoded.issues),
        FieldValidation::Strict | FieldValidation::Ignore => {}
    }
    Ok(decoded.object)
}
