//! Field errors: which field of an object breaks which rule, in upstream's words for the kinds of error.
//!
//! Never knows HTTP: `crate::status` turns them into a `Status` with causes.

use std::fmt;

use serde::Serialize;

/// What is wrong with a field. The names are those of `StatusCause.reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldErrorType {
    /// `FieldValueRequired`
    Required,
    /// `FieldValueInvalid`
    Invalid,
    /// `FieldValueNotSupported`
    NotSupported,
    /// `FieldValueDuplicate`
    Duplicate,
    /// `FieldValueForbidden`
    Forbidden,
    /// `FieldValueTooLong`
    TooLong,
    /// `FieldValueTooMany`
    TooMany,
    /// `FieldValueTypeInvalid`
    TypeInvalid,
    /// `FieldValueNotFound`
    NotFound,
}

impl FieldErrorType {
    /// The text in `StatusCause.reason`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::NotFound => "FieldValueNotFound",
        }
    }
}

/// One violated rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The kind of error.
    pub kind: FieldErrorType,
    /// Path as upstream writes it: `spec.ports[0].nodePort`.
    pub field: String,
    /// The whole message after the path, such as `Invalid value: 80: provided port is already allocated`.
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl FieldError {
    fn new(kind: FieldErrorType, field: &(impl fmt::Display + ?Sized), message: String) -> Self {
        Self { kind, field: field.to_string(), message }
    }

    /// `Required value`, with a detail where there is one to say.
    pub fn required(field: &(impl fmt::Display + ?Sized), detail: &str) -> Self {
        Self::new(FieldErrorType::Required, field, with_detail("Required value", detail))
    }

    /// `Invalid value: "x": detail`. The value is printed as JSON.
    pub fn invalid(
        field: &(impl fmt::Display + ?Sized),
        value: &(impl Serialize + ?Sized),
        detail: &str,
    ) -> Self {
        let message = with_detail(&format!("Invalid value: {}", json(value)), detail);
        Self::new(FieldErrorType::Invalid, field, message)
    }

    /// `Unsupported value: "x": supported values: "a", "b"`.
    pub fn not_supported(
        field: &(impl fmt::Display + ?Sized),
        value: &(impl Serialize + ?Sized),
        supported: &[&str],
    ) -> Self {
        let mut supported: Vec<_> = supported.iter().map(json).collect();
        supported.sort();
        let message = format!(
            "Unsupported value: {}: supported values: {}",
            json(value),
            supported.join(", ")
        );
        Self::new(FieldErrorType::NotSupported, field, message)
    }

    /// `Duplicate value: "x"`.
    pub fn duplicate(
        field: &(impl fmt::Display + ?Sized),
        value: &(impl Serialize + ?Sized),
    ) -> Self {
        let message = format!("Duplicate value: {}", json(value));
        Self::new(FieldErrorType::Duplicate, field, message)
    }

    /// `Not found: "x"`: the value names something that is not there.
    pub fn not_found(
        field: &(impl fmt::Display + ?Sized),
        value: &(impl Serialize + ?Sized),
    ) -> Self {
        Self::new(FieldErrorType::NotFound, field, format!("Not found: {}", json(value)))
    }

    /// `Forbidden: detail`.
    pub fn forbidden(field: &(impl fmt::Display + ?Sized), detail: &str) -> Self {
        Self::new(FieldErrorType::Forbidden, field, with_detail("Forbidden", detail))
    }

    /// `Too long: may not be more than N bytes`.
    pub fn too_long(field: &(impl fmt::Display + ?Sized), max_bytes: usize) -> Self {
        let message = format!("Too long: may not be more than {max_bytes} bytes");
        Self::new(FieldErrorType::TooLong, field, message)
    }

    /// `Too many: N: must have at most M items`.
    pub fn too_many(field: &(impl fmt::Display + ?Sized), count: usize, max: usize) -> Self {
        let message = format!("Too many: {count}: must have at most {max} items");
        Self::new(FieldErrorType::TooMany, field, message)
    }
}

fn with_detail(head: &str, detail: &str) -> String {
    if detail.is_empty() { head.to_owned() } else { format!("{head}: {detail}") }
}

fn json(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// A field's path while a validator walks down an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// A field of the object itself.
    pub fn new(field: &str) -> Self {
        Self(field.to_owned())
    }

    /// A field of this one: `spec` → `spec.ports`.
    pub fn child(&self, field: &str) -> Self {
        Self(format!("{}.{field}", self.0))
    }

    /// An item of this list: `spec.ports` → `spec.ports[0]`.
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// A value of this map: `data` → `data[key]`.
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
