//! JSON patch (RFC 6902), within limits.
//!
//! Never interprets paths by kind.

use json_patch::{Patch, PatchErrorKind, PatchOperation};
use serde_json::Value;

use super::PatchError;

/// Most operations in one patch, as upstream.
const MAX_OPERATIONS: usize = 10_000;
/// Most bytes that the `copy` operations of one patch may copy in all: without a limit, a short
/// patch that copies its own copies fills the memory.
const MAX_COPIED_BYTES: usize = 3 * 1024 * 1024;

/// The object after every operation; none has an effect if one fails.
pub fn apply(mut object: Value, patch: Value) -> Result<Value, PatchError> {
    let patch: Patch = serde_json::from_value(patch)
        .map_err(|error| PatchError::Malformed(format!("this is not a JSON patch: {error}")))?;
    if patch.0.len() > MAX_OPERATIONS {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            patch.0.len()
        )));
    }
    let mut copied_bytes = 0;
    for (index, operation) in patch.0.iter().enumerate() {
        if let PatchOperation::Copy(copy) = operation
            && let Ok(source) = copy.from.resolve(&object)
        {
            copied_bytes += source.to_string().len();
            if copied_bytes > MAX_COPIED_BYTES {
                return Err(PatchError::TooLarge(format!(
                    "the copy operations of a JSON patch may copy {MAX_COPIED_BYTES} bytes in all"
                )));
            }
        }
        json_patch::patch(&mut object, std::slice::from_ref(operation))
            .map_err(|error| failed(index, &error))?;
    }
    Ok(object)
}

fn failed(index: usize, error: &json_patch::PatchError) -> PatchError {
    let cause = match &error.kind {
        PatchErrorKind::TestFailed => "the value there is another one".to_owned(),
        PatchErrorKind::InvalidPointer => "there is nothing at that path".to_owned(),
        other => other.to_string(),
    };
    PatchError::Unprocessable(format!("operation {index} failed at \"{}\": {cause}", error.path))
}
