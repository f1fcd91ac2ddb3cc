//! The served kinds with their caches, found by path or by store key.
//!
//! Never knows a kind by name: the list comes from `api::kinds`.

use std::collections::HashMap;

use api::{
    kind::{Kind, Names},
    status::ApiError,
};

use crate::{failure::Failure, watch_cache::KindCache};

/// One served kind.
pub struct Resource {
    /// Position in the list of resources.
    pub index: usize,
    /// The kind's rules.
    pub kind: &'static dyn Kind,
    /// The kind's names.
    pub names: &'static Names,
    /// Store keys of its objects begin with this: `/registry/pods/`.
    pub prefix: String,
    /// Its cached objects.
    pub cache: KindCache,
}

impl Resource {
    /// `NAMESPACE/NAME`, or `NAME`: the key of an object in the cache.
    pub fn cache_key(&self, namespace: Option<&str>, name: &str) -> String {
        match namespace {
            Some(namespace) if self.names.namespaced => format!("{namespace}/{name}"),
            _ => name.to_owned(),
        }
    }

    /// The key of an object in the store.
    pub fn store_key(&self, namespace: Option<&str>, name: &str) -> String {
        let mut key = self.prefix.clone();
        if let (true, Some(namespace)) = (self.names.namespaced, namespace) {
            key.push_str(namespace);
            key.push('/');
        }
        key.push_str(name);
        key
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        group_version(self.names.group, self.names.version)
    }

    /// 404 for one of its objects.
    pub fn not_found(&self, name: &str) -> Failure {
        ApiError::not_found(self.names, name).into()
    }

    /// 409 for one of its objects.
    pub fn conflict(&self, name: &str, why: &str) -> Failure {
        ApiError::conflict(self.names, name, why).into()
    }
}

/// `v1` or `apps/v1`.
pub fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// All served kinds.
pub struct Resources {
    all: Vec<Resource>,
    by_path: HashMap<(&'static str, &'static str, &'static str), usize>,
    by_prefix: HashMap<&'static str, usize>,
}

impl Resources {
    /// The given kinds, each with an empty cache.
    pub fn new(kinds: &[&'static dyn Kind]) -> Self {
        let mut all = Vec::new();
        let mut by_path = HashMap::new();
        let mut by_prefix = HashMap::new();
        for (index, kind) in kinds.iter().enumerate() {
            let names = kind.names();
            by_path.insert((names.group, names.version, names.plural), index);
            by_prefix.insert(names.storage_prefix, index);
            all.push(Resource {
                index,
                kind: *kind,
                names,
                prefix: format!("/registry/{}/", names.storage_prefix),
                cache: KindCache::default(),
            });
        }
        Self { all, by_path, by_prefix }
    }

    /// Every resource, core group first.
    pub fn all(&self) -> &[Resource] {
        &self.all
    }

    /// The resource of a path.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Resource> {
        // The key's lifetime is 'static in the map; a look-up may borrow for less.
        let by_path: &HashMap<(&str, &str, &str), usize> = &self.by_path;
        by_path.get(&(group, version, plural)).map(|index| &self.all[*index])
    }

    /// The resource of a core kind that the server itself works with.
    pub fn core(&self, plural: &str) -> Option<&Resource> {
        self.find("", "v1", plural)
    }

    /// The resource that a store key belongs to. A prefix is one or two path segments long
    /// (`pods`, `services/specs`).
    pub fn by_store_key(&self, key: &str) -> Option<&Resource> {
        let rest = key.strip_prefix(crate::watch_cache::feed::ROOT)?;
        let mut ends = rest.match_indices('/').map(|(at, _)| at);
        let (first, second) = (ends.next()?, ends.next());
        self.by_prefix
            .get(&rest[..first])
            .or_else(|| self.by_prefix.get(&rest[..second?]))
            .map(|index| &self.all[*index])
    }
}
