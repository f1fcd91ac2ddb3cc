//! Another group or version that a stored kind is served under.

use k8s_openapi::Resource;
use serde_json::Value;

use crate::{definitions, kind_names::Names};

/// From one version's tree to another's, `apiVersion` and `kind` apart.
pub type Convert = Box<dyn Fn(Value) -> Value + Send + Sync>;

/// A served version beside the stored one. What comes in under it gets the defaults of this
/// version, is turned into the stored form, and goes on as every object of the kind does; what
/// goes out is turned back. Both hold everything: an object that comes in and goes out again
/// under the same version says the same.
pub struct Version {
    /// The kind's names here; the storage prefix counts for nothing.
    pub names: Names,
    /// The name of its schema, such as `io.k8s.api.events.v1.Event`.
    pub definition: String,
    /// Fills what this version fills in, and the stored one does not (or with something else).
    pub default: fn(&mut Value),
    /// From this version to the stored one.
    pub to_stored: Convert,
    /// From the stored version to this one.
    pub from_stored: Convert,
}

impl Version {
    /// A version whose fields are those of `T`.
    pub fn of<T: Resource>(
        names: Names,
        to_stored: fn(Value) -> Value,
        from_stored: fn(Value) -> Value,
    ) -> Self {
        Self {
            names,
            definition: definitions::definition_of::<T>().to_owned(),
            default: |_| {},
            to_stored: Box::new(to_stored),
            from_stored: Box::new(from_stored),
        }
    }

    /// With defaults of its own.
    pub fn with_defaults(self, default: fn(&mut Value)) -> Self {
        Self { default, ..self }
    }

    /// An object of this version as the stored one: with its defaults, and the stored one's
    /// `apiVersion` and `kind`.
    pub fn stored(&self, mut object: Value, stored: &Names) -> Value {
        (self.default)(&mut object);
        called((self.to_stored)(object), stored)
    }

    /// A stored object as this version shows it.
    pub fn served(&self, object: Value) -> Value {
        called((self.from_stored)(object), &self.names)
    }
}

fn called(mut object: Value, names: &Names) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".to_owned(), names.api_version().into());
        fields.insert("kind".to_owned(), names.kind.as_str().into());
    }
    object
}
