//! Makes the OpenAPI schemas of all kinds out of their Rust types, so that the program holds the
//! schemas as text and none of the code that makes them.

use std::{env, error::Error, fmt::Write, fs, path::Path};

use k8s_openapi::{Resource, apimachinery::pkg::apis::meta::v1::DeleteOptions};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};

/// `(apiVersion, kind, definition)` of every kind whose schema was asked of the generator.
type Kinds = Vec<(&'static str, &'static str, String)>;

fn add<T: Resource + JsonSchema>(generator: &mut SchemaGenerator, kinds: &mut Kinds) {
    generator.subschema_for::<T>();
    kinds.push((T::API_VERSION, T::KIND, T::schema_name().into_owned()));
}

macro_rules! add_all {
    ($generator:ident, $kinds:ident, $($($module:ident)::+ { $($kind:ident),+ })+) => {
        $({
            use k8s_openapi::$($module)::+ as module;
            $(add::<module::$kind>(&mut $generator, &mut $kinds);)+
        })+
    };
}

/// Asks for every kind that the crate has, served or not.
fn all() -> (SchemaGenerator, Kinds) {
    let mut generator = SchemaSettings::openapi3().into_generator();
    let mut kinds = Kinds::new();
    generator.subschema_for::<DeleteOptions>();
    add_all! { generator, kinds,
    api::admissionregistration::v1 {
        MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding,
        MutatingWebhookConfiguration, ValidatingAdmissionPolicy,
        ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration
    }
    api::admissionregistration::v1alpha1 { MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding }
    api::admissionregistration::v1beta1 { MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding }
    api::apiserverinternal::v1alpha1 { StorageVersion }
    api::apps::v1 { ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet }
    api::authentication::v1 { SelfSubjectReview, TokenRequest, TokenReview }
    api::authorization::v1 {
        LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview,
        SubjectAccessReview
    }
    api::autoscaling::v1 { HorizontalPodAutoscaler, Scale }
    api::autoscaling::v2 { HorizontalPodAutoscaler }
    api::batch::v1 { CronJob, Job }
    api::certificates::v1 { CertificateSigningRequest }
    api::certificates::v1alpha1 { ClusterTrustBundle }
    api::certificates::v1beta1 { ClusterTrustBundle, PodCertificateRequest }
    api::coordination::v1 { Lease }
    api::coordination::v1alpha2 { LeaseCandidate }
    api::coordination::v1beta1 { LeaseCandidate }
    api::core::v1 {
        Binding, ComponentStatus, ConfigMap, Endpoints, Event, LimitRange, Namespace, Node,
        PersistentVolume, PersistentVolumeClaim, Pod, PodTemplate, ReplicationController,
        ResourceQuota, Secret, Service, ServiceAccount
    }
    api::discovery::v1 { EndpointSlice }
    api::events::v1 { Event }
    api::flowcontrol::v1 { FlowSchema, PriorityLevelConfiguration }
    api::networking::v1 { Ingress, IngressClass, IPAddress, NetworkPolicy, ServiceCIDR }
    api::networking::v1beta1 { IPAddress, ServiceCIDR }
    api::node::v1 { RuntimeClass }
    api::policy::v1 { Eviction, PodDisruptionBudget }
    api::rbac::v1 { ClusterRole, ClusterRoleBinding, Role, RoleBinding }
    api::resource::v1 { DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice }
    api::resource::v1alpha3 { DeviceTaintRule, ResourcePoolStatusRequest }
    api::resource::v1beta1 { DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice }
    api::resource::v1beta2 {
        DeviceClass, DeviceTaintRule, ResourceClaim, ResourceClaimTemplate, ResourceSlice
    }
    api::scheduling::v1 { PriorityClass }
    api::scheduling::v1alpha2 { PodGroup, Workload }
    api::storage::v1 {
        CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment,
        VolumeAttributesClass
    }
    api::storage::v1beta1 { VolumeAttributesClass }
    api::storagemigration::v1beta1 { StorageVersionMigration }
    apiextensions_apiserver::pkg::apis::apiextensions::v1 { CustomResourceDefinition }
    kube_aggregator::pkg::apis::apiregistration::v1 { APIService }
    }
    kinds.sort();
    (generator, kinds)
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let (mut generator, kinds) = all();
    let mut definitions: Vec<_> = generator.take_definitions(true).into_iter().collect();
    definitions.sort_by(|(a, _), (b, _)| a.cmp(b));

    let mut code = String::from("static KINDS: &[(&str, &str, &str)] = &[\n");
    for kind in kinds {
        writeln!(code, "    {kind:?},")?;
    }
    code += "];\nstatic DEFINITIONS: &[(&str, &str)] = &[\n";
    for (name, schema) in definitions {
        writeln!(code, "    ({name:?}, {:?}),", schema.to_string())?;
    }
    code += "];\n";
    fs::write(Path::new(&env::var("OUT_DIR")?).join("schemas.rs"), code)?;
    Ok(())
}
