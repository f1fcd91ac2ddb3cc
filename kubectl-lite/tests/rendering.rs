//! What is printed, as tables of text; each row was compared with kubectl 1.32.
//! Never starts a server.

use kubectl_lite::render::columns::Columns;
use kubectl_lite::render::jsonpath::Template;
use kubectl_lite::render::table::{self, Shown};
use serde_json::{Value, json};

fn services() -> Value {
    json!({"kind": "List", "items": [
        {"metadata": {"name": "web", "labels": {"app": "web", "app.io/part": "x"}},
         "spec": {"clusterIP": "10.96.0.2", "ports": [{"name": "http", "port": 80}, {"name": "alt", "port": 81}]}},
        {"metadata": {"name": "db"}, "spec": {"clusterIP": "None", "ports": [{"port": 5432}]}},
    ]})
}

#[test]
fn a_range_without_an_end_is_refused() {
    assert!(Template::parse("{range .items[*]}x").is_err());
}

#[test]
fn custom_columns() {
    let columns =
        Columns::parse("NAME:.metadata.name,PORTS:.spec.ports[*].port,APP:{.metadata.labels.app}");
    let services = services();
    let text = columns.unwrap().render(services["items"].as_array().unwrap().iter(), true);
    let expected = "NAME   PORTS   APP\nweb    80,81   web\ndb     5432    <none>\n";
    assert_eq!(text.as_deref(), Ok(expected));
    assert!(Columns::parse("NAME").is_err());
}

#[test]
fn tables_show_what_is_asked_for() {
    let table = json!({
        "columnDefinitions": [
            {"name": "Name", "format": "name", "priority": 0},
            {"name": "Type", "priority": 0},
            {"name": "Selector", "priority": 1},
        ],
        "rows": [{
            "cells": ["web", "ClusterIP", "app=web"],
            "object": {"metadata": {"namespace": "default", "labels": {"app": "web"}}},
        }],
    });
    let check = |shown: Shown, expected: &str| assert_eq!(table::render(&table, &shown), expected);
    check(Shown::default(), "NAME   TYPE\nweb    ClusterIP\n");
    let wide = Shown { wide: true, ..Shown::default() };
    check(wide, "NAME   TYPE        SELECTOR\nweb    ClusterIP   app=web\n");
    let all = Shown {
        namespace: true,
        labels: true,
        label_columns: vec!["x.io/app".to_owned()],
        name_prefix: Some("service/".to_owned()),
        ..Shown::default()
    };
    let expected = "NAMESPACE   NAME          TYPE        APP   LABELS\ndefault     service/web   ClusterIP         app=web\n";
    check(all, expected);
    let bare = Shown { no_headers: true, ..Shown::default() };
    check(bare, "web   ClusterIP\n");
}
