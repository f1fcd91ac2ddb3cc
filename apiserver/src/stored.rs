//! The form in which objects are stored, and the way back.

use api::{kind::Object, status::ApiError};
use bytes::Bytes;
use store::{KeyValue, Revision};

use crate::{failure::Failure, json::Json, resource::Resource};

/// The stored value of an object, decoded, with its `resourceVersion`.
pub fn decode(resource: &Resource, kv: &KeyValue) -> Result<Box<dyn Object>, Failure> {
    let decoded = resource.kind.decode(&kv.value);
    let mut object = decoded.map_err(|error| {
        ApiError::internal(format!("{} is not readable: {}", kv.key, error.message))
    })?;
    object.metadata_mut().resource_version = Some(kv.mod_revision.to_string());
    Ok(object)
}

/// The canonical stored form: no `resourceVersion`, since it is the store's revision.
pub fn encode(object: &mut dyn Object) -> Bytes {
    object.metadata_mut().resource_version = None;
    // No more memory than the bytes: they stay.
    object.to_json().into_boxed_slice().into()
}

/// A stored value as of a revision.
pub fn json_at(value: &Bytes, revision: Revision) -> Result<Json, Failure> {
    Json::stored(value.clone(), revision).map_err(|error| ApiError::internal(error).into())
}
