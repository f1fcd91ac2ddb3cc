//! OpenAPI v3 schemas of the kinds, as `components.schemas` has them.
//!
//! Never lists paths: the API server knows what it serves. Types and descriptions come with
//! the Rust types, merge facts from `crate::facts`.

use std::sync::LazyLock;

use k8s_openapi::{
    api::{
        authentication::v1::SelfSubjectReview,
        authorization::v1::{SelfSubjectAccessReview, SelfSubjectRulesReview},
        autoscaling::v1::Scale,
        core::v1::Binding,
        policy::v1::Eviction,
    },
    apimachinery::pkg::apis::meta::v1::DeleteOptions,
};
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{
    facts,
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
    schema: fn(&mut SchemaGenerator),
}

/// Every such request that has a body of a type.
pub(crate) const REQUESTS: [Request; 7] = [
    Request {
        api_version: Some("authentication.k8s.io/v1"),
        kind: "SelfSubjectReview",
        definition: "io.k8s.api.authentication.v1.SelfSubjectReview",
        schema: |generator| drop(generator.subschema_for::<SelfSubjectReview>()),
    },
    Request {
        api_version: Some("authorization.k8s.io/v1"),
        kind: "SelfSubjectAccessReview",
        definition: "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
        schema: |generator| drop(generator.subschema_for::<SelfSubjectAccessReview>()),
    },
    Request {
        api_version: Some("authorization.k8s.io/v1"),
        kind: "SelfSubjectRulesReview",
        definition: "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
        schema: |generator| drop(generator.subschema_for::<SelfSubjectRulesReview>()),
    },
    Request {
        api_version: Some("v1"),
        kind: "Binding",
        definition: "io.k8s.api.core.v1.Binding",
        schema: |generator| drop(generator.subschema_for::<Binding>()),
    },
    Request {
        api_version: None,
        kind: "DeleteOptions",
        definition: "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
        schema: |generator| drop(generator.subschema_for::<DeleteOptions>()),
    },
    Request {
        api_version: Some("policy/v1"),
        kind: "Eviction",
        definition: "io.k8s.api.policy.v1.Eviction",
        schema: |generator| drop(generator.subschema_for::<Eviction>()),
    },
    Request {
        api_version: Some("autoscaling/v1"),
        kind: "Scale",
        definition: "io.k8s.api.autoscaling.v1.Scale",
        schema: |generator| drop(generator.subschema_for::<Scale>()),
    },
];

/// Schemas by definition name, of all kinds, of requests, and of what they refer to.
static SCHEMAS: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let mut generator = SchemaSettings::openapi3().into_generator();
    for kind in kinds::all() {
        kind.schema(&mut generator);
    }
    for request in &REQUESTS {
        (request.schema)(&mut generator);
    }
    finished(generator, kinds::all().iter().map(|kind| (kind.definition(), kind.names())))
});

/// Schemas by definition name, such as `io.k8s.api.core.v1.Service`, of all kinds,
/// requests and what they refer to by `#/components/schemas/…`.
pub fn schemas() -> &'static Map<String, Value> {
    &SCHEMAS
}

/// The schema of a kind and all that it refers to, for the document of its group and version.
pub fn of_kind(kind: &dyn Kind) -> Map<String, Value> {
    document(kind.definition(), kind.names(), |generator| kind.schema(generator))
}

/// The same for another version that it is served under.
pub fn of_version(version: &Version) -> Map<String, Value> {
    document(&version.definition, &version.names, &version.schema)
}

fn document(
    definition: &str,
    names: &Names,
    schema: impl Fn(&mut SchemaGenerator),
) -> Map<String, Value> {
    if SCHEMAS.contains_key(definition) {
        return closure([definition]);
    }
    // A kind that is not compiled in.
    let mut generator = SchemaSettings::openapi3().into_generator();
    schema(&mut generator);
    finished(generator, [(definition, names)])
}

/// The definitions with what is known of them beside their types; the roots name their kinds.
fn finished<'a>(
    mut generator: SchemaGenerator,
    roots: impl IntoIterator<Item = (&'a str, &'a Names)>,
) -> Map<String, Value> {
    let mut schemas = generator.take_definitions(true);
    for (definition, schema) in &mut schemas {
        add_facts(definition, schema);
    }
    for (definition, names) in roots {
        if let Some(schema) = schemas.get_mut(definition) {
            schema["x-kubernetes-group-version-kind"] = json!([{
                "group": names.group, "version": names.version, "kind": names.kind,
            }]);
        }
    }
    schemas
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
