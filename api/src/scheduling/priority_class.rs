//! PriorityClass: a name for how much a pod matters.

use jiff::Timestamp;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde_json::Value;

use crate::{
    check::Checks,
    defaults,
    field::{FieldError, Path},
    kind::{Column, Names, Rules},
    table::{self, column},
};

/// Names that begin with this are the cluster's own.
const SYSTEM_PREFIX: &str = "system-";
/// The cluster's own classes and their values.
const SYSTEM: [(&str, i32); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];
/// Highest value of a class that is not the cluster's own.
const HIGHEST_VALUE: i32 = 1_000_000_000;

/// Rules of `priorityclasses`.
pub struct PriorityClassRules;

impl Rules for PriorityClassRules {
    type Object = PriorityClass;

    fn names() -> Names {
        Names::cluster("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses").short(&["pc"])
    }

    fn default(class: &mut PriorityClass) {
        defaults::text(&mut class.preemption_policy, "PreemptLowerPriority");
        class.global_default = class.global_default.filter(|is_default| *is_default);
    }

    fn prepare_create(class: &mut PriorityClass) {
        class.metadata.generation = Some(1);
    }

    fn validate(class: &PriorityClass) -> Vec<FieldError> {
        let mut checks = Checks::new();
        let name = class.metadata.name.as_deref().unwrap_or_default();
        if name.starts_with(SYSTEM_PREFIX) {
            if let Err(why) = check_system(class, name) {
                let detail = format!(
                    "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {why}"
                );
                checks.allowed(false, &Path::new("metadata.name"), &detail);
            }
        } else {
            let detail =
                format!("maximum allowed value of a user defined priority is {HIGHEST_VALUE}");
            checks.allowed(class.value <= HIGHEST_VALUE, &Path::new("value"), &detail);
        }
        let policy = class.preemption_policy.as_deref().unwrap_or_default();
        let path = Path::new("preemptionPolicy");
        checks.one_of(&path, policy, &["Never", "PreemptLowerPriority"]);
        checks.into_errors()
    }

    fn validate_update(new: &PriorityClass, old: &PriorityClass) -> Vec<FieldError> {
        let mut checks = Checks::new();
        let same = new.value == old.value;
        checks.allowed(same, &Path::new("value"), "may not be changed in an update.");
        let path = Path::new("preemptionPolicy");
        checks.immutable(&path, &new.preemption_policy, &old.preemption_policy);
        checks.into_errors()
    }

    const ADMITTED_AMONG_OTHERS: bool = true;

    fn admit_among(new: &PriorityClass, others: &[&PriorityClass]) -> Result<(), String> {
        let is_default = |class: &PriorityClass| class.global_default == Some(true);
        let mut others = others.iter().filter(|other| other.metadata.name != new.metadata.name);
        match others.find(|other| is_default(other)) {
            Some(other) if is_default(new) => Err(format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                other.metadata.name.as_deref().unwrap_or_default()
            )),
            _ => Ok(()),
        }
    }

    fn immortal(name: &str) -> Option<&'static str> {
        let is_system = SYSTEM.iter().any(|(system, _)| *system == name);
        is_system.then_some("this is a system priority class and cannot be deleted")
    }

    const COLUMNS: &'static [Column] = &[
        table::NAME,
        column("Value", "integer", "The higher, the more a pod matters."),
        column("Global-Default", "boolean", "Whether pods that name no class are of it."),
        table::AGE,
        column("PreemptionPolicy", "string", "Whether its pods may displace others."),
    ];

    fn row(class: &PriorityClass, now: Timestamp) -> Vec<Value> {
        vec![
            table::name(class),
            Value::from(class.value),
            Value::from(class.global_default.unwrap_or(false)),
            table::age(class, now),
            Value::from(class.preemption_policy.clone().unwrap_or_default()),
        ]
    }

    const NUMBERS: &'static str = "
        PriorityClass metadata=1 value=2 globalDefault=3 description=4 preemptionPolicy=5*
    ";
}

/// Whether the class is one of the cluster's own, with its value.
fn check_system(class: &PriorityClass, name: &str) -> Result<(), String> {
    let Some((_, value)) = SYSTEM.iter().find(|(system, _)| *system == name) else {
        return Err(format!("{name} is not a known system priority class"));
    };
    if class.value != *value {
        return Err(format!("value of {name} PriorityClass must be {value}"));
    }
    if class.global_default == Some(true) {
        return Err(format!("globalDefault of {name} PriorityClass must be false"));
    }
    Ok(())
}
