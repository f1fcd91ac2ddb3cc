//! ConfigMap: settings for pods, as text or bytes by key.
//!
//! Never interprets the data.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;

use crate::{
    check::Checks,
    field::{FieldError, Path},
    kind::{Column, Names, Rules},
    names,
    table::{self, column},
};

/// Most bytes of values in one object, of a ConfigMap or a Secret.
pub const MAX_DATA_BYTES: usize = 1024 * 1024;

/// Rules of `configmaps`.
pub struct ConfigMapRules;

impl Rules for ConfigMapRules {
    type Object = ConfigMap;

    fn names() -> Names {
        Names::namespaced("", "v1", "ConfigMap", "configmaps").short(&["cm"])
    }

    fn validate(map: &ConfigMap) -> Vec<FieldError> {
        let mut checks = Checks::new();
        let mut bytes = 0;
        for (key, value) in map.data.iter().flatten() {
            checks.reasons(&Path::new("data").key(key), key, &names::config_key(key));
            bytes += value.len();
            if map.binary_data.as_ref().is_some_and(|data| data.contains_key(key)) {
                let detail = "duplicate of key present in binaryData";
                checks.push(FieldError::invalid(&Path::new("data").key(key), key, detail));
            }
        }
        for (key, value) in map.binary_data.iter().flatten() {
            checks.reasons(&Path::new("binaryData").key(key), key, &names::config_key(key));
            bytes += value.0.len();
        }
        if bytes > MAX_DATA_BYTES {
            checks.push(FieldError::too_long(&Path::new("data"), MAX_DATA_BYTES));
        }
        checks.into_errors()
    }

    fn validate_update(new: &ConfigMap, old: &ConfigMap) -> Vec<FieldError> {
        let mut checks = Checks::new();
        if old.immutable == Some(true) {
            let detail = "field is immutable when `immutable` is set";
            let still = new.immutable == Some(true);
            checks.allowed(still, &Path::new("immutable"), detail);
            checks.allowed(new.data == old.data, &Path::new("data"), detail);
            let same = new.binary_data == old.binary_data;
            checks.allowed(same, &Path::new("binaryData"), detail);
        }
        checks.into_errors()
    }

    const COLUMNS: &'static [Column] =
        &[table::NAME, column("Data", "string", "How many keys it has."), table::AGE];

    fn row(map: &ConfigMap, now: Timestamp) -> Vec<Value> {
        let keys = map.data.as_ref().map_or(0, |data| data.len())
            + map.binary_data.as_ref().map_or(0, |data| data.len());
        vec![table::name(map), Value::from(keys), table::age(map, now)]
    }

    const NUMBERS: &'static str = "
        ConfigMap metadata=1 data=2 binaryData=3 immutable=4*
    ";
}
