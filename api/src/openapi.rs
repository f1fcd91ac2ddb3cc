//! OpenAPI v3 schemas of the kinds, as `components.schemas` has them.
//!
//! Never lists paths: the API server knows what it serves. Types and descriptions come with
//! the Rust types (`crate::definitions`), merge facts from `crate::facts`.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::{
    definitions, facts,
    kind::{Kind, Names},
    kinds,
    version::Version,
};

/// What a client sends to act on an object, and is itself never stored.
pub(crate) struct Request {
    /// `None` where every version has it.
    pub api_version: Option<&'static str>,
    pub kind: &'static str,
    pub definition: &'static str,
}

/// Every such request that has a body of a type.
pub(crate) const REQUESTS: [Request; 7] = [
    Request {
        api_version: Some("authentication.k8s.io/v1"),
        kind: "SelfSubjectReview",
        definition: "io.k8s.api.authentication.v1.SelfSubjectReview",
    },
    Request {
        api_version: Some("authorization.k8s.io/v1"),
        kind: "SelfSubjectAccessReview",
        definition: "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
    },
    Request {
        api_version: Some("authorization.k8s.io/v1"),
        kind: "SelfSubjectRulesReview",
        definition: "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
    },
    Request { api_version: Some("v1"), kind: "Binding", definition: "io.k8s.api.core.v1.Binding" },
    Request {
        api_version: None,
        kind: "DeleteOptions",
        definition: "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    },
    Request {
        api_version: Some("policy/v1"),
        kind: "Eviction",
        definition: "io.k8s.api.policy.v1.Eviction",
    },
    Request {
        api_version: Some("autoscaling/v1"),
        kind: "Scale",
        definition: "io.k8s.api.autoscaling.v1.Scale",
    },
];

/// Schemas by definition name, of all kinds, of requests, and of what they refer to.
static SCHEMAS: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let known = kinds::all().iter().map(|kind| kind.definition());
    let mut schemas = gather(known.chain(REQUESTS.iter().map(|request| request.definition)));
    for kind in kinds::all() {
        name_kind(&mut schemas, kind.definition(), kind.names());
    }
    schemas
});

/// Schemas by definition name, such as `io.k8s.api.core.v1.Service`, of all kinds,
/// requests and what they refer to by `#/components/schemas/…`.
pub fn schemas() -> &'static Map<String, Value> {
    &SCHEMAS
}

/// The schema of a kind and all that it refers to, for the document of its group and version.
pub fn of_kind(kind: &dyn Kind) -> Map<String, Value> {
    document(kind.definition(), kind.names())
}

/// The same for another version that it is served under.
pub fn of_version(version: &Version) -> Map<String, Value> {
    document(&version.definition, &version.names)
}

fn document(definition: &str, names: &Names) -> Map<String, Value> {
    if SCHEMAS.contains_key(definition) {
        return closure([definition]);
    }
    let mut schemas = gather([definition]);
    // Any object fits a kind that has no Rust type.
    schemas.entry(definition).or_insert_with(
        || json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true }),
    );
    name_kind(&mut schemas, definition, names);
    schemas
}

/// The definitions and all that they refer to, with what is known of them beside their types.
fn gather<'a>(roots: impl IntoIterator<Item = &'a str>) -> Map<String, Value> {
    let mut open: Vec<String> = roots.into_iter().map(str::to_owned).collect();
    let mut schemas = Map::new();
    while let Some(definition) = open.pop() {
        if schemas.contains_key(&definition) {
            continue;
        }
        if let Some(mut schema) = definitions::made(&definition) {
            references(&schema, &mut open);
            add_facts(&definition, &mut schema);
            schemas.insert(definition, schema);
        }
    }
    schemas
}

fn name_kind(schemas: &mut Map<String, Value>, definition: &str, names: &Names) {
    if let Some(schema) = schemas.get_mut(definition) {
        schema["x-kubernetes-group-version-kind"] = json!([{
            "group": names.group, "version": names.version, "kind": names.kind,
        }]);
    }
}

/// A schema and all that it refers to, of those that are compiled in.
pub fn closure<'a>(roots: impl IntoIterator<Item = &'a str>) -> Map<String, Value> {
    let mut found = Map::new();
    let mut open: Vec<String> = roots.into_iter().map(str::to_owned).collect();
    while let Some(name) = open.pop() {
        if found.contains_key(&name) {
            continue;
        }
        if let Some(schema) = SCHEMAS.get(&name) {
            references(schema, &mut open);
            found.insert(name, schema.clone());
        }
    }
    found
}

fn references(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(reference) if key == "$ref" => found.push(referred(reference).to_owned()),
                    _ => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

/// `#/components/schemas/X` → `X`.
pub(crate) fn referred(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or_default()
}

fn add_facts(definition: &str, schema: &mut Value) {
    if let Some(fields) = schema.as_object_mut()
        && fields.remove("x-kubernetes-int-or-string").is_some()
    {
        // The built-in kinds say it in plain OpenAPI; the extension is for custom ones.
        let number = if definition.ends_with(".Quantity") { "number" } else { "integer" };
        fields.insert("oneOf".to_owned(), json!([{"type": number}, {"type": "string"}]));
        if number == "integer" {
            fields.insert("format".to_owned(), json!("int-or-string"));
        }
    }
    if facts::of_definition(definition).is_some_and(|facts| facts.atomic_map) {
        schema["x-kubernetes-map-type"] = json!("atomic");
    }
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for (field, schema) in properties {
        let Some(facts) = facts::of_field(definition, field) else {
            continue;
        };
        if let Some(strategy) = facts.patch_strategy {
            schema["x-kubernetes-patch-strategy"] = json!(strategy);
        }
        if let Some(key) = facts.merge_key {
            schema["x-kubernetes-patch-merge-key"] = json!(key);
        }
        if let Some(type_) = facts.list_type {
            schema["x-kubernetes-list-type"] = json!(type_);
        }
        if !facts.map_keys.is_empty() {
            schema["x-kubernetes-list-map-keys"] = json!(facts.map_keys);
        }
        if facts.atomic_map {
            schema["x-kubernetes-map-type"] = json!("atomic");
        }
    }
}
