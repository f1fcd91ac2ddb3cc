//! Rules of metadata, the same for every kind: names, labels, annotations, owners, finalizers.
//!
//! Never makes up names, UIDs or times: the API server does.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::{
    check::Checks,
    field::{FieldError, Path},
    kind::{NameRule, Names},
    names,
};

/// Most bytes that the annotations of one object may have in all.
pub const MAX_ANNOTATIONS_BYTES: usize = 256 * 1024;
/// Finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// Every violated rule of an object's metadata.
pub fn validate(names: &Names, rule: NameRule, metadata: &ObjectMeta) -> Vec<FieldError> {
    let mut checks = Checks::new();
    let path = Path::new("metadata");
    validate_names(&mut checks, names, rule, metadata);
    checks.non_negative(&path.child("generation"), metadata.generation);
    checks.labels(&path.child("labels"), metadata.labels.as_ref());
    validate_annotations(&mut checks, &path.child("annotations"), metadata);
    validate_owners(&mut checks, metadata.owner_references.as_deref().unwrap_or_default());
    for finalizer in metadata.finalizers.iter().flatten() {
        let path = path.child("finalizers");
        checks.reasons(&path, finalizer, &names::qualified_name(finalizer));
        let known = finalizer.contains('/') || STANDARD_FINALIZERS.contains(&finalizer.as_str());
        checks.holds(
            known,
            &path,
            finalizer,
            "name is neither a standard finalizer name nor is it fully qualified",
        );
    }
    checks.into_errors()
}

fn validate_names(checks: &mut Checks, names: &Names, rule: NameRule, metadata: &ObjectMeta) {
    let rule = match rule {
        NameRule::Subdomain => names::dns1123_subdomain,
        NameRule::Label => names::dns1123_label,
        NameRule::Rfc1035Label => names::dns1035_label,
    };
    let name = metadata.name.as_deref().unwrap_or_default();
    let prefix = metadata.generate_name.as_deref().unwrap_or_default();
    if !prefix.is_empty() {
        // What is generated goes on with letters: a dash at the end is fine.
        let probe = match prefix.strip_suffix('-') {
            Some(stem) if !stem.is_empty() => format!("{stem}a"),
            _ => prefix.to_owned(),
        };
        checks.reasons(&Path::new("metadata.generateName"), prefix, &rule(&probe));
    }
    let path = Path::new("metadata.name");
    if !name.is_empty() {
        checks.reasons(&path, name, &rule(name));
    } else if prefix.is_empty() {
        checks.push(FieldError::required(&path, "name or generateName is required"));
    }
    let path = Path::new("metadata.namespace");
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    if names.namespaced {
        checks.named(&path, namespace, names::dns1123_label);
    } else {
        checks.allowed(namespace.is_empty(), &path, "not allowed on this type");
    }
}

fn validate_annotations(checks: &mut Checks, path: &Path, metadata: &ObjectMeta) {
    let mut bytes = 0;
    for (key, value) in metadata.annotations.iter().flatten() {
        // Keys of annotations may have capitals in their prefix, for compatibility.
        checks.reasons(path, key, &names::qualified_name(&key.to_lowercase()));
        bytes += key.len() + value.len();
    }
    if bytes > MAX_ANNOTATIONS_BYTES {
        checks.push(FieldError::too_long(path, MAX_ANNOTATIONS_BYTES));
    }
}

fn validate_owners(checks: &mut Checks, owners: &[OwnerReference]) {
    let list = Path::new("metadata.ownerReferences");
    let mut controller: Option<&OwnerReference> = None;
    for (index, owner) in owners.iter().enumerate() {
        let path = list.index(index);
        let fields = [
            ("apiVersion", &owner.api_version),
            ("kind", &owner.kind),
            ("name", &owner.name),
            ("uid", &owner.uid),
        ];
        for (field, value) in fields {
            checks.holds(!value.is_empty(), &path.child(field), value, "must not be empty");
        }
        if owner.controller != Some(true) {
            continue;
        }
        if let Some(first) = controller {
            let detail = format!(
                "Only one reference can have Controller set to true. Found \"true\" in references for {}/{} and {}/{}",
                first.kind, first.name, owner.kind, owner.name
            );
            checks.push(FieldError::invalid(&list, owners, &detail));
            return;
        }
        controller = Some(owner);
    }
}

/// Sets what a client may leave out of an update, and what no update can take back.
pub fn keep(new: &mut ObjectMeta, old: &ObjectMeta) {
    if new.uid.as_deref().unwrap_or_default().is_empty() {
        new.uid.clone_from(&old.uid);
    }
    if new.creation_timestamp.is_none() {
        new.creation_timestamp.clone_from(&old.creation_timestamp);
    }
    if new.deletion_timestamp.is_none() {
        new.deletion_timestamp.clone_from(&old.deletion_timestamp);
    }
    if new.deletion_grace_period_seconds.is_none() {
        new.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
    }
    new.generation = old.generation;
}

/// Every violated rule of a change of metadata.
pub fn validate_update(new: &ObjectMeta, old: &ObjectMeta) -> Vec<FieldError> {
    let mut checks = Checks::new();
    let path = Path::new("metadata");
    checks.immutable(&path.child("name"), &new.name, &old.name);
    checks.immutable(&path.child("namespace"), &new.namespace, &old.namespace);
    checks.immutable(&path.child("uid"), &new.uid, &old.uid);
    let seconds =
        |metadata: &ObjectMeta| metadata.creation_timestamp.as_ref().map(|time| time.0.as_second());
    checks.immutable(&path.child("creationTimestamp"), &seconds(new), &seconds(old));
    checks.immutable(
        &path.child("deletionGracePeriodSeconds"),
        &new.deletion_grace_period_seconds,
        &old.deletion_grace_period_seconds,
    );
    if old.deletion_timestamp.is_some() {
        let before = old.finalizers.as_deref().unwrap_or_default();
        let added: Vec<_> =
            new.finalizers.iter().flatten().filter(|name| !before.contains(name)).collect();
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
        );
        checks.allowed(added.is_empty(), &path.child("finalizers"), &detail);
    }
    checks.into_errors()
}

/// Selectable fields of every kind's metadata.
pub fn fields(names: &Names, metadata: &ObjectMeta) -> Vec<(&'static str, String)> {
    let values = [&metadata.name, &metadata.namespace];
    let fields = field_names(names).into_iter().zip(values);
    fields.map(|(name, value)| (name, value.clone().unwrap_or_default())).collect()
}

/// The names that [`fields`] returns.
pub fn field_names(names: &Names) -> Vec<&'static str> {
    let all = ["metadata.name", "metadata.namespace"];
    all[..1 + usize::from(names.namespaced)].to_vec()
}
