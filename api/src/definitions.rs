//! The schemas of all of the API's types, made from the Rust types by `build.rs`.

use k8s_openapi::Resource;
use serde_json::Value;

// `KINDS`, sorted: `(apiVersion, kind, definition)`; `DEFINITIONS`, sorted: `(definition, schema)`.
include!(concat!(env!("OUT_DIR"), "/schemas.rs"));

/// The name of the definition of a type, such as `io.k8s.api.core.v1.Service`.
pub(crate) fn definition_of<T: Resource>() -> &'static str {
    let key = (T::API_VERSION, T::KIND);
    let index = KINDS.binary_search_by_key(&key, |(version, kind, _)| (version, kind));
    KINDS[index.expect("build.rs asks for every kind")].2
}

/// The schema as the Rust type gives it; `None` where no kind of the API has it.
pub(crate) fn made(definition: &str) -> Option<Value> {
    let index = DEFINITIONS.binary_search_by_key(&definition, |(name, _)| name).ok()?;
    serde_json::from_str(DEFINITIONS[index].1).ok()
}
