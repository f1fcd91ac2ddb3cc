//! ServiceAccount: an identity for pods.
//!
//! Never issues tokens.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ServiceAccount;
use serde_json::Value;

use crate::{
    kind::{Column, Names, Rules},
    table::{self, column},
};

/// Rules of `serviceaccounts`.
pub struct ServiceAccountRules;

impl Rules for ServiceAccountRules {
    type Object = ServiceAccount;

    fn names() -> Names {
        Names::namespaced("", "v1", "ServiceAccount", "serviceaccounts").short(&["sa"])
    }

    const RETURNED_WHEN_DELETED: bool = true;

    const COLUMNS: &'static [Column] =
        &[table::NAME, column("Secrets", "string", "How many secrets it lists."), table::AGE];

    fn row(account: &ServiceAccount, now: Timestamp) -> Vec<Value> {
        let secrets = account.secrets.as_ref().map_or(0, Vec::len);
        vec![table::name(account), Value::from(secrets), table::age(account, now)]
    }

    const NUMBERS: &'static str = "
        ServiceAccount metadata=1 secrets=2 imagePullSecrets=3 automountServiceAccountToken=4*
    ";

    const FACTS: &'static str = "
        ServiceAccount.imagePullSecrets list=atomic
        ServiceAccount.secrets list=map:name patch=merge merge-key=name
    ";
}
