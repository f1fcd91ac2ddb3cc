//! Objects whose fields no Rust type knows, and a kind of such objects that is made at run time.

use std::any::Any;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    decode_error::DecodeError,
    field::FieldError,
    kind::{Column, Kind, NameRule, Names},
    meta,
    object::{Object, typed, typed_mut},
    subresource::{Behaviour, Subresource},
    table,
    version::Version,
};

/// An object with typed metadata, and a tree for the rest.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unstructured {
    /// `v1` or `example.com/v1`.
    #[serde(default)]
    pub api_version: String,
    /// CamelCase kind.
    #[serde(default)]
    pub kind: String,
    /// The object's metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Every other field.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Object for Unstructured {
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a tree has string keys only")
    }

    fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("a tree has string keys only")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn clone_object(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }

    fn equals(&self, other: &dyn Object) -> bool {
        other.as_any().downcast_ref::<Self>() == Some(self)
    }
}

const COLUMNS: [Column; 2] = [table::NAME, table::AGE];

/// A kind that was not compiled in. Any field is one of its own; `generation` counts the changes
/// of all but metadata and status.
pub struct Custom {
    names: Names,
    definition: String,
    subresources: Vec<Subresource>,
    versions: Vec<Version>,
}

impl Custom {
    /// A kind of these names.
    pub fn new(names: Names) -> Self {
        let (subresources, versions) = (Vec::new(), Vec::new());
        Self { definition: definition(&names), subresources, versions, names }
    }

    /// With subresources.
    pub fn with(self, subresources: Vec<Subresource>) -> Self {
        Self { subresources, ..self }
    }

    /// Served under another group or version, too.
    pub fn with_version(mut self, version: Version) -> Self {
        self.versions.push(version);
        self
    }

    fn has_status(&self) -> bool {
        self.subresources.iter().any(|one| matches!(one.behaviour, Behaviour::Status))
    }
}

const STATUS: &str = "status";

impl Version {
    /// A version of a [`Custom`] kind.
    pub fn custom(
        names: Names,
        to_stored: fn(Value) -> Value,
        from_stored: fn(Value) -> Value,
    ) -> Self {
        Self {
            definition: definition(&names),
            names,
            default: |_| {},
            to_stored: Box::new(to_stored),
            from_stored: Box::new(from_stored),
        }
    }
}

/// As upstream names definitions: the group's parts in reverse, version and kind.
fn definition(names: &Names) -> String {
    let mut parts: Vec<&str> = names.group.split('.').rev().collect();
    parts.extend([names.version.as_str(), &names.kind]);
    parts.join(".")
}

impl Kind for Custom {
    fn names(&self) -> &Names {
        &self.names
    }

    fn subresources(&self) -> &[Subresource] {
        &self.subresources
    }

    fn versions(&self) -> &[Version] {
        &self.versions
    }

    fn decode(&self, json: &[u8]) -> Result<Box<dyn Object>, DecodeError> {
        let mut object: Unstructured =
            serde_json::from_slice(json).map_err(|error| DecodeError::new(error.to_string()))?;
        object.api_version = self.names.api_version();
        object.kind.clone_from(&self.names.kind);
        Ok(Box::new(object))
    }

    fn default(&self, _object: &mut dyn Object) {}

    fn prepare_create(&self, object: &mut dyn Object) {
        let object: &mut Unstructured = typed_mut(object);
        object.metadata.generation = Some(1);
        if self.has_status() {
            object.rest.remove(STATUS);
        }
    }

    fn prepare_update(&self, new: &mut dyn Object, old: &dyn Object) {
        let (new, old): (&mut Unstructured, &Unstructured) = (typed_mut(new), typed(old));
        meta::keep(&mut new.metadata, &old.metadata);
        if self.has_status() {
            new.rest.remove(STATUS);
            let status = old.rest.get(STATUS).cloned();
            new.rest.extend(status.map(|status| (STATUS.to_owned(), status)));
        }
        if new.rest != old.rest {
            new.metadata.generation = Some(old.metadata.generation.unwrap_or(0) + 1);
        }
    }

    fn prepare_status_update(&self, new: &mut dyn Object, old: &dyn Object) {
        let (new, old): (&mut Unstructured, &Unstructured) = (typed_mut(new), typed(old));
        let status = new.rest.remove(STATUS);
        new.rest.clone_from(&old.rest);
        new.rest.remove(STATUS);
        new.rest.extend(status.map(|status| (STATUS.to_owned(), status)));
        meta::keep(&mut new.metadata, &old.metadata);
    }

    fn validate(&self, object: &dyn Object) -> Vec<FieldError> {
        meta::validate(&self.names, NameRule::Subdomain, object.metadata())
    }

    fn validate_update(&self, new: &dyn Object, old: &dyn Object) -> Vec<FieldError> {
        meta::validate_update(new.metadata(), old.metadata())
    }

    fn fields(&self, object: &dyn Object) -> Vec<(&'static str, String)> {
        meta::fields(&self.names, object.metadata())
    }

    fn field_names(&self) -> Vec<&'static str> {
        meta::field_names(&self.names)
    }

    fn columns(&self) -> &[Column] {
        &COLUMNS
    }

    fn row(&self, object: &dyn Object, now: Timestamp) -> Vec<Value> {
        let metadata = object.metadata();
        vec![table::name_of(metadata), table::age_of(metadata, now)]
    }

    fn definition(&self) -> &str {
        &self.definition
    }
}
