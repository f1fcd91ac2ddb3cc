//! Every kind through the erased trait: defaults, rows and names, as tables of text.
//!
//! Never looks behind `kinds::find`.

use api::kinds;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Decodes, defaults and prepares an object as a create does, and gives its JSON.
fn created(group: &str, plural: &str, object: Value) -> Value {
    let kind = kinds::find(group, "v1", plural).expect("a kind");
    let mut object = kind.decode(object.to_string().as_bytes()).expect("an object");
    kind.default(&mut *object);
    kind.prepare_create(&mut *object);
    object.to_value()
}

#[test]
fn every_kind_is_found_by_its_names_and_is_stored_apart() {
    let mut prefixes = std::collections::BTreeSet::new();
    for kind in kinds::all() {
        let names = kind.names();
        let found = kinds::find(&names.group, &names.version, &names.plural).expect(&names.kind);
        assert_eq!(found.names(), names);
        assert!(prefixes.insert(&names.storage_prefix), "{} is taken", names.storage_prefix);
    }
    assert!(prefixes.len() >= 14);
}

#[test]
fn a_service_is_defaulted() {
    let service = created("", "services", json!({"spec": {"ports": [{"port": 80}]}}));
    assert_eq!(
        service["spec"],
        json!({
            "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        })
    );
}

#[test]
fn rows_have_a_cell_for_each_column() {
    for kind in kinds::all() {
        let object = kind.decode(b"{}").expect("an empty object");
        assert_eq!(kind.row(&*object, Timestamp::UNIX_EPOCH).len(), kind.columns().len());
    }
}
