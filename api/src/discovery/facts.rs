//! How lists and maps of the group `discovery.k8s.io` merge: patch strategies, merge keys, list-map keys.
//!
//! Never says anything of types or descriptions: those come with the Rust types.

/// One line a field, read by `crate::facts`; the prefix of the definitions stands first.
pub const FACTS: (&str, &str) = (
    "io.k8s.api.discovery.v1",
    "
    Endpoint.addresses list=set
    EndpointHints.forNodes list=atomic
    EndpointHints.forZones list=atomic
    EndpointPort map=atomic
    EndpointSlice.endpoints list=atomic
    EndpointSlice.ports list=atomic
    ",
);
