//! How lists and maps merge, by definition and field: read once from the kinds and from the
//! tables of what several of them share.
//!
//! Never merges anything: `crate::patch` does.

use std::{collections::BTreeMap, sync::LazyLock};

use crate::{core, kinds, meta_facts};

const TABLES: [(&str, &str); 2] = [core::facts::FACTS, meta_facts::FACTS];

/// What is known of one field, or of one whole definition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// `x-kubernetes-patch-strategy`: `merge`, `retainKeys`, `merge,retainKeys`.
    pub patch_strategy: Option<&'static str>,
    /// `x-kubernetes-patch-merge-key`.
    pub merge_key: Option<&'static str>,
    /// `x-kubernetes-list-type`: `atomic`, `set`, `map`.
    pub list_type: Option<&'static str>,
    /// `x-kubernetes-list-map-keys`.
    pub map_keys: Vec<&'static str>,
    /// `x-kubernetes-map-type: atomic`.
    pub atomic_map: bool,
}

/// Facts by `definition.field`, or by `definition` alone.
static ALL: LazyLock<BTreeMap<String, Facts>> = LazyLock::new(|| {
    let mut all = BTreeMap::new();
    let own = kinds::all().iter().map(|kind| (kinds::package(&**kind), kind.facts()));
    for (prefix, table) in TABLES.into_iter().chain(own) {
        for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut words = line.split(' ');
            let name = words.next().unwrap_or_default();
            all.insert(format!("{prefix}.{name}"), words.fold(Facts::default(), read));
        }
    }
    all
});

fn read(mut facts: Facts, word: &'static str) -> Facts {
    match word.split_once('=') {
        Some(("patch", strategy)) => facts.patch_strategy = Some(strategy),
        Some(("merge-key", key)) => facts.merge_key = Some(key),
        Some(("map", "atomic")) => facts.atomic_map = true,
        Some(("list", list)) => match list.split_once(':') {
            Some((type_, keys)) => {
                facts.list_type = Some(type_);
                facts.map_keys = keys.split(',').collect();
            }
            None => facts.list_type = Some(list),
        },
        _ => panic!("{word} is not a fact"),
    }
    facts
}

/// Facts of a field, such as `io.k8s.api.core.v1.PodSpec` and `containers`.
pub fn of_field(definition: &str, field: &str) -> Option<&'static Facts> {
    ALL.get(&format!("{definition}.{field}"))
}

/// Facts of a whole definition.
pub fn of_definition(definition: &str) -> Option<&'static Facts> {
    ALL.get(definition)
}

/// Every name that facts are kept for.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.keys().map(String::as_str)
}
