//! Pieces that the rows of many kinds share: columns, label lists, shortened lists.
//!
//! Never knows a kind.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{Metadata, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde_json::Value;

use crate::{duration, kind::Column};

/// How many entries of a list a cell shows before `+ n more...`.
const SHOWN_ENTRIES: usize = 3;

/// The first column of nearly every kind.
pub const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    description: "Name of the object, unique for its kind within a namespace.",
    priority: 0,
};

/// Time since creation.
pub const AGE: Column = column("Age", "string", "Time since the object was created.");

/// A column that is always printed.
pub const fn column(name: &'static str, kind: &'static str, description: &'static str) -> Column {
    Column { name, kind, format: "", description, priority: 0 }
}

/// A column that is printed with `-o wide`.
pub const fn wide(name: &'static str, kind: &'static str, description: &'static str) -> Column {
    Column { name, kind, format: "", description, priority: 1 }
}

/// The cell of [`NAME`].
pub fn name<T: Metadata<Ty = ObjectMeta>>(object: &T) -> Value {
    name_of(object.metadata())
}

/// The same from metadata.
pub fn name_of(metadata: &ObjectMeta) -> Value {
    Value::from(metadata.name.clone().unwrap_or_default())
}

/// The cell of [`AGE`].
pub fn age<T: Metadata<Ty = ObjectMeta>>(object: &T, now: Timestamp) -> Value {
    age_of(object.metadata(), now)
}

/// The same from metadata.
pub fn age_of(metadata: &ObjectMeta, now: Timestamp) -> Value {
    Value::from(duration::since(metadata.creation_timestamp.as_ref(), now))
}

/// `a=b,c=d`, or `<none>`.
pub fn labels(labels: Option<&BTreeMap<String, String>>) -> String {
    match labels {
        Some(labels) if !labels.is_empty() => {
            labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
        }
        _ => "<none>".to_owned(),
    }
}

/// The first entries, and how many more there are.
pub fn shortened(entries: &[String]) -> String {
    if entries.len() <= SHOWN_ENTRIES {
        return entries.join(",");
    }
    let more = entries.len() - SHOWN_ENTRIES;
    format!("{} + {more} more...", entries[..SHOWN_ENTRIES].join(","))
}

/// The text, or a stand-in such as `<none>` where it is missing or empty.
pub fn or<'a>(text: Option<&'a str>, stand_in: &'a str) -> &'a str {
    text.filter(|text| !text.is_empty()).unwrap_or(stand_in)
}
