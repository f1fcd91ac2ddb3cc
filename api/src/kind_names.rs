//! A kind's names, and where it is served and stored.

/// Verbs of a kind, as discovery tells them.
const VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// A kind's names and where it is served and stored. Owned, since a kind may come at run time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// API group; empty for the core group.
    pub group: String,
    /// Served (and, unless it is one of several, stored) version, such as `v1`.
    pub version: String,
    /// CamelCase kind, such as `EndpointSlice`.
    pub kind: String,
    /// Lower-case plural used in paths, such as `endpointslices`.
    pub plural: String,
    /// Lower-case singular, such as `endpointslice`.
    pub singular: String,
    /// Short names that clients accept, such as `svc`.
    pub short_names: Vec<String>,
    /// Groups of kinds that clients accept, such as `all`.
    pub categories: Vec<String>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// The key below `/registry/`, as upstream lays it out (`services/specs`): one or two
    /// segments, and no other kind's, nor its parent.
    pub storage_prefix: String,
    /// What can be done with objects of the kind.
    pub verbs: Vec<&'static str>,
}

impl Names {
    /// A kind whose objects live in a namespace. The singular is the kind in lower case, the
    /// storage prefix is the plural.
    pub fn namespaced(group: &str, version: &str, kind: &str, plural: &str) -> Self {
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            singular: kind.to_lowercase(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: true,
            storage_prefix: plural.to_owned(),
            verbs: VERBS.to_vec(),
        }
    }

    /// A kind whose objects live in no namespace.
    pub fn cluster(group: &str, version: &str, kind: &str, plural: &str) -> Self {
        Self { namespaced: false, ..Self::namespaced(group, version, kind, plural) }
    }

    /// With these short names.
    pub fn short(mut self, short_names: &[&str]) -> Self {
        self.short_names = short_names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// With these categories.
    pub fn categories(mut self, categories: &[&str]) -> Self {
        self.categories = categories.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// Stored elsewhere than below the plural.
    pub fn stored_at(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.storage_prefix);
        self
    }

    /// Without one of the verbs.
    pub fn without(mut self, verb: &str) -> Self {
        self.verbs.retain(|one| *one != verb);
        self
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}
