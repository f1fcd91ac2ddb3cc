//! ControllerRevision: a state of a controller that it can go back to.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;
use serde_json::Value;

use crate::{
    check::Checks,
    field::{FieldError, Path},
    kind::{Column, Names, Rules},
    table::{self, column},
};

/// Rules of `controllerrevisions`.
pub struct ControllerRevisionRules;

impl Rules for ControllerRevisionRules {
    type Object = ControllerRevision;

    fn names() -> Names {
        Names::namespaced("apps", "v1", "ControllerRevision", "controllerrevisions")
    }

    fn validate(revision: &ControllerRevision) -> Vec<FieldError> {
        let mut checks = Checks::new();
        if revision.data.is_none() {
            checks.push(FieldError::required(&Path::new("data"), "data is mandatory"));
        }
        checks.non_negative(&Path::new("revision"), Some(revision.revision));
        checks.into_errors()
    }

    fn validate_update(new: &ControllerRevision, old: &ControllerRevision) -> Vec<FieldError> {
        let mut checks = Checks::new();
        checks.immutable(&Path::new("data"), &new.data, &old.data);
        checks.into_errors()
    }

    const COLUMNS: &'static [Column] = &[
        table::NAME,
        column("Controller", "string", "Whose state it is."),
        column("Revision", "string", "The higher, the newer."),
        table::AGE,
    ];

    fn row(revision: &ControllerRevision, now: Timestamp) -> Vec<Value> {
        vec![
            table::name(revision),
            Value::from(controller(revision)),
            Value::from(revision.revision),
            table::age(revision, now),
        ]
    }

    const NUMBERS: &'static str = "
        ControllerRevision metadata=1 data=2 revision=3
    ";
}

/// Such as `daemonset.apps/web`.
fn controller(revision: &ControllerRevision) -> String {
    let mut owners = revision.metadata.owner_references.iter().flatten();
    let Some(owner) = owners.find(|owner| owner.controller == Some(true)) else {
        return "<none>".to_owned();
    };
    let kind = owner.kind.to_lowercase();
    match owner.api_version.split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", owner.name),
        None => format!("{kind}/{}", owner.name),
    }
}
