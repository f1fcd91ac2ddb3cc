//! Field errors: which field of an object breaks which rule, in upstream's words for the kinds of error.
//!
//! Never knows HTTP: `crate::status` turns them into a `Status` with causes.

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
