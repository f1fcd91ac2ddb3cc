//! What the API server must know of a kind, in one trait: `Rules` for the author of
//! a kind (typed), `Kind` for its users (erased).
//!
//! Adding a kind is one file that implements `Rules` and one line in `crate::kinds`.
//! Nothing here does I/O, reads a clock or knows HTTP.

use std::any::Any;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{decode::DecodeError, field::FieldError};

/// A kind's names and where it is served and stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Served (and stored) version, such as `v1`.
    pub version: &'static str,
    /// CamelCase kind, such as `EndpointSlice`.
    pub kind: &'static str,
    /// Lower-case plural used in paths, such as `endpointslices`.
    pub plural: &'static str,
    /// Lower-case singular, such as `endpointslice`.
    pub singular: &'static str,
    /// Short names that clients accept, such as `svc`.
    pub short_names: &'static [&'static str],
    /// Groups of kinds that clients accept, such as `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// The key below `/registry/`, as upstream lays it out (`services/specs`).
    pub storage_prefix: &'static str,
    /// Whether the `status` subresource is served.
    pub status: bool,
}

/// Verbs of a kind, as discovery tells them.
const VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

impl Names {
    /// What can be done with objects of the kind. Namespaces go one by one, as upstream: one
    /// careless request must not empty a cluster.
    pub fn verbs(&self) -> Vec<&'static str> {
        let whole = self.kind != "Namespace";
        let mut verbs = VERBS.to_vec();
        verbs.retain(|verb| whole || *verb != "deletecollection");
        verbs
    }
}

/// How the name of an object of this kind is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain, at most 253 characters: most kinds.
    Subdomain,
    /// RFC 1123 label, at most 63 characters: Namespace.
    Label,
    /// RFC 1035 label, at most 63 characters, starting with a letter: Service.
    Rfc1035Label,
}

/// One column of the kind's `Table`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Heading in upstream's spelling, such as `Cluster-IP`.
    pub name: &'static str,
    /// OpenAPI type: `string`, `integer`, `date`.
    pub kind: &'static str,
    /// OpenAPI format; `name` marks the object's name.
    pub format: &'static str,
    /// One sentence for `kubectl explain`-like uses.
    pub description: &'static str,
    /// 0: always printed; 1: with `-o wide`.
    pub priority: i32,
}

/// Typed rules of one kind. Defaults do nothing; a kind overrides what it has.
pub trait Rules: Send + Sync + 'static {
    /// The Rust type that defines the kind's fields.
    type Object: k8s_openapi::Metadata<Ty = ObjectMeta>
        + Serialize
        + DeserializeOwned
        + Clone
        + PartialEq
        + Default
        + Send
        + Sync
        + 'static;

    /// Names, scope and storage prefix.
    const NAMES: Names;
    /// Which names are allowed.
    const NAME_RULE: NameRule = NameRule::Subdomain;

    /// Fills unset fields, as upstream's defaulting does.
    fn default(_object: &mut Self::Object) {}
    /// Drops what a client may not set on create (such as status); sets `generation`.
    fn prepare_create(_object: &mut Self::Object) {}
    /// Keeps what an update of the main resource may not change (status), and raises
    /// `generation` when the spec differs.
    fn prepare_update(_new: &mut Self::Object, _old: &Self::Object) {}
    /// Keeps everything but the status (and what else the status subresource may set).
    fn prepare_status_update(_new: &mut Self::Object, _old: &Self::Object) {}
    /// Every violated rule of a complete object, by field path.
    fn validate(_object: &Self::Object) -> Vec<FieldError> {
        Vec::new()
    }
    /// Every violated rule of a change, beyond `validate(new)`: immutable fields.
    fn validate_update(_new: &Self::Object, _old: &Self::Object) -> Vec<FieldError> {
        Vec::new()
    }
    /// Warnings for the `Warning` header, such as a deprecation.
    fn warnings(_object: &Self::Object) -> Vec<String> {
        Vec::new()
    }
    /// A warning sent with every request for this kind, reads too (Endpoints has one).
    const DEPRECATED: Option<&'static str> = None;
    /// Selectable fields beyond `metadata.name` and `metadata.namespace`.
    fn fields(_object: &Self::Object) -> Vec<(&'static str, String)> {
        Vec::new()
    }
    /// The names `fields` can return; a field selector on another name is a 400.
    const FIELDS: &'static [&'static str] = &[];
    /// Columns of the `Table`.
    const COLUMNS: &'static [Column];
    /// Cells of one row, in the order of `COLUMNS`. `now` is for ages.
    fn row(object: &Self::Object, now: Timestamp) -> Vec<Value>;
}

/// A decoded object of any kind.
pub trait Object: Any + Send + Sync {
    /// The object's metadata.
    fn metadata(&self) -> &ObjectMeta;
    /// The object's metadata, to change.
    fn metadata_mut(&mut self) -> &mut ObjectMeta;
    /// Canonical JSON, with `apiVersion` and `kind`.
    fn to_json(&self) -> Vec<u8>;
    /// The same as a tree.
    fn to_value(&self) -> Value;
    /// For rules of one kind outside this crate (allocators): the typed object.
    fn as_any(&self) -> &dyn Any;
    /// The typed object, to change.
    fn as_any_mut(&mut self) -> &mut dyn Any;
    /// A copy.
    fn clone_object(&self) -> Box<dyn Object>;
    /// Whether both are of one type and equal.
    fn equals(&self, other: &dyn Object) -> bool;
}

/// `Rules` with the type erased: what the API server iterates over.
///
/// Methods panic when they are handed an object of another kind: the caller decoded it
/// with the same `Kind`.
pub trait Kind: Send + Sync + 'static {
    /// Names, scope and storage prefix.
    fn names(&self) -> &'static Names;
    /// Which names are allowed.
    fn name_rule(&self) -> NameRule;
    /// JSON → typed object. Errors carry line, column and field path where known.
    /// Unknown and duplicate fields are not looked at: see `crate::decode`.
    fn decode(&self, json: &[u8]) -> Result<Box<dyn Object>, DecodeError>;
    /// See [`Rules::default`].
    fn default(&self, object: &mut dyn Object);
    /// See [`Rules::prepare_create`].
    fn prepare_create(&self, object: &mut dyn Object);
    /// See [`Rules::prepare_update`].
    fn prepare_update(&self, new: &mut dyn Object, old: &dyn Object);
    /// See [`Rules::prepare_status_update`].
    fn prepare_status_update(&self, new: &mut dyn Object, old: &dyn Object);
    /// See [`Rules::validate`]; metadata (name, labels, annotations, …) is checked too.
    fn validate(&self, object: &dyn Object) -> Vec<FieldError>;
    /// See [`Rules::validate_update`]; immutable metadata is checked too.
    fn validate_update(&self, new: &dyn Object, old: &dyn Object) -> Vec<FieldError>;
    /// See [`Rules::warnings`].
    fn warnings(&self, object: &dyn Object) -> Vec<String>;
    /// See [`Rules::DEPRECATED`].
    fn deprecated(&self) -> Option<&'static str>;
    /// Selectable fields, `metadata.name` and `metadata.namespace` among them.
    fn fields(&self, object: &dyn Object) -> Vec<(&'static str, String)>;
    /// Every name that a field selector may use.
    fn field_names(&self) -> Vec<&'static str>;
    /// See [`Rules::COLUMNS`].
    fn columns(&self) -> &'static [Column];
    /// See [`Rules::row`].
    fn row(&self, object: &dyn Object, now: Timestamp) -> Vec<Value>;
    /// The name of the kind's schema definition, such as `io.k8s.api.core.v1.Service`.
    fn definition(&self) -> &'static str;
}
