//! Secret: bytes by key that only those who need them should read.
//!
//! Never encrypts: the store's bytes are the object's.

use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use serde_json::Value;

use crate::{
    kind::{Column, Names, Rules},
    table::{self, column},
};

/// Rules of `secrets`.
pub struct SecretRules;

impl Rules for SecretRules {
    type Object = Secret;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "Secret",
        plural: "secrets",
        singular: "secret",
        short_names: &[],
        categories: &[],
        namespaced: true,
        storage_prefix: "secrets",
        status: false,
    };

    fn default(secret: &mut Secret) {
        secret.type_.get_or_insert_with(|| "Opaque".to_owned());
        // `stringData` is for writing only: it replaces keys of `data` and is never stored.
        if let Some(texts) = secret.string_data.take() {
            let data = secret.data.get_or_insert_default();
            data.extend(
                texts
                    .into_iter()
                    .map(|(key, text)| (key, ByteString(text.into_bytes()))),
            );
        }
    }

    const FIELDS: &'static [&'static str] = &["type"];

    fn fields(secret: &Secret) -> Vec<(&'static str, String)> {
        vec![("type", secret.type_.clone().unwrap_or_default())]
    }

    const COLUMNS: &'static [Column] = &[
        table::NAME,
        column(
            "Type",
            "string",
            "What the data is, for programs that handle it.",
        ),
        column("Data", "string", "How many keys it has."),
        table::AGE,
    ];

    fn row(secret: &Secret, now: Timestamp) -> Vec<Value> {
        vec![
            table::name(secret),
            Value::from(secret.type_.clone().unwrap_or_default()),
            Value::from(secret.data.as_ref().map_or(0, |data| data.len())),
            table::age(secret, now),
        ]
    }
}
