//! Protobuf bodies, made with another project's messages, become what their JSON would be.
//!
//! Never names an inner function, apart from the tables of numbers.

use std::collections::{BTreeMap, BTreeSet};

use api::{
    decode::{self, Format},
    kinds,
    protobuf::numbers::{self, Meaning, Numbers},
    shape::{self, Shape},
};
use k8s_pb::{
    api::{apps::v1 as apps, coordination::v1 as coordination, core::v1 as core, policy},
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{self as meta, ObjectMeta},
        runtime::{TypeMeta, Unknown},
        util::intstr::IntOrString,
    },
};
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn envelope(api_version: &str, kind: &str, raw: Vec<u8>) -> Vec<u8> {
    let unknown = Unknown {
        type_meta: Some(TypeMeta { api_version: text(api_version), kind: text(kind) }),
        raw: Some(raw),
        content_encoding: text(""),
        content_type: text(""),
    };
    [b"k8s\0".as_slice(), &unknown.encode_to_vec()].concat()
}

#[track_caller]
fn check(api_version: &str, kind: &str, message: &impl Message, expected: &Value) {
    let body = envelope(api_version, kind, message.encode_to_vec());
    let (mut found, issues) = decode::parse(&body, Format::Protobuf).expect("a message");
    assert!(issues.is_empty());
    let fields = found.as_object_mut().expect("an object");
    assert_eq!(fields.remove("apiVersion"), Some(api_version.into()));
    assert_eq!(fields.remove("kind"), Some(kind.into()));
    assert_eq!(&found, expected);
    if let Some(kind) = kinds::find_kind(api_version, kind) {
        let decoded = decode::decode(kind, &body, Format::Protobuf).expect("an object");
        assert!(decoded.issues.is_empty(), "{:?}", decoded.issues);
    }
}

/// As Go's client writes it: whatever is no pointer is there, also when empty.
fn named(name: &str) -> Option<ObjectMeta> {
    Some(ObjectMeta {
        name: text(name),
        generate_name: text(""),
        namespace: text(""),
        self_link: text(""),
        uid: text(""),
        resource_version: text(""),
        generation: Some(0),
        creation_timestamp: Some(meta::Time::default()),
        labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        ..ObjectMeta::default()
    })
}

fn metadata(name: &str) -> Value {
    json!({"name": name, "labels": {"app": "web"}})
}

fn number(value: i32) -> Option<IntOrString> {
    Some(IntOrString { r#type: Some(0), int_val: Some(value), str_val: text("") })
}

fn words(value: &str) -> Option<IntOrString> {
    Some(IntOrString { r#type: Some(1), int_val: Some(0), str_val: text(value) })
}

fn template() -> core::PodTemplateSpec {
    core::PodTemplateSpec {
        metadata: named(""),
        spec: Some(core::PodSpec {
            containers: vec![core::Container {
                name: text("nginx"),
                image: text("nginx"),
                working_dir: text(""),
                args: vec!["-v".to_owned(), String::new()],
                stdin: Some(false),
                resources: Some(core::ResourceRequirements {
                    limits: BTreeMap::from([("cpu".to_owned(), Quantity { string: text("500m") })]),
                    ..core::ResourceRequirements::default()
                }),
                liveness_probe: Some(core::Probe {
                    handler: Some(core::ProbeHandler {
                        http_get: Some(core::HttpGetAction {
                            path: text("/healthz"),
                            port: words("web"),
                            ..core::HttpGetAction::default()
                        }),
                        ..core::ProbeHandler::default()
                    }),
                    initial_delay_seconds: Some(0),
                    period_seconds: Some(5),
                    ..core::Probe::default()
                }),
                ..core::Container::default()
            }],
            host_network: Some(false),
            automount_service_account_token: Some(false),
            termination_grace_period_seconds: Some(0),
            security_context: Some(core::PodSecurityContext {
                supplemental_groups: vec![0, 7],
                run_as_user: Some(0),
                ..core::PodSecurityContext::default()
            }),
            volumes: vec![core::Volume {
                name: text("config"),
                volume_source: Some(core::VolumeSource {
                    config_map: Some(core::ConfigMapVolumeSource {
                        local_object_reference: Some(core::LocalObjectReference {
                            name: text("settings"),
                        }),
                        default_mode: Some(0o644),
                        ..core::ConfigMapVolumeSource::default()
                    }),
                    ..core::VolumeSource::default()
                }),
            }],
            ..core::PodSpec::default()
        }),
    }
}

fn template_json() -> Value {
    json!({
        "metadata": metadata("").as_object().map(|_| json!({"labels": {"app": "web"}})),
        "spec": {
            "containers": [{
                "name": "nginx", "image": "nginx", "args": ["-v", ""],
                "resources": {"limits": {"cpu": "500m"}},
                "livenessProbe": {
                    "httpGet": {"path": "/healthz", "port": "web"},
                    "periodSeconds": 5,
                },
            }],
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"supplementalGroups": [0, 7], "runAsUser": 0},
            "volumes": [{
                "name": "config",
                "configMap": {"name": "settings", "defaultMode": 420},
            }],
        },
    })
}

#[test]
fn a_deployment_keeps_zeros_that_are_meant_and_no_others() {
    let deployment = apps::Deployment {
        metadata: named("web"),
        spec: Some(apps::DeploymentSpec {
            replicas: Some(0),
            selector: Some(meta::LabelSelector {
                match_labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
                ..meta::LabelSelector::default()
            }),
            template: Some(template()),
            strategy: Some(apps::DeploymentStrategy {
                r#type: text(""),
                rolling_update: Some(apps::RollingUpdateDeployment {
                    max_unavailable: number(0),
                    max_surge: words("25%"),
                }),
            }),
            min_ready_seconds: Some(0),
            paused: Some(false),
            revision_history_limit: Some(-1),
            ..apps::DeploymentSpec::default()
        }),
        status: Some(apps::DeploymentStatus {
            replicas: Some(0),
            ..apps::DeploymentStatus::default()
        }),
    };
    let expected = json!({
        "metadata": metadata("web"),
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template_json(),
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
            "revisionHistoryLimit": -1,
        },
        "status": {},
    });
    check("apps/v1", "Deployment", &deployment, &expected);
}

#[test]
fn services_are_read() {
    let service = core::Service {
        metadata: named("web"),
        spec: Some(core::ServiceSpec {
            ports: vec![core::ServicePort {
                name: text(""),
                protocol: text("TCP"),
                port: Some(80),
                target_port: number(8080),
                node_port: Some(0),
                ..core::ServicePort::default()
            }],
            selector: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
            r#type: text("NodePort"),
            cluster_ips: vec!["None".to_owned()],
            publish_not_ready_addresses: Some(false),
            ..core::ServiceSpec::default()
        }),
        status: Some(core::ServiceStatus {
            load_balancer: Some(core::LoadBalancerStatus::default()),
            conditions: Vec::new(),
        }),
    };
    let expected = json!({
        "metadata": metadata("web"),
        "spec": {
            "ports": [{"protocol": "TCP", "port": 80, "targetPort": 8080}],
            "selector": {"app": "web"},
            "type": "NodePort",
            "clusterIPs": ["None"],
        },
        "status": {"loadBalancer": {}},
    });
    check("v1", "Service", &service, &expected);
}

#[test]
fn nodes_are_read() {
    let node = core::Node {
        metadata: named("worker-1"),
        spec: Some(core::NodeSpec {
            pod_cid_rs: vec!["10.244.1.0/24".to_owned()],
            unschedulable: Some(true),
            taints: vec![core::Taint {
                key: text("a"),
                value: text(""),
                effect: text("NoSchedule"),
                time_added: Some(meta::Time { seconds: Some(1_767_323_045), nanos: Some(0) }),
            }],
            ..core::NodeSpec::default()
        }),
        status: Some(core::NodeStatus {
            daemon_endpoints: Some(core::NodeDaemonEndpoints {
                kubelet_endpoint: Some(core::DaemonEndpoint { port: Some(10250) }),
            }),
            ..core::NodeStatus::default()
        }),
    };
    let expected = json!({
        "metadata": metadata("worker-1"),
        "spec": {
            "podCIDRs": ["10.244.1.0/24"],
            "unschedulable": true,
            "taints": [{"key": "a", "effect": "NoSchedule", "timeAdded": "2026-01-02T03:04:05Z"}],
        },
        "status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}},
    });
    check("v1", "Node", &node, &expected);
}

#[test]
fn leases_are_read() {
    let lease = coordination::Lease {
        metadata: named("leader"),
        spec: Some(coordination::LeaseSpec {
            holder_identity: text(""),
            renew_time: Some(meta::MicroTime {
                seconds: Some(1_767_323_045),
                nanos: Some(123_456_789),
            }),
            ..coordination::LeaseSpec::default()
        }),
    };
    let expected = json!({
        "metadata": metadata("leader"),
        "spec": {"holderIdentity": "", "renewTime": "2026-01-02T03:04:05.123456Z"},
    });
    check("coordination.k8s.io/v1", "Lease", &lease, &expected);
}

#[test]
fn data_and_managed_fields_are_read() {
    let secret = core::Secret {
        metadata: Some(ObjectMeta {
            name: text("pass"),
            managed_fields: vec![meta::ManagedFieldsEntry {
                manager: text("kubectl"),
                fields_v1: Some(meta::FieldsV1 { raw: Some(br#"{"f:data":{}}"#.to_vec()) }),
                ..meta::ManagedFieldsEntry::default()
            }],
            ..ObjectMeta::default()
        }),
        immutable: Some(false),
        data: BTreeMap::from([("empty".to_owned(), Vec::new()), ("key".to_owned(), vec![0, 0xff])]),
        string_data: BTreeMap::from([("plain".to_owned(), String::new())]),
        r#type: text("Opaque"),
    };
    let expected = json!({
        "metadata": {
            "name": "pass",
            "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:data": {}}}],
        },
        "immutable": false,
        "data": {"empty": "", "key": "AP8="},
        "stringData": {"plain": ""},
        "type": "Opaque",
    });
    check("v1", "Secret", &secret, &expected);

    let map = core::ConfigMap {
        metadata: named("settings"),
        data: BTreeMap::from([("a".to_owned(), "ä\n".to_owned())]),
        binary_data: BTreeMap::from([("b".to_owned(), vec![1])]),
        immutable: None,
    };
    let expected = json!({
        "metadata": metadata("settings"),
        "data": {"a": "ä\n"},
        "binaryData": {"b": "AQ=="},
    });
    check("v1", "ConfigMap", &map, &expected);
    let template = core::Pod {
        metadata: named("web"),
        spec: template().spec,
        status: Some(core::PodStatus::default()),
    };
    let mut expected = template_json();
    expected["metadata"] = metadata("web");
    expected["status"] = json!({});
    check("v1", "Pod", &template, &expected);
}

#[test]
fn requests_that_are_no_kind_are_read() {
    let options = meta::DeleteOptions {
        grace_period_seconds: Some(0),
        propagation_policy: text("Background"),
        dry_run: vec!["All".to_owned()],
        ..meta::DeleteOptions::default()
    };
    let expected =
        json!({"gracePeriodSeconds": 0, "propagationPolicy": "Background", "dryRun": ["All"]});
    // Each version of each group has these options.
    for version in ["v1", "apps/v1", "meta.k8s.io/v1"] {
        check(version, "DeleteOptions", &options, &expected);
    }
    let eviction = policy::v1::Eviction { metadata: named("web"), delete_options: Some(options) };
    let expected = json!({"metadata": metadata("web"), "deleteOptions": expected});
    check("policy/v1", "Eviction", &eviction, &expected);
    let binding = core::Binding {
        metadata: named("web"),
        target: Some(core::ObjectReference {
            kind: text("Node"),
            name: text("worker-1"),
            ..core::ObjectReference::default()
        }),
    };
    let expected =
        json!({"metadata": metadata("web"), "target": {"kind": "Node", "name": "worker-1"}});
    check("v1", "Binding", &binding, &expected);
    let scale = k8s_pb::api::autoscaling::v1::Scale {
        metadata: named("web"),
        spec: Some(k8s_pb::api::autoscaling::v1::ScaleSpec { replicas: Some(3) }),
        status: None,
    };
    let expected = json!({"metadata": metadata("web"), "spec": {"replicas": 3}});
    check("autoscaling/v1", "Scale", &scale, &expected);
}

/// The names that a message's numbers stand for, embedded messages included.
fn names(numbers: &'static Numbers, found: &mut BTreeSet<&'static str>) {
    for meaning in numbers.values() {
        match meaning {
            Meaning::Field { name, .. } => assert!(found.insert(name), "{name} has two numbers"),
            Meaning::Embedded(message) => names(numbers::of(message).expect(message), found),
        }
    }
}

/// Walks what a value can hold, and returns how deep it goes.
fn check_numbered(shape: &'static Shape, outer: &mut Vec<&'static str>) -> usize {
    let definition = match shape {
        Shape::Map(inner) | Shape::List(inner) => return check_numbered(inner, outer),
        Shape::Struct(definition) => definition.as_str(),
        _ => return 0,
    };
    assert!(!outer.contains(&definition), "{definition} contains itself");
    outer.push(definition);
    let fields = shape::fields(definition).expect(definition);
    let mut found = BTreeSet::new();
    let numbers = numbers::of(definition).unwrap_or_else(|| panic!("{definition} has no numbers"));
    names(numbers, &mut found);
    let type_meta = ["apiVersion", "kind"];
    for name in fields.keys().filter(|name| !found.contains(name.as_str())) {
        assert!(type_meta.contains(&name.as_str()), "{definition}.{name} has no number");
    }
    for name in found {
        assert!(fields.contains_key(name), "{definition} has no {name}");
    }
    let depths = fields.values().map(|field| check_numbered(&field.shape, outer));
    let deepest = depths.max().unwrap_or(0);
    outer.pop();
    deepest + 1
}

#[test]
fn every_field_has_one_number_and_nesting_an_end() {
    let requests = [
        "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
        "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
        "io.k8s.api.autoscaling.v1.Scale",
        "io.k8s.api.core.v1.Binding",
        "io.k8s.api.policy.v1.Eviction",
        "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    ];
    let kinds = kinds::all().iter().map(|kind| kind.definition());
    for definition in kinds.chain(requests) {
        let shape = Box::leak(Box::new(Shape::Struct(definition.to_owned())));
        let depth = check_numbered(shape, &mut Vec::new());
        assert!(depth < 20, "{definition} nests {depth} deep");
    }
}

#[test]
fn a_broken_body_is_refused_with_the_place() {
    let pod = |raw: &[u8]| envelope("v1", "Pod", raw.to_vec());
    // Four bytes, the type with its tag and length, the raw bytes' tag and length.
    let start = 4 + 2 + 9 + 2;
    for (body, expected) in [
        (b"{}".to_vec(), "byte 0: it must start with".to_owned()),
        (b"k8s".to_vec(), "byte 0".to_owned()),
        (b"k8s\0\x0a".to_vec(), "byte 5: the message ends".to_owned()),
        (b"k8s\0\x0a\x05\x0a".to_vec(), "byte 5: field 1 has 5 bytes, of which 1 came".to_owned()),
        (b"k8s\0\x1a\x04gzip".to_vec(), "byte 4: field 3: a contentEncoding".to_owned()),
        (envelope("v1", "Gadget", Vec::new()), "no kind \"Gadget\" of version \"v1\"".to_owned()),
        (envelope("", "", Vec::new()), "does not name its kind".to_owned()),
        (pod(b"\x08\x01"), format!("byte {start}: field 1: a number where bytes must be")),
        (pod(b"\x0b"), format!("byte {start}: field 1 has the unknown wire type 3")),
        (pod(b"\x00"), format!("byte {start}: 0 is no field number")),
        (pod(&[0xff; 11]), format!("byte {start}: a number of more than 64 bits")),
        (pod(b"\x0a\x03\x0a\x01\xff"), format!("byte {}: field 1: not UTF-8", start + 2)),
    ] {
        let error = decode::parse(&body, Format::Protobuf).expect_err("an error");
        assert!(error.message.contains(&expected), "{error}\n lacks\n{expected}");
    }
}

#[test]
fn fields_of_newer_clients_are_left_out_and_parts_are_joined() {
    let first = core::Pod { metadata: named("web"), ..core::Pod::default() };
    let second = core::Pod {
        metadata: Some(ObjectMeta { uid: text("u"), ..ObjectMeta::default() }),
        ..core::Pod::default()
    };
    let unknown = [0xc2, 0x3e, 0x01, 0x00, 0xc9, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8];
    let raw = [&first.encode_to_vec()[..], &unknown, &second.encode_to_vec()].concat();
    let body = envelope("v1", "Pod", raw);
    let (found, _) = decode::parse(&body, Format::Protobuf).expect("a message");
    let mut expected = metadata("web");
    expected["uid"] = "u".into();
    assert_eq!(found["metadata"], expected);
}

#[test]
fn a_body_of_another_kind_is_refused_and_one_of_none_is_the_pathes() {
    let pods = kinds::find("", "v1", "pods").expect("a kind");
    let raw = core::Service::default().encode_to_vec();
    let error = decode::decode(pods, &envelope("v1", "Service", raw), Format::Protobuf);
    let error = error.err().expect("an error").message;
    assert!(error.contains("the kind in the data (Service) does not match"), "{error}");
    let raw = core::Pod { metadata: named("web"), ..core::Pod::default() };
    let body = envelope("", "", raw.encode_to_vec());
    let decoded = decode::decode(pods, &body, Format::Protobuf).expect("a pod");
    assert_eq!(decoded.object.metadata().name.as_deref(), Some("web"));
}

/// Bytes that are protobuf more often than chance would have them.
fn likely_bytes() -> impl Strategy<Value = Vec<u8>> {
    let whole = core::Pod { metadata: named("web"), spec: template().spec, status: None };
    let whole = whole.encode_to_vec();
    let changes = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let changed = changes.prop_map(move |changes| {
        let mut bytes = whole.clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    });
    prop_oneof![proptest::collection::vec(any::<u8>(), 0..200), changed]
}

proptest! {
    #[test]
    fn no_bytes_panic(raw in likely_bytes(), cut in any::<prop::sample::Index>()) {
        for kind in kinds::all() {
            let names = kind.names();
            let body = envelope(&names.api_version(), &names.kind, raw.clone());
            let _ = decode::decode(&**kind, &body, Format::Protobuf);
            let _ = decode::decode(&**kind, &body[..cut.index(body.len())], Format::Protobuf);
        }
        let _ = decode::parse(&raw, Format::Protobuf);
        let _ = decode::parse(&[b"k8s\0", &raw[..]].concat(), Format::Protobuf);
    }
}
