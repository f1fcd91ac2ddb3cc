//! How lists and maps of `meta/v1` merge: patch strategies, merge keys, list-map keys.
//!
//! Never says anything of types or descriptions: those come with the Rust types.

/// One line a field, read by `crate::facts`; the prefix of the definitions stands first.
pub const FACTS: (&str, &str) = (
    "io.k8s.apimachinery.pkg.apis.meta.v1",
    "
    LabelSelector map=atomic
    LabelSelector.matchExpressions list=atomic
    LabelSelectorRequirement.values list=atomic
    ObjectMeta.finalizers list=set patch=merge
    ObjectMeta.managedFields list=atomic
    ObjectMeta.ownerReferences list=map:uid patch=merge merge-key=uid
    OwnerReference map=atomic
    ",
);
