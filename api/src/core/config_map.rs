//! ConfigMap: settings for pods, as text or bytes by key.
//!
//! Never interprets the data.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;

use crate::{
    kind::{Column, Names, Rules},
    table::{self, column},
};

/// Rules of `configmaps`.
pub struct ConfigMapRules;

impl Rules for ConfigMapRules {
    type Object = ConfigMap;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "ConfigMap",
        plural: "configmaps",
        singular: "configmap",
        short_names: &["cm"],
        categories: &[],
        namespaced: true,
        storage_prefix: "configmaps",
        status: false,
    };

    const COLUMNS: &'static [Column] = &[
        table::NAME,
        column("Data", "string", "How many keys it has."),
        table::AGE,
    ];

    fn row(map: &ConfigMap, now: Timestamp) -> Vec<Value> {
        let keys = map.data.as_ref().map_or(0, |data| data.len())
            + map.binary_data.as_ref().map_or(0, |data| data.len());
        vec![table::name(map), Value::from(keys), table::age(map, now)]
    }
}
