//! What clients find in the OpenAPI schemas, and that every fact has a place there.
//!
//! Never compares descriptions.

use api::{facts, kinds, openapi};
use serde_json::{Value, json};

fn property(definition: &str, field: &str) -> &'static Value {
    &openapi::schemas()[definition]["properties"][field]
}

#[test]
fn every_kind_has_a_schema_that_names_it() {
    for kind in kinds::all() {
        let names = kind.names();
        let schema = &openapi::schemas()[kind.definition()];
        assert_eq!(
            schema["x-kubernetes-group-version-kind"],
            json!([{"group": names.group, "version": names.version, "kind": names.kind}])
        );
        assert_eq!(schema["type"], "object");
    }
}

#[test]
fn explain_finds_its_way_from_service_to_ports() {
    let service = "io.k8s.api.core.v1.Service";
    let spec = "io.k8s.api.core.v1.ServiceSpec";
    assert_eq!(
        property(service, "spec")["allOf"],
        json!([{"$ref": format!("#/components/schemas/{spec}")}])
    );
    let ports = property(spec, "ports");
    assert_eq!(ports["type"], "array");
    assert_eq!(ports["items"]["$ref"], "#/components/schemas/io.k8s.api.core.v1.ServicePort");
    assert!(ports["description"].as_str().is_some_and(|text| !text.is_empty()));
    assert_eq!(ports["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(ports["x-kubernetes-patch-merge-key"], "port");
    assert_eq!(ports["x-kubernetes-list-type"], "map");
    assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["port", "protocol"]));
}

#[test]
fn numbers_or_texts_are_one_of_both() {
    let schema = &openapi::schemas()["io.k8s.apimachinery.pkg.util.intstr.IntOrString"];
    assert_eq!(schema["oneOf"], json!([{"type": "integer"}, {"type": "string"}]));
    assert_eq!(schema["format"], "int-or-string");
}

#[test]
fn every_fact_is_about_a_field_that_exists() {
    for name in facts::names() {
        let (definition, field) = name.rsplit_once('.').expect("a dotted name");
        let known = openapi::schemas().contains_key(name)
            || openapi::schemas()
                .get(definition)
                .is_some_and(|schema| schema["properties"].get(field).is_some());
        assert!(known, "{name} is no field");
    }
}

#[test]
fn merge_keys_are_fields_of_the_items() {
    // A list with a merge key must know the key's field, or patches lose items.
    for name in facts::names() {
        let Some((definition, field)) = name.rsplit_once('.') else {
            continue;
        };
        let Some(facts) = facts::of_field(definition, field) else {
            continue;
        };
        if facts.merge_key.is_none() && facts.map_keys.is_empty() {
            continue;
        }
        let item = &property(definition, field)["items"]["$ref"];
        let item = item.as_str().and_then(|reference| reference.rsplit('/').next());
        for key in facts.merge_key.iter().chain(&facts.map_keys) {
            let item = item.unwrap_or_else(|| panic!("{name} is no list of objects"));
            assert!(!property(item, key).is_null(), "{item} has no {key}");
        }
    }
}

#[test]
fn references_lead_somewhere() {
    let closure = openapi::closure(["io.k8s.api.apps.v1.Deployment"]);
    assert!(closure.contains_key("io.k8s.api.core.v1.Container"));
    assert!(!closure.contains_key("io.k8s.api.core.v1.Service"));
    let text = Value::Object(closure.clone()).to_string();
    for part in text.split("#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap_or_default();
        assert!(closure.contains_key(name), "{name} is missing");
    }
}
