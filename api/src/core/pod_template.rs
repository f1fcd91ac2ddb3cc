//! PodTemplate: a pod's description that is kept for whoever makes pods from it.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodTemplate;
use serde_json::Value;

use crate::{
    check::Checks,
    core::{
        pod_defaults::default_pod_spec, pod_row::containers_and_images,
        pod_validation::validate_template,
    },
    field::{FieldError, Path},
    kind::{Column, Names, Rules},
    table::{self, column},
};

/// Rules of `podtemplates`.
pub struct PodTemplateRules;

impl Rules for PodTemplateRules {
    type Object = PodTemplate;

    fn names() -> Names {
        Names::namespaced("", "v1", "PodTemplate", "podtemplates")
    }

    fn default(template: &mut PodTemplate) {
        let inner = template.template.get_or_insert_default();
        default_pod_spec(inner.spec.get_or_insert_default());
    }

    fn prepare_create(template: &mut PodTemplate) {
        template.metadata.generation = Some(1);
    }

    fn prepare_update(new: &mut PodTemplate, old: &PodTemplate) {
        if new.template != old.template {
            new.metadata.generation = Some(old.metadata.generation.unwrap_or(0) + 1);
        }
    }

    fn validate(template: &PodTemplate) -> Vec<FieldError> {
        let mut checks = Checks::new();
        let inner = template.template.clone().unwrap_or_default();
        validate_template(&mut checks, &Path::new("template"), &inner);
        checks.into_errors()
    }

    const COLUMNS: &'static [Column] = &[
        table::NAME,
        column("Containers", "string", "Names of the template's containers."),
        column("Images", "string", "Images of the template's containers."),
        column("Pod Labels", "string", "Labels of the pods made from it."),
    ];

    fn row(template: &PodTemplate, _now: Timestamp) -> Vec<Value> {
        let inner = template.template.as_ref();
        let (containers, images) =
            containers_and_images(inner.and_then(|inner| inner.spec.as_ref()));
        let metadata = inner.and_then(|inner| inner.metadata.as_ref());
        let labels = metadata.and_then(|metadata| metadata.labels.as_ref());
        vec![
            table::name(template),
            Value::from(containers),
            Value::from(images),
            Value::from(table::labels(labels)),
        ]
    }

    const NUMBERS: &'static str = "
        PodTemplate metadata=1 template=2
    ";
}
