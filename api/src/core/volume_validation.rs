//! Rules of a pod's volumes.
//!
//! Never knows which drivers a node has.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{KeyToPath, PodSpec, ProjectedVolumeSource, Volume};
use serde_json::Value;

use crate::{
    check::Checks,
    field::{FieldError, Path},
    names,
};

const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

/// Every violated rule of the volumes.
pub fn validate(checks: &mut Checks, path: &Path, spec: &PodSpec) {
    let mut seen = BTreeSet::new();
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let path = path.index(index);
        checks.named(&path.child("name"), &volume.name, names::dns1123_label);
        if !seen.insert(&volume.name) {
            checks.push(FieldError::duplicate(&path.child("name"), &volume.name));
        }
        validate_volume(checks, &path, volume);
    }
}

fn validate_volume(checks: &mut Checks, path: &Path, volume: &Volume) {
    // The sources are optional fields of one struct: its JSON says which are there.
    let fields = serde_json::to_value(volume).unwrap_or_default();
    let sources = fields.as_object().into_iter().flat_map(|fields| fields.keys());
    let sources: Vec<_> = sources.filter(|field| *field != "name").collect();
    if sources.is_empty() {
        checks.push(FieldError::required(path, "must specify a volume type"));
    }
    for source in sources.iter().skip(1) {
        let detail = "may not specify more than 1 volume type";
        checks.push(FieldError::forbidden(&path.child(source), detail));
    }
    if let Some(host) = &volume.host_path {
        let path = path.child("hostPath");
        if checks.required(&path.child("path"), &host.path, "") {
            let inside = !host.path.split('/').any(|part| part == "..");
            checks.holds(inside, &path.child("path"), &host.path, "must not contain '..'");
        }
        let type_ = host.type_.as_deref().unwrap_or_default();
        if !HOST_PATH_TYPES.contains(&type_) {
            let path = path.child("type");
            checks.push(FieldError::not_supported(&path, type_, &HOST_PATH_TYPES));
        }
    }
    if let Some(map) = &volume.config_map {
        let path = path.child("configMap");
        checks.required(&path.child("name"), &map.name, "");
        validate_mode(checks, &path.child("defaultMode"), map.default_mode);
        validate_items(checks, &path.child("items"), map.items.as_deref());
    }
    if let Some(secret) = &volume.secret {
        let path = path.child("secret");
        let name = secret.secret_name.as_deref().unwrap_or_default();
        checks.required(&path.child("secretName"), name, "");
        validate_mode(checks, &path.child("defaultMode"), secret.default_mode);
        validate_items(checks, &path.child("items"), secret.items.as_deref());
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        let path = path.child("persistentVolumeClaim").child("claimName");
        checks.required(&path, &claim.claim_name, "");
    }
    if let Some(downward) = &volume.downward_api {
        let path = path.child("downwardAPI");
        validate_mode(checks, &path.child("defaultMode"), downward.default_mode);
        for (index, item) in downward.items.iter().flatten().enumerate() {
            validate_path(checks, &path.child("items").index(index).child("path"), &item.path);
        }
    }
    if let Some(projected) = &volume.projected {
        validate_projected(checks, &path.child("projected"), projected);
    }
}

fn validate_projected(checks: &mut Checks, path: &Path, projected: &ProjectedVolumeSource) {
    validate_mode(checks, &path.child("defaultMode"), projected.default_mode);
    for (index, source) in projected.sources.iter().flatten().enumerate() {
        let path = path.child("sources").index(index);
        let source = serde_json::to_value(source).unwrap_or_default();
        let given = source.as_object().map_or(0, |fields| fields.len());
        let detail = "may not specify more than 1 volume type per source";
        checks.allowed(given <= 1, &path, detail);
        if given == 0 {
            checks.push(FieldError::required(&path, "must specify a volume source"));
        }
        validate_token(checks, &path, &source);
    }
}

fn validate_token(checks: &mut Checks, path: &Path, source: &Value) {
    let Some(token) = source.get("serviceAccountToken") else {
        return;
    };
    let path = path.child("serviceAccountToken");
    let token_path = token.get("path").and_then(Value::as_str).unwrap_or_default();
    validate_path(checks, &path.child("path"), token_path);
    if let Some(seconds) = token.get("expirationSeconds").and_then(Value::as_i64) {
        let detail = "may not specify a duration less than 10 minutes";
        checks.holds(seconds >= 600, &path.child("expirationSeconds"), &seconds, detail);
    }
}

fn validate_items(checks: &mut Checks, path: &Path, items: Option<&[KeyToPath]>) {
    for (index, item) in items.into_iter().flatten().enumerate() {
        let path = path.index(index);
        checks.required(&path.child("key"), &item.key, "");
        validate_path(checks, &path.child("path"), &item.path);
        validate_mode(checks, &path.child("mode"), item.mode);
    }
}

fn validate_path(checks: &mut Checks, path: &Path, text: &str) {
    if checks.required(path, text, "") {
        checks.holds(!text.starts_with('/'), path, text, "must be a relative path");
        let inside = !text.split('/').any(|part| part == "..");
        checks.holds(inside, path, text, "must not contain '..'");
    }
}

fn validate_mode(checks: &mut Checks, path: &Path, mode: Option<i32>) {
    if let Some(mode) = mode {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        checks.holds((0..=0o777).contains(&mode), path, &mode, detail);
    }
}
