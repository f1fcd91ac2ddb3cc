//! What a create stores of an object: text in, text out, both YAML.
//!
//! Never names an inner function: `decode`, then the erased kind.

use api::{
    decode::{self, Format},
    kind::{Kind, Object},
    kinds,
};
use serde_json::Value;

fn yaml(text: &str) -> Value {
    decode::parse(text.as_bytes(), Format::Yaml).expect("YAML").0
}

fn decoded(text: &str) -> (&'static dyn Kind, Box<dyn Object>) {
    let value = yaml(text);
    let text_of = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let kind = kinds::find_kind(&text_of("apiVersion"), &text_of("kind")).expect("a kind");
    let object = decode::from_value(kind, value).expect("an object").object;
    (kind, object)
}

/// Compares one part (a JSON pointer) of what a create stores.
#[track_caller]
fn check(object: &str, part: &str, expected: &str) {
    let (kind, mut object) = decoded(object);
    kind.default(&mut *object);
    kind.prepare_create(&mut *object);
    let stored = object.to_value();
    assert_eq!(stored.pointer(part).unwrap_or(&Value::Null), &yaml(expected));
    // Defaulting what is stored changes nothing.
    let mut again = kind.decode(&object.to_json()).expect("what was stored");
    assert!(again.equals(&*object));
    kind.default(&mut *again);
    assert!(again.equals(&*object), "defaults are not stable");
}

#[test]
fn services() {
    check(
        "{apiVersion: v1, kind: Service, spec: {type: '', clusterIP: '', ports: [{port: 80, nodePort: 0}]}}",
        "/spec",
        "{type: ClusterIP, sessionAffinity: None, internalTrafficPolicy: Cluster,
          ports: [{port: 80, protocol: TCP, targetPort: 80}]}",
    );
    check(
        "{apiVersion: v1, kind: Service, spec: {type: LoadBalancer, sessionAffinity: ClientIP, clusterIP: 10.0.0.1,
          ports: [{port: 80, targetPort: web, protocol: UDP}]}}",
        "/spec",
        "{type: LoadBalancer, sessionAffinity: ClientIP, internalTrafficPolicy: Cluster,
          externalTrafficPolicy: Cluster, allocateLoadBalancerNodePorts: true,
          sessionAffinityConfig: {clientIP: {timeoutSeconds: 10800}},
          clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1],
          ports: [{port: 80, protocol: UDP, targetPort: web}]}",
    );
    check(
        "{apiVersion: v1, kind: Service, spec: {type: ExternalName, externalName: a.example}}",
        "/spec",
        "{type: ExternalName, externalName: a.example, sessionAffinity: None}",
    );
    check(
        "{apiVersion: v1, kind: Service, status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}}",
        "/status",
        "{loadBalancer: {}}",
    );
}

#[test]
fn pods() {
    check(
        "{apiVersion: v1, kind: Pod, spec: {containers: [{name: a, image: 'i:1', ports: [{containerPort: 80}],
          livenessProbe: {httpGet: {port: 80}}, env: [{name: E, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}],
          volumes: [{name: v}, {name: s, secret: {secretName: x}}], hostNetwork: true}}",
        "/spec",
        "
containers:
- name: a
  image: i:1
  imagePullPolicy: IfNotPresent
  ports: [{containerPort: 80, hostPort: 80, protocol: TCP}]
  livenessProbe: {httpGet: {port: 80, path: /, scheme: HTTP}, timeoutSeconds: 1, periodSeconds: 10,
    successThreshold: 1, failureThreshold: 3}
  env: [{name: E, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.name}}}]
  resources: {}
  terminationMessagePath: /dev/termination-log
  terminationMessagePolicy: File
dnsPolicy: ClusterFirst
enableServiceLinks: true
hostNetwork: true
restartPolicy: Always
schedulerName: default-scheduler
securityContext: {}
terminationGracePeriodSeconds: 30
volumes: [{name: v, emptyDir: {}}, {name: s, secret: {secretName: x, defaultMode: 420}}]",
    );
    check(
        "{apiVersion: v1, kind: Pod, status: {phase: Running}, spec: {containers: [{name: a}]}}",
        "/status",
        "{phase: Pending, qosClass: BestEffort}",
    );
}

#[test]
fn images_are_pulled_by_tag() {
    for (image, policy) in [
        ("web", "Always"),
        ("web:latest", "Always"),
        ("registry.example:5000/web", "Always"),
        ("registry.example:5000/web:1", "IfNotPresent"),
        ("web@sha256:00", "IfNotPresent"),
    ] {
        check(
            &format!(
                "{{apiVersion: v1, kind: Pod, spec: {{containers: [{{name: a, image: '{image}'}}]}}}}"
            ),
            "/spec/containers/0/imagePullPolicy",
            policy,
        );
    }
}

#[test]
fn quality_of_service_follows_from_resources() {
    for (resources, class) in [
        ("{}", "BestEffort"),
        ("{limits: {cpu: 1, memory: 1Gi}}", "Guaranteed"),
        ("{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 500m}}", "Burstable"),
        ("{requests: {memory: 1Gi}}", "Burstable"),
    ] {
        check(
            &format!(
                "{{apiVersion: v1, kind: Pod, spec: {{containers: [{{name: a, resources: {resources}}}]}}}}"
            ),
            "/status/qosClass",
            class,
        );
    }
}

#[test]
fn workloads() {
    let deployment = "{apiVersion: apps/v1, kind: Deployment, metadata: {creationTimestamp: null},
      spec: {strategy: {}, selector: {}, template: {spec: {containers: []}}}, status: {}}";
    check(deployment, "/spec/replicas", "1");
    check(deployment, "/spec/progressDeadlineSeconds", "600");
    check(deployment, "/spec/revisionHistoryLimit", "10");
    check(
        deployment,
        "/spec/strategy",
        "{type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 25%}}",
    );
    check(deployment, "/spec/template/spec/restartPolicy", "Always");
    check(deployment, "/spec/template/spec/enableServiceLinks", "null");
    check(deployment, "/metadata", "{generation: 1}");
    check("{apiVersion: apps/v1, kind: ReplicaSet, spec: {replicas: 0}}", "/spec/replicas", "0");
    let set = "{apiVersion: apps/v1, kind: DaemonSet, spec: {selector: {}, template: {spec: {containers: []}}}}";
    check(
        set,
        "/spec/updateStrategy",
        "{type: RollingUpdate, rollingUpdate: {maxUnavailable: 1, maxSurge: 0}}",
    );
    check(set, "/spec/revisionHistoryLimit", "10");
    check(set, "/spec/template/spec/restartPolicy", "Always");
    check(
        set,
        "/metadata",
        "{generation: 1, annotations: {deprecated.daemonset.template.generation: '1'}}",
    );
    check(
        &set.replace("spec: {selector", "spec: {updateStrategy: {type: OnDelete}, selector"),
        "/spec/updateStrategy",
        "{type: OnDelete}",
    );
}

#[test]
fn the_smaller_kinds() {
    check(
        "{apiVersion: v1, kind: Namespace, metadata: {name: a}}",
        "",
        "{apiVersion: v1, kind: Namespace, spec: {finalizers: [kubernetes]}, status: {phase: Active},
          metadata: {name: a, labels: {kubernetes.io/metadata.name: a}}}",
    );
    check(
        "{apiVersion: v1, kind: Secret, data: {a: b2xk, b: Yg==}, stringData: {a: new}}",
        "",
        "{apiVersion: v1, kind: Secret, metadata: {}, type: Opaque, data: {a: bmV3, b: Yg==}}",
    );
    check(
        "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, endpoints: [], ports: [{port: 80}]}",
        "/ports",
        "[{name: '', port: 80, protocol: TCP}]",
    );
    check(
        "{apiVersion: v1, kind: Node, spec: {podCIDR: 10.0.0.0/24}, status: {capacity: {pods: 110}}}",
        "/status",
        "{capacity: {pods: '110'}, allocatable: {pods: '110'}}",
    );
}

/// Compares one part of what an update stores; `status` asks for the status subresource.
#[track_caller]
fn check_update(status: bool, old: &str, new: &str, part: &str, expected: &str) {
    let (kind, old) = decoded(old);
    let (_, mut new) = decoded(new);
    if status {
        kind.prepare_status_update(&mut *new, &*old);
    } else {
        kind.prepare_update(&mut *new, &*old);
    }
    assert_eq!(new.to_value().pointer(part).unwrap_or(&Value::Null), &yaml(expected));
}

#[test]
fn status_and_spec_are_written_apart() {
    let old = "{apiVersion: v1, kind: Node, spec: {unschedulable: true}, status: {phase: a}}";
    let new = "{apiVersion: v1, kind: Node, spec: {}, status: {phase: b}}";
    check_update(false, old, new, "/status/phase", "a");
    check_update(false, old, new, "/spec/unschedulable", "null");
    check_update(true, old, new, "/status/phase", "b");
    check_update(true, old, new, "/spec/unschedulable", "true");
}

#[test]
fn generation_counts_changes_of_the_spec() {
    let deployment = |generation: i64, replicas: i32, label: &str| {
        format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{generation: {generation}, labels: {{a: {label}}}}}, \
             spec: {{replicas: {replicas}, selector: {{}}, template: {{}}}}}}"
        )
    };
    let old = deployment(4, 1, "x");
    check_update(false, &old, &deployment(9, 1, "y"), "/metadata/generation", "4");
    check_update(false, &old, &deployment(9, 2, "x"), "/metadata/generation", "5");
    check_update(true, &old, &deployment(9, 2, "x"), "/metadata/generation", "4");
}

#[test]
fn a_daemon_set_counts_changes_of_its_template() {
    let number = "deprecated.daemonset.template.generation";
    let set = |annotations: &str, seconds: i32, label: &str| {
        format!(
            "{{apiVersion: apps/v1, kind: DaemonSet, metadata: {{generation: 7, annotations: {{{annotations}}}}}, \
             spec: {{minReadySeconds: {seconds}, selector: {{}}, template: {{metadata: {{labels: {{a: {label}}}}}}}}}}}"
        )
    };
    let old = set(&format!("{number}: '3'"), 1, "x");
    let part = format!("/metadata/annotations/{number}");
    // Whatever the client says of it.
    check_update(false, &old, &set("", 1, "x"), &part, "'3'");
    check_update(false, &old, &set(&format!("{number}: '9'"), 2, "x"), &part, "'3'");
    check_update(false, &old, &set("", 1, "y"), &part, "'4'");
    check_update(false, &old, &set("", 2, "x"), "/metadata/generation", "8");
    check_update(false, &old, &set("", 1, "x"), "/metadata/generation", "7");
}

#[test]
fn updates_keep_what_the_server_set() {
    let old = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, uid: u, creationTimestamp: '2026-01-01T00:00:00Z', deletionTimestamp: '2026-01-02T00:00:00Z'}}";
    let new = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}";
    check_update(false, old, new, "", old);
}
