//! Who controls what: owner references, adoption and release.
//!
//! Never changes an object; it says which references ought to change.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;
use kube::core::{Selector, SelectorExt};

/// The reference marked as controller, if any.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|reference| reference.controller == Some(true))
}

/// A reference that makes `owner` the controller of an object.
pub fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Whether the selector matches; one that cannot be read, or is empty, matches nothing.
pub fn selects(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let empty = selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
    if empty {
        return false;
    }
    let none = BTreeMap::new();
    Selector::try_from(selector.clone()).is_ok_and(|parsed| parsed.matches(labels.unwrap_or(&none)))
}

/// What a controller finds among the objects that could be its own.
#[derive(Debug)]
pub struct Claim<K> {
    /// Objects it controls, or will after adoption.
    pub owned: Vec<Arc<K>>,
    /// Matching objects without a controller.
    pub adopt: Vec<Arc<K>>,
    /// Controlled objects that no longer match.
    pub release: Vec<Arc<K>>,
}

/// Sorts candidates into what `owner` owns, adopts and releases.
pub fn claim<O, K>(owner: &O, selector: &LabelSelector, candidates: Vec<Arc<K>>) -> Claim<K>
where
    O: Resource<DynamicType = ()>,
    K: Resource,
{
    let uid = owner.meta().uid.as_deref().unwrap_or_default();
    let owner_leaves = owner.meta().deletion_timestamp.is_some();
    let mut claim = Claim { owned: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    for object in candidates {
        let meta = object.meta();
        let matches = selects(selector, meta.labels.as_ref());
        match controller_of(meta) {
            Some(controller) if controller.uid != uid => {}
            Some(_) if matches => claim.owned.push(object),
            Some(_) if owner_leaves || meta.deletion_timestamp.is_some() => {}
            Some(_) => claim.release.push(object),
            None if matches && !owner_leaves && meta.deletion_timestamp.is_none() => {
                claim.adopt.push(object.clone());
                claim.owned.push(object);
            }
            None => {}
        }
    }
    claim
}

/// A merge patch that adds or removes `owner` as controller. The UID and the
/// resourceVersion in it make it fail on anything but the object that was looked at.
pub fn reference_patch<O, K>(owner: &O, object: &K, adopt: bool) -> serde_json::Value
where
    O: Resource<DynamicType = ()>,
    K: Resource,
{
    let meta = object.meta();
    let mut references = meta.owner_references.clone().unwrap_or_default();
    references.retain(|reference| Some(&reference.uid) != owner.meta().uid.as_ref());
    if adopt {
        references.push(controller_reference(owner));
    }
    serde_json::json!({"metadata": {
        "uid": meta.uid, "resourceVersion": meta.resource_version, "ownerReferences": references,
    }})
}
