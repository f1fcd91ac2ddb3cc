//! Lease: who holds a role or proves a node alive, and since when.
//!
//! Never decides who holds it.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::Value;

use crate::{
    check::Checks,
    field::{FieldError, Path},
    kind::{Column, Names, Rules},
    table::{self, column},
};

/// Rules of `leases`.
pub struct LeaseRules;

impl Rules for LeaseRules {
    type Object = Lease;

    fn names() -> Names {
        Names::namespaced("coordination.k8s.io", "v1", "Lease", "leases")
    }

    fn validate(lease: &Lease) -> Vec<FieldError> {
        let mut checks = Checks::new();
        let path = Path::new("spec");
        let spec = lease.spec.clone().unwrap_or_default();
        if let Some(seconds) = spec.lease_duration_seconds {
            let path = path.child("leaseDurationSeconds");
            checks.holds(seconds > 0, &path, &seconds, "must be greater than 0");
        }
        let transitions = spec.lease_transitions.map(i64::from);
        checks.non_negative(&path.child("leaseTransitions"), transitions);
        checks.into_errors()
    }

    const COLUMNS: &'static [Column] =
        &[table::NAME, column("Holder", "string", "Identity of the current holder."), table::AGE];

    fn row(lease: &Lease, now: Timestamp) -> Vec<Value> {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        vec![table::name(lease), Value::from(holder.unwrap_or_default()), table::age(lease, now)]
    }

    const NUMBERS: &'static str = "
        Lease metadata=1 spec=2
        LeaseSpec holderIdentity=1* leaseDurationSeconds=2* acquireTime=3 renewTime=4
          leaseTransitions=5* strategy=6* preferredHolder=7*
    ";
}
