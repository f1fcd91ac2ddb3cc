//! Patch: the client's change is applied to the newest version, again when that changes.
//!
//! Never knows how patches work: `api::patch` does.

use std::sync::Mutex;

use api::{
    patch::{PatchError, PatchType, patch},
    status::ApiError,
};

use crate::{
    decode::{FieldValidation, object_of_value},
    failure::Failure,
    server::Server,
};

use super::{
    update::{Target, update},
    write::Written,
};

/// The patch type of a media type; what is not served says so.
pub fn patch_type(media_type: &str) -> Result<PatchType, Failure> {
    if media_type == "application/apply-patch+yaml" {
        return Err(Failure::unsupported_media_type(
            "server-side apply is not served yet; use client-side apply (kubectl apply without --server-side)",
        ));
    }
    PatchType::of_media_type(media_type).ok_or_else(|| {
        ApiError::unsupported_media_type(&[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
        ])
        .into()
    })
}

/// The API's error for a patch that has no outcome.
pub fn patch_failure(error: PatchError) -> Failure {
    match error {
        PatchError::Malformed(message) => Failure::bad_request(message),
        PatchError::Unprocessable(message) => ApiError::unprocessable(message).into(),
        PatchError::TooLarge(message) => {
            let mut told = ApiError::too_large(crate::drain::MAX_BODY_BYTES);
            told.message = message;
            told.into()
        }
    }
}

/// Patches an object or its status.
pub async fn patch_object(
    server: &Server,
    target: Target<'_>,
    body: &[u8],
    patch_type: PatchType,
    validation: FieldValidation,
) -> Result<Written, Failure> {
    // Each try begins anew: only the last one's warnings count.
    let decoding = Mutex::new(Vec::new());
    let mut written = update(server, target, |old| {
        let resource = target.resource;
        let (definition, original) = match resource.version() {
            None => (resource.kind.definition(), old.to_value()),
            Some(version) => (&*version.definition, version.served(old.to_value())),
        };
        let patched = patch(definition, original, body, patch_type).map_err(patch_failure)?;
        let mut warnings = Vec::new();
        let object = object_of_value(resource, patched, validation, &mut warnings)?;
        if let Ok(mut decoding) = decoding.lock() {
            *decoding = warnings;
        }
        Ok(object)
    })
    .await?;
    let decoding = decoding.into_inner().unwrap_or_default();
    written.warnings.splice(0..0, decoding);
    Ok(written)
}
