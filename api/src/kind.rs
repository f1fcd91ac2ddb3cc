//! What the API server must know of a kind, in one trait: `Rules` for the author of
//! a kind (typed), `Kind` for its users (erased).
//!
//! Adding a kind is one file that implements `Rules` and one line in `crate::kinds`. All that
//! the server does for one kind and not for others is said here.
//! Nothing here does I/O, reads a clock or knows HTTP.

use std::net::SocketAddr;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    allocate::{Claim, Pool, Refusal},
    decode_error::DecodeError,
    field::FieldError,
    subresource::Subresource,
    version::Version,
};

pub use crate::{kind_names::Names, object::Object};

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

/// What the server itself needs the objects of a kind for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// They are the namespaces that other objects live in.
    Namespaces,
    /// They say where the agents are that streams lead to.
    Agents,
}

/// One column of the kind's `Table`.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// The selectable fields of an object by name; one that it lacks is empty.
pub type FieldValues<'a> = &'a dyn Fn(&str) -> &'a str;

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

    /// Names, scope, verbs and storage prefix.
    fn names() -> Names;
    /// Which names are allowed.
    const NAME_RULE: NameRule = NameRule::Subdomain;
    /// What the server itself needs the objects for.
    const ROLE: Option<Role> = None;
    /// Subresources, in discovery's order.
    fn subresources() -> Vec<Subresource> {
        Vec::new()
    }
    /// Groups and versions that the kind is served under beside the stored one of `names`.
    fn versions() -> Vec<Version> {
        Vec::new()
    }

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
    /// Whether [`Rules::admit_among`] is asked: reading all objects of the kind has its price.
    const ADMITTED_AMONG_OTHERS: bool = false;
    /// Why the object may not be written beside the others of its kind; a 403.
    fn admit_among(_new: &Self::Object, _others: &[&Self::Object]) -> Result<(), String> {
        Ok(())
    }
    /// Warnings for the `Warning` header, such as a deprecation.
    fn warnings(_object: &Self::Object) -> Vec<String> {
        Vec::new()
    }
    /// A warning sent with every request for this kind, reads too (Endpoints has one).
    const DEPRECATED: Option<&'static str> = None;

    /// Whether objects hold anything of the allocators.
    const ALLOCATES: bool = false;
    /// What a complete object holds.
    fn claims(_object: &Self::Object) -> Vec<Claim> {
        Vec::new()
    }
    /// Fills in what a new or changed object gets allocated, and takes it. What `old` holds
    /// need not be taken, and is given back where the new one does not hold it.
    fn allocate(
        _new: &mut Self::Object,
        _old: Option<&Self::Object>,
        _pool: &mut dyn Pool,
    ) -> Result<(), Refusal> {
        Ok(())
    }

    /// Whether objects are kept for a time only, which is the server's to set (`--event-ttl`).
    const EXPIRES: bool = false;
    /// Why no object of this name may be deleted, where it may not.
    fn immortal(_name: &str) -> Option<&'static str> {
        None
    }
    /// Seconds that an object gets before it is removed. `asked` is the client's wish.
    fn grace_s(_object: &Self::Object, _asked: Option<i64>) -> i64 {
        0
    }
    /// Whether the object itself holds back its removal, beyond `metadata.finalizers`.
    fn is_held(_object: &Self::Object) -> bool {
        false
    }
    /// Notes in an object that its deletion has begun, beyond its metadata.
    fn begin_deletion(_object: &mut Self::Object) {}
    /// Whether a delete is answered with the object, and not with a `Status`, once it is gone.
    const RETURNED_WHEN_DELETED: bool = false;
    /// For [`Role::Namespaces`]: whether nothing new may come into it, by its selectable fields.
    fn is_closed(_field: FieldValues<'_>) -> bool {
        false
    }
    /// For [`Role::Agents`]: where its agent listens, or why that is not known.
    fn agent(_object: &Self::Object) -> Result<SocketAddr, String> {
        Err("it has no agent".to_owned())
    }

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

    /// Protobuf field numbers of the messages that no other kind has, in the form that
    /// `crate::protobuf::numbers` reads.
    const NUMBERS: &'static str = "";
    /// How their lists and maps merge, in the form that `crate::facts` reads.
    const FACTS: &'static str = "";
}

/// `Rules` with the type erased: what the API server iterates over.
///
/// Methods panic when they are handed an object of another kind: the caller decoded it
/// with the same `Kind`.
pub trait Kind: Send + Sync + 'static {
    /// Names, scope, verbs and storage prefix.
    fn names(&self) -> &Names;
    /// See [`Rules::ROLE`].
    fn role(&self) -> Option<Role> {
        None
    }
    /// See [`Rules::subresources`].
    fn subresources(&self) -> &[Subresource] {
        &[]
    }
    /// See [`Rules::versions`].
    fn versions(&self) -> &[Version] {
        &[]
    }
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
    /// See [`Rules::ADMITTED_AMONG_OTHERS`].
    fn is_admitted_among_others(&self) -> bool {
        false
    }
    /// See [`Rules::admit_among`]; `others` may hold the object's own older version.
    fn admit_among(&self, _new: &dyn Object, _others: &[Box<dyn Object>]) -> Result<(), String> {
        Ok(())
    }
    /// See [`Rules::warnings`].
    fn warnings(&self, _object: &dyn Object) -> Vec<String> {
        Vec::new()
    }
    /// See [`Rules::DEPRECATED`].
    fn deprecated(&self) -> Option<&str> {
        None
    }
    /// See [`Rules::ALLOCATES`].
    fn allocates(&self) -> bool {
        false
    }
    /// See [`Rules::claims`].
    fn claims(&self, _object: &dyn Object) -> Vec<Claim> {
        Vec::new()
    }
    /// See [`Rules::allocate`].
    fn allocate(
        &self,
        _new: &mut dyn Object,
        _old: Option<&dyn Object>,
        _pool: &mut dyn Pool,
    ) -> Result<(), Refusal> {
        Ok(())
    }
    /// See [`Rules::EXPIRES`].
    fn expires(&self) -> bool {
        false
    }
    /// See [`Rules::immortal`].
    fn immortal(&self, _name: &str) -> Option<&str> {
        None
    }
    /// See [`Rules::grace_s`].
    fn grace_s(&self, _object: &dyn Object, _asked: Option<i64>) -> i64 {
        0
    }
    /// See [`Rules::is_held`].
    fn is_held(&self, _object: &dyn Object) -> bool {
        false
    }
    /// See [`Rules::begin_deletion`].
    fn begin_deletion(&self, _object: &mut dyn Object) {}
    /// See [`Rules::RETURNED_WHEN_DELETED`].
    fn is_returned_when_deleted(&self) -> bool {
        false
    }
    /// See [`Rules::is_closed`].
    fn is_closed(&self, _field: FieldValues<'_>) -> bool {
        false
    }
    /// See [`Rules::agent`].
    fn agent(&self, _object: &dyn Object) -> Result<SocketAddr, String> {
        Err("it has no agent".to_owned())
    }
    /// Selectable fields, `metadata.name` and `metadata.namespace` among them.
    fn fields(&self, object: &dyn Object) -> Vec<(&'static str, String)>;
    /// Every name that a field selector may use.
    fn field_names(&self) -> Vec<&'static str>;
    /// See [`Rules::COLUMNS`].
    fn columns(&self) -> &[Column];
    /// See [`Rules::row`].
    fn row(&self, object: &dyn Object, now: Timestamp) -> Vec<Value>;
    /// The name of the kind's schema definition, such as `io.k8s.api.core.v1.Service`.
    fn definition(&self) -> &str;
    /// See [`Rules::NUMBERS`].
    fn numbers(&self) -> &'static str {
        ""
    }
    /// See [`Rules::FACTS`].
    fn facts(&self) -> &'static str {
        ""
    }
}
