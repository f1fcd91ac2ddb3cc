//! Any kind without a file of its own: its fields as they are, but what is long and rarely wanted.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::fields;
use super::page::Page;
use crate::render::go_text;

/// Writes the object.
pub fn describe(page: &mut Page, metadata: &ObjectMeta, object: &Value) {
    fields::name(page, metadata);
    fields::maps(page, metadata);
    page.field(0, "API Version", plain(&object["apiVersion"]));
    page.field(0, "Kind", plain(&object["kind"]));
    const HEAD: [&str; 2] = ["apiVersion", "kind"];
    for (key, value) in object.as_object().into_iter().flatten() {
        if HEAD.contains(&key.as_str()) {
            continue;
        }
        let mut value = value.clone();
        if key == "metadata"
            && let Some(metadata) = value.as_object_mut()
        {
            metadata.retain(|key, _| {
                !matches!(
                    key.as_str(),
                    "managedFields" | "name" | "namespace" | "labels" | "annotations"
                )
            });
        }
        field(page, 0, key, &value);
    }
}

fn field(page: &mut Page, level: usize, key: &str, value: &Value) {
    let title = title(key);
    match value {
        Value::Object(map) => {
            page.line(level, format!("{title}:"));
            for (key, value) in map {
                field(page, level + 1, key, value);
            }
        }
        Value::Array(items) => {
            page.line(level, format!("{title}:"));
            for item in items {
                match item {
                    Value::Object(map) => {
                        for (key, value) in map {
                            field(page, level + 1, key, value);
                        }
                    }
                    other => page.line(level + 1, plain(other)),
                }
            }
        }
        other => page.field(level, &title, plain(other)),
    }
}

/// A field's value; nothing for null.
fn plain(value: &Value) -> String {
    if value.is_null() { String::new() } else { go_text(value) }
}

/// `holderIdentity` → `Holder Identity`; keys that are no field names stay.
fn title(key: &str) -> String {
    if key.contains(['.', '/', '-', '_']) {
        return key.to_owned();
    }
    let mut out = String::new();
    let symbols: Vec<char> = key.chars().collect();
    for (index, symbol) in symbols.iter().enumerate() {
        let upper = symbol.is_uppercase();
        let after_lower = index > 0 && !symbols[index - 1].is_uppercase();
        let before_lower = symbols.get(index + 1).is_some_and(|it| it.is_lowercase());
        if index > 0 && upper && (after_lower || before_lower) {
            out.push(' ');
        }
        out.push(if index == 0 { symbol.to_ascii_uppercase() } else { *symbol });
    }
    out
}
