//! Namespace: a scope for names, emptied before it goes.
//!
//! Never empties it: the namespace controller does.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceStatus};
use serde_json::Value;

use crate::{
    check::Checks,
    field::{FieldError, Path},
    kind::{Column, FieldValues, NameRule, Names, Role, Rules},
    names,
    subresource::Subresource,
    table::{self, column},
};

/// The finalizer in `spec.finalizers` that the namespace controller removes.
const FINALIZER: &str = "kubernetes";
/// The label that lets selectors name a namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

const TERMINATING: &str = "Terminating";
/// No cluster works without these, as upstream has it.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Rules of `namespaces`.
pub struct NamespaceRules;

impl Rules for NamespaceRules {
    type Object = Namespace;

    fn names() -> Names {
        Names::cluster("", "v1", "Namespace", "namespaces")
            .short(&["ns"])
            .without("deletecollection")
    }

    fn subresources() -> Vec<Subresource> {
        let finalize = Subresource::replace("finalize", |new: &mut Namespace, asked| {
            let asked = asked.spec.as_ref().and_then(|spec| spec.finalizers.clone());
            new.spec.get_or_insert_default().finalizers = asked;
        });
        vec![Subresource::status(), finalize]
    }

    const NAME_RULE: NameRule = NameRule::Label;

    const ROLE: Option<Role> = Some(Role::Namespaces);

    fn is_closed(field: FieldValues<'_>) -> bool {
        field("status.phase") == TERMINATING
    }

    fn immortal(name: &str) -> Option<&'static str> {
        IMMORTAL.contains(&name).then_some("this namespace may not be deleted")
    }

    fn is_held(namespace: &Namespace) -> bool {
        let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
        finalizers.is_some_and(|finalizers| !finalizers.is_empty())
    }

    fn begin_deletion(namespace: &mut Namespace) {
        namespace.status.get_or_insert_default().phase = Some(TERMINATING.to_owned());
    }

    fn default(namespace: &mut Namespace) {
        let status = namespace.status.get_or_insert_default();
        status.phase.get_or_insert_with(|| "Active".to_owned());
        if let Some(name) = namespace.metadata.name.clone() {
            let labels = namespace.metadata.labels.get_or_insert_with(BTreeMap::new);
            labels.insert(NAME_LABEL.to_owned(), name);
        }
    }

    fn prepare_create(namespace: &mut Namespace) {
        namespace.status =
            Some(NamespaceStatus { phase: Some("Active".to_owned()), ..Default::default() });
        let finalizers =
            namespace.spec.get_or_insert_default().finalizers.get_or_insert_with(Vec::new);
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
        }
    }

    fn prepare_update(new: &mut Namespace, old: &Namespace) {
        new.spec.clone_from(&old.spec);
        new.status.clone_from(&old.status);
    }

    fn prepare_status_update(new: &mut Namespace, old: &Namespace) {
        new.spec.clone_from(&old.spec);
    }

    fn validate(namespace: &Namespace) -> Vec<FieldError> {
        let mut checks = Checks::new();
        let finalizers = namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten());
        for (index, finalizer) in finalizers.enumerate() {
            let path = Path::new("spec.finalizers").index(index);
            checks.reasons(&path, finalizer, &names::qualified_name(finalizer));
        }
        checks.into_errors()
    }

    const FIELDS: &'static [&'static str] = &["status.phase"];

    fn fields(namespace: &Namespace) -> Vec<(&'static str, String)> {
        vec![("status.phase", phase(namespace).to_owned())]
    }

    const COLUMNS: &'static [Column] =
        &[table::NAME, column("Status", "string", "Active, or Terminating."), table::AGE];

    fn row(namespace: &Namespace, now: Timestamp) -> Vec<Value> {
        vec![table::name(namespace), Value::from(phase(namespace)), table::age(namespace, now)]
    }

    const NUMBERS: &'static str = "
        Namespace metadata=1 spec=2 status=3
        NamespaceCondition type=1* status=2* lastTransitionTime=4 reason=5 message=6
        NamespaceSpec finalizers=1
        NamespaceStatus phase=1 conditions=2
    ";

    const FACTS: &'static str = "
        NamespaceSpec.finalizers list=atomic
        NamespaceStatus.conditions list=map:type patch=merge merge-key=type
    ";
}

fn phase(namespace: &Namespace) -> &str {
    namespace.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}
