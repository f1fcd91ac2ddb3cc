//! From bytes to objects: JSON and YAML, with positions in errors.
//!
//! Never defaults or validates.

/// Why a body is not an object of the kind. The message has the position or the field path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DecodeError {
    /// For people: what was wrong, and where.
    pub message: String,
}
