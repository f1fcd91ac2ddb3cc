//! Hand-written Endpoints in, mirrored EndpointSlices out. Never names a function below `reconcile`.

mod text;

use std::sync::Arc;

use endpoints_controller::mirror::reconcile;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};
use text::{apply, same, show};

const MAX: usize = 100;

fn service(selector: Value) -> Service {
    let service = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {"selector": selector}});
    serde_json::from_value(service).expect("the Service is well formed")
}

fn endpoints(labels: Value, annotations: Value) -> Endpoints {
    let endpoints = json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "u", "labels": labels, "annotations": annotations},
        "subsets": [{
            "addresses": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}],
            "notReadyAddresses": [{"ip": "192.0.2.2"}, {"ip": "192.0.2.1"}],
            "ports": [{"port": 80}],
        }],
    });
    serde_json::from_value(endpoints).expect("the Endpoints are well formed")
}

#[track_caller]
fn check(
    endpoints: Option<&Endpoints>,
    service: Option<&Service>,
    held: &[Arc<EndpointSlice>],
    expected: &str,
) -> Vec<Arc<EndpointSlice>> {
    let slices = apply(reconcile(endpoints, service, held, MAX), held);
    same(&slices.iter().map(|slice| show(slice)).collect::<Vec<_>>().join("\n"), expected);
    assert!(
        reconcile(endpoints, service, &slices, MAX).is_empty(),
        "a second round has nothing to do"
    );
    slices
}

const MIRRORED: &str = "web-0 IPv4 [:80] 192.0.2.1(r) 192.0.2.2()
                        web-1 IPv6 [:80] 2001:db8::1(r)";

#[test]
fn addresses_are_mirrored_by_family_and_readiness() {
    let applied = json!({"kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "kept"});
    let slices = check(
        Some(&endpoints(json!({"team": "blue"}), applied)),
        Some(&service(Value::Null)),
        &[],
        MIRRORED,
    );
    let meta = &slices[0].metadata;
    let labels = meta.labels.clone().unwrap_or_default();
    assert_eq!(
        labels["endpointslice.kubernetes.io/managed-by"],
        "endpointslicemirroring-controller.k8s.io"
    );
    assert_eq!(
        (labels["kubernetes.io/service-name"].as_str(), labels["team"].as_str()),
        ("web", "blue")
    );
    assert_eq!(
        meta.annotations.iter().flatten().map(|(key, _)| key.as_str()).collect::<Vec<_>>(),
        ["note"]
    );
    assert_eq!(meta.owner_references.as_deref().unwrap_or_default()[0].kind, "Endpoints");
}

#[test]
fn what_ends_the_mirroring_removes_the_slices() {
    let (written, plain) = (endpoints(Value::Null, Value::Null), service(Value::Null));
    let held = check(Some(&written), Some(&plain), &[], MIRRORED);
    check(None, Some(&plain), &held, "");
    check(Some(&written), None, &held, "");
    check(Some(&written), Some(&service(json!({"app": "web"}))), &held, "");
    check(
        Some(&endpoints(json!({"endpointslice.kubernetes.io/skip-mirror": "true"}), Value::Null)),
        Some(&plain),
        &held,
        "",
    );
    check(
        Some(&endpoints(
            json!({"endpoints.kubernetes.io/managed-by": "endpoint-controller"}),
            Value::Null,
        )),
        Some(&plain),
        &held,
        "",
    );
    check(
        Some(&endpoints(Value::Null, json!({"control-plane.alpha.kubernetes.io/leader": "{}"}))),
        Some(&plain),
        &held,
        "",
    );
}

#[test]
fn a_change_rewrites_the_slice_it_is_in() {
    let (mut written, plain) = (endpoints(Value::Null, Value::Null), service(Value::Null));
    let held = check(Some(&written), Some(&plain), &[], MIRRORED);
    written.subsets.iter_mut().flatten().for_each(|subset| subset.not_ready_addresses = None);
    let step = reconcile(Some(&written), Some(&plain), &held, MAX);
    assert_eq!((step.create.len(), step.update.len(), step.delete.len()), (0, 1, 0));
}
