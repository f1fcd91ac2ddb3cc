//! Secret: bytes by key that only those who need them should read.
//!
//! Never encrypts: the store's bytes are the object's.

use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use serde_json::Value;

use crate::{
    check::Checks,
    core::config_map::MAX_DATA_BYTES,
    defaults,
    field::{FieldError, Path},
    kind::{Column, Names, Rules},
    names,
    table::{self, column},
};

/// Rules of `secrets`.
pub struct SecretRules;

impl Rules for SecretRules {
    type Object = Secret;

    fn names() -> Names {
        Names::namespaced("", "v1", "Secret", "secrets")
    }

    fn default(secret: &mut Secret) {
        defaults::text(&mut secret.type_, "Opaque");
        // `stringData` is for writing only: it replaces keys of `data` and is never stored.
        if let Some(texts) = secret.string_data.take() {
            let data = secret.data.get_or_insert_default();
            data.extend(texts.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes()))));
        }
    }

    fn validate(secret: &Secret) -> Vec<FieldError> {
        let mut checks = Checks::new();
        let path = Path::new("data");
        let mut bytes = 0;
        for (key, value) in secret.data.iter().flatten() {
            checks.reasons(&path.key(key), key, &names::config_key(key));
            bytes += value.0.len();
        }
        if bytes > MAX_DATA_BYTES {
            checks.push(FieldError::too_long(&path, MAX_DATA_BYTES));
        }
        let has = |key: &str| secret.data.as_ref().is_some_and(|data| data.contains_key(key));
        let type_ = secret.type_.as_deref().unwrap_or_default();
        let (wanted, any_of) = required_keys(type_);
        if any_of && !wanted.iter().any(|key| has(key)) {
            checks.push(FieldError::required(&path.key(wanted[0]), ""));
        }
        for key in wanted.iter().filter(|key| !any_of && !has(key)) {
            checks.push(FieldError::required(&path.key(key), ""));
        }
        checks.into_errors()
    }

    fn validate_update(new: &Secret, old: &Secret) -> Vec<FieldError> {
        let mut checks = Checks::new();
        checks.immutable(&Path::new("type"), &new.type_, &old.type_);
        if old.immutable == Some(true) {
            let detail = "field is immutable when `immutable` is set";
            let still = new.immutable == Some(true);
            checks.allowed(still, &Path::new("immutable"), detail);
            checks.allowed(new.data == old.data, &Path::new("data"), detail);
        }
        checks.into_errors()
    }

    const FIELDS: &'static [&'static str] = &["type"];

    fn fields(secret: &Secret) -> Vec<(&'static str, String)> {
        vec![("type", secret.type_.clone().unwrap_or_default())]
    }

    const COLUMNS: &'static [Column] = &[
        table::NAME,
        column("Type", "string", "What the data is, for programs that handle it."),
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

    const NUMBERS: &'static str = "
        Secret metadata=1 data=2 type=3 stringData=4 immutable=5*
    ";
}

/// Keys that a type of Secret must have: all of them, or with `true` any.
fn required_keys(type_: &str) -> (&'static [&'static str], bool) {
    match type_ {
        "kubernetes.io/dockercfg" => (&[".dockercfg"], false),
        "kubernetes.io/dockerconfigjson" => (&[".dockerconfigjson"], false),
        "kubernetes.io/basic-auth" => (&["username", "password"], true),
        "kubernetes.io/ssh-auth" => (&["ssh-privatekey"], false),
        "kubernetes.io/tls" => (&["tls.crt", "tls.key"], false),
        _ => (&[], false),
    }
}
