//! The served kinds with their caches, found by path or by store key: a table that is replaced
//! as a whole when a kind comes or goes.

use std::{collections::HashMap, sync::Arc};

use api::{
    kind::{Kind, Names, Role},
    status::ApiError,
    subresource::Subresource,
    version::Version,
};
use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::{failure::Failure, keys, watch_cache::KindCache};

/// A kind as it is served under one group and version.
pub struct Resource {
    /// The kind's rules.
    pub kind: Arc<dyn Kind>,
    /// The kind's names here.
    pub names: Names,
    /// Store keys of its objects begin with this: `/registry/pods/`.
    pub prefix: String,
    /// Its cached objects, in the stored version.
    pub cache: Arc<KindCache>,
    /// Cancelled when the kind is not served any more.
    pub removed: CancellationToken,
    /// Which of the kind's versions beside the stored one this is.
    version: Option<usize>,
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
        format!("{}{}", self.prefix, self.cache_key(namespace, name))
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        self.names.api_version()
    }

    /// The version, where it is not the one that is stored.
    pub fn version(&self) -> Option<&Version> {
        self.kind.versions().get(self.version?)
    }

    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.kind.subresources().iter().find(|subresource| subresource.name == name)
    }

    /// 404 for one of its objects.
    pub fn not_found(&self, name: &str) -> Failure {
        ApiError::not_found(&self.names, name).into()
    }

    /// 409 for one of its objects.
    pub fn conflict(&self, name: &str, why: &str) -> Failure {
        ApiError::conflict(&self.names, name, why).into()
    }
}

/// All served kinds at one moment.
#[derive(Clone, Default)]
pub struct Table {
    served: Vec<Arc<Resource>>,
    stored: Vec<Arc<Resource>>,
    by_plural: HashMap<String, Vec<Arc<Resource>>>,
    by_prefix: HashMap<String, usize>,
}

impl Table {
    /// The table with one more kind, whose cache is empty, and the kind as it is stored. `Err`
    /// says what is taken.
    pub fn with(&self, kind: Arc<dyn Kind>) -> Result<(Self, Arc<Resource>), String> {
        let names = kind.names();
        self.check_prefix(names)?;
        let versions = kind.versions().iter().enumerate();
        let versions = versions.map(|(at, version)| (Some(at), &version.names));
        let mut table = self.clone();
        let cache = Arc::new(KindCache::default());
        let removed = CancellationToken::new();
        let mut stored = None;
        for (version, served) in [(None, names)].into_iter().chain(versions) {
            table.check_names(served)?;
            let resource = Arc::new(Resource {
                kind: kind.clone(),
                names: served.clone(),
                prefix: format!("{}{}/", keys::ROOT, names.storage_prefix),
                cache: cache.clone(),
                removed: removed.clone(),
                version,
            });
            let same_plural = table.by_plural.entry(served.plural.clone()).or_default();
            same_plural.push(resource.clone());
            table.served.push(resource.clone());
            stored.get_or_insert(resource);
        }
        let stored = stored.ok_or("the kind has no version")?;
        table.by_prefix.insert(names.storage_prefix.clone(), table.stored.len());
        table.stored.push(stored.clone());
        Ok((table, stored))
    }

    fn check_names(&self, names: &Names) -> Result<(), String> {
        let is_same = |other: &Names| other.group == names.group && other.version == names.version;
        let mut others = self.served.iter().map(|resource| &resource.names);
        let taken = others.find(|other| {
            is_same(other) && (other.plural == names.plural || other.kind == names.kind)
        });
        match taken {
            Some(other) => Err(format!(
                "{} \"{}\" ({}) is served already, as {} ({})",
                names.api_version(),
                names.plural,
                names.kind,
                other.plural,
                other.kind
            )),
            None => Ok(()),
        }
    }

    /// No kind's keys may be among those of another.
    fn check_prefix(&self, names: &Names) -> Result<(), String> {
        let own = format!("{}/", names.storage_prefix);
        let prefixes = self.by_prefix.keys();
        let overlaps = |other: &&String| {
            let other = format!("{other}/");
            other.starts_with(&own) || own.starts_with(&other)
        };
        if let Some(other) = prefixes.filter(overlaps).min() {
            let prefix = &names.storage_prefix;
            return Err(format!(
                "the storage prefix \"{prefix}\" of {} overlaps with \"{other}\"",
                names.plural
            ));
        }
        match names.storage_prefix.split('/').count() {
            1 | 2 if !names.storage_prefix.split('/').any(str::is_empty) => Ok(()),
            _ => Err(format!(
                "the storage prefix \"{}\" must have one or two segments",
                names.storage_prefix
            )),
        }
    }

    /// The table without the kind that is served at a path, and the kind as it was stored. All of
    /// its versions go.
    pub fn without(
        &self,
        group: &str,
        version: &str,
        plural: &str,
    ) -> Option<(Self, Arc<Resource>)> {
        let removed = self.find(group, version, plural)?;
        let stored = self.stored.iter().find(|stored| Arc::ptr_eq(&stored.kind, &removed.kind))?;
        let mut table = Self::default();
        let is_kept = |one: &&Arc<Resource>| !Arc::ptr_eq(&one.kind, &removed.kind);
        for resource in self.served.iter().filter(is_kept) {
            let same_plural = table.by_plural.entry(resource.names.plural.clone()).or_default();
            same_plural.push(resource.clone());
            table.served.push(resource.clone());
        }
        for resource in self.stored.iter().filter(is_kept) {
            table.by_prefix.insert(resource.names.storage_prefix.clone(), table.stored.len());
            table.stored.push(resource.clone());
        }
        Some((table, stored.clone()))
    }

    /// Every resource that is served, in the order they came.
    pub fn served(&self) -> &[Arc<Resource>] {
        &self.served
    }

    /// Every kind once, as it is stored.
    pub fn stored(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.stored.iter()
    }

    /// The resource of a path.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        let same_plural = self.by_plural.get(plural)?;
        same_plural
            .iter()
            .find(|resource| resource.names.version == version && resource.names.group == group)
    }

    /// The resource that the server itself needs the objects of.
    pub fn with_role(&self, role: Role) -> Option<&Arc<Resource>> {
        self.stored.iter().find(|resource| resource.kind.role() == Some(role))
    }

    /// The resource one of whose subresources is a resource of its own at this path.
    pub fn of_collection(
        &self,
        group: &str,
        version: &str,
        plural: &str,
    ) -> Option<(&Arc<Resource>, &Subresource)> {
        let mut here = self
            .served
            .iter()
            .filter(|resource| resource.names.group == group && resource.names.version == version);
        here.find_map(|resource| {
            let mut subresources = resource.kind.subresources().iter();
            let found = subresources.find(|one| one.collection.is_some_and(|c| c.0 == plural))?;
            Some((resource, found))
        })
    }

    /// The resource that a store key belongs to, and its place among those that are stored. A
    /// prefix is one or two path segments long (`pods`, `services/specs`).
    pub fn by_store_key(&self, key: &str) -> Option<(usize, &Arc<Resource>)> {
        let rest = key.strip_prefix(keys::ROOT)?;
        let mut ends = rest.match_indices('/').map(|(at, _)| at);
        let (first, second) = (ends.next()?, ends.next());
        let found = self.by_prefix.get(&rest[..first]);
        let at = *found.or_else(|| self.by_prefix.get(&rest[..second?]))?;
        Some((at, &self.stored[at]))
    }
}

/// The table that is served from now on. Only the feed of the watch cache replaces it.
pub struct Resources(ArcSwap<Table>);

impl Resources {
    /// The given kinds, each with an empty cache. `Err` says what is there twice.
    pub fn new(kinds: &[Arc<dyn Kind>]) -> Result<Self, String> {
        let mut table = Table::default();
        for kind in kinds {
            table = table.with(kind.clone())?.0;
        }
        Ok(Self(ArcSwap::from_pointee(table)))
    }

    /// The table as it is now.
    pub fn table(&self) -> Arc<Table> {
        self.0.load_full()
    }

    /// The resource of a path, as of now.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.0.load().find(group, version, plural).cloned()
    }

    /// Serves another table from now on.
    pub(crate) fn replace(&self, table: Table) {
        self.0.store(Arc::new(table));
    }
}
