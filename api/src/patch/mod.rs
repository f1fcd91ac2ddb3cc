//! Patches of all three kinds that need no field owners: one boundary, [`patch`].
//!
//! Never decodes, defaults or validates the outcome.

mod json;
mod strategic;

use serde_json::Value;

use crate::decode::{self, Format};

/// The kinds of patch, by media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    /// `application/json-patch+json`, RFC 6902.
    Json,
    /// `application/merge-patch+json`, RFC 7396.
    Merge,
    /// `application/strategic-merge-patch+json`: lists of objects merge by key.
    StrategicMerge,
}

impl PatchType {
    /// The patch type of a media type (without parameters).
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::StrategicMerge),
            _ => None,
        }
    }
}

/// Why a patch has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch itself is wrong: 400.
    #[error("{0}")]
    Malformed(String),
    /// The patch does not fit the object, such as a failed `test`: 422.
    #[error("{0}")]
    Unprocessable(String),
    /// Too many operations, or too much copied: 413.
    #[error("{0}")]
    TooLarge(String),
}

/// The object of a definition, such as `io.k8s.api.core.v1.Service`, as the patch leaves it. Duplicate fields of the patch are dropped, the last counts.
pub fn patch(
    definition: &str,
    original: Value,
    patch: &[u8],
    patch_type: PatchType,
) -> Result<Value, PatchError> {
    let (patch, _) =
        decode::parse(patch, Format::Json).map_err(|error| PatchError::Malformed(error.message))?;
    patch_value(definition, original, patch, patch_type)
}

/// The same for a parsed patch.
pub fn patch_value(
    definition: &str,
    mut original: Value,
    patch: Value,
    patch_type: PatchType,
) -> Result<Value, PatchError> {
    match patch_type {
        PatchType::Json => json::apply(original, patch),
        PatchType::Merge => {
            if !patch.is_object() {
                return Err(PatchError::Malformed("a merge patch is an object".to_owned()));
            }
            json_patch::merge(&mut original, &patch);
            Ok(original)
        }
        PatchType::StrategicMerge => strategic::apply(definition, original, patch),
    }
}
