//! The name an object goes by in caches and queues, and its lives under that name.

use std::fmt;

use kube::Resource;

/// Namespace and name; the namespace is empty for cluster-scoped objects.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Namespace, or "" for cluster-scoped objects.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl Key {
    /// A key from its two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    pub fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// One life of an object that has ended: another one of the same name has another UID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Namespace and name.
    pub key: Key,
    /// `metadata.uid`.
    pub uid: String,
    /// The revision of its end; 0 where it was only found missing.
    pub revision: u64,
}

impl Life {
    /// The life of an object whose last state is `object`.
    pub fn ended<K: Resource>(object: &K) -> Self {
        let uid = object.meta().uid.clone().unwrap_or_default();
        Self { key: Key::of(object), uid, revision: revision(object) }
    }
}

/// The revision of an object as a number; 0 where the server gives none.
pub fn revision<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}
