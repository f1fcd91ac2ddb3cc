//! Which objects of a kind a list or watch is about: namespace, name, labels, fields.
//!
//! Never decodes an object: everything it looks at is in the cache's entry.

use api::selector::{FieldSelector, Selector};

use crate::{
    failure::Failure,
    request::{Query, ResourcePath},
    resource::Resource,
    watch_cache::entry::Entry,
};

/// What a list or watch selects.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Keys begin with this: `NAMESPACE/`, or nothing.
    pub prefix: String,
    /// Only this object, where the selection says so.
    pub only: Option<String>,
    labels: Selector,
    fields: FieldSelector,
}

impl Selection {
    /// The selection of a request. A bad selector is a 400.
    pub fn of(resource: &Resource, path: &ResourcePath, query: &Query) -> Result<Self, Failure> {
        let labels = query.get("labelSelector").unwrap_or_default();
        let labels = Selector::parse(labels).map_err(|e| Failure::bad_request(e.message))?;
        let fields = query.get("fieldSelector").unwrap_or_default();
        let fields = FieldSelector::parse(fields).map_err(|e| Failure::bad_request(e.message))?;
        fields
            .check(&resource.names.kind, &resource.kind.field_names())
            .map_err(|e| Failure::bad_request(e.message))?;
        let namespace = path.namespace.as_deref();
        let namespace = namespace.or_else(|| fields.required("metadata.namespace"));
        let namespace = namespace.filter(|_| resource.names.namespaced);
        let name = path.name.as_deref().or_else(|| fields.required("metadata.name"));
        let only = match (name, namespace, resource.names.namespaced) {
            (Some(name), Some(_), true) | (Some(name), None, false) => {
                Some(resource.cache_key(namespace, name))
            }
            _ => None,
        };
        Ok(Self {
            prefix: namespace.map(|ns| format!("{ns}/")).unwrap_or_default(),
            only,
            labels,
            fields,
        })
    }

    /// Whether an object is selected.
    pub fn matches(&self, entry: &Entry) -> bool {
        if let Some(only) = &self.only
            && **only != *entry.key
        {
            return false;
        }
        entry.key.starts_with(&self.prefix)
            && self.labels.matches_with(|key| entry.selectable.label(key))
            && self
                .fields
                .terms()
                .iter()
                .all(|term| (entry.selectable.field(&term.field) == term.value) == term.equal)
    }

    /// Whether every object of the prefix is selected.
    pub fn is_plain(&self) -> bool {
        self.only.is_none() && self.labels.is_empty() && self.fields.is_empty()
    }
}
