//! Patches as tables: stored object, patch, outcome; all in YAML.
//!
//! Never names an inner function: everything goes through `patch`.

use api::{
    decode::{self, Format},
    kinds,
    patch::{PatchType, patch},
};
use serde_json::Value;

fn yaml(text: &str) -> Value {
    decode::parse(text.as_bytes(), Format::Yaml).expect("YAML").0
}

fn outcome(
    plural: &str,
    patch_type: PatchType,
    stored: &str,
    change: &str,
) -> Result<Value, String> {
    let group = if plural == "deployments" { "apps" } else { "" };
    let kind = kinds::find(group, "v1", plural).expect("a kind");
    let change = yaml(change).to_string();
    patch(kind.definition(), yaml(stored), change.as_bytes(), patch_type)
        .map_err(|error| error.to_string())
}

#[track_caller]
fn check(plural: &str, patch_type: PatchType, stored: &str, change: &str, expected: &str) {
    match outcome(plural, patch_type, stored, change) {
        Ok(outcome) => assert_eq!(outcome, yaml(expected), "{change}"),
        Err(error) => panic!("{change}: {error}"),
    }
}

#[track_caller]
fn check_error(plural: &str, patch_type: PatchType, stored: &str, change: &str, expected: &str) {
    let error = outcome(plural, patch_type, stored, change).expect_err("an error");
    assert!(error.contains(expected), "{error}\n lacks\n{expected}");
}

use PatchType::{Json, Merge, StrategicMerge};

#[test]
fn json_patch() {
    check(
        "services",
        Json,
        "{spec: {ports: [{port: 80}]}}",
        "[{op: test, path: /spec/ports/0/port, value: 80}, {op: add, path: /spec/ports/-, value: {port: 81}}]",
        "{spec: {ports: [{port: 80}, {port: 81}]}}",
    );
    check_error(
        "services",
        Json,
        "{spec: {}}",
        "[{op: test, path: /spec/x, value: 1}]",
        "operation 0 failed at \"/spec/x\": there is nothing at that path",
    );
    check_error("services", Json, "{a: 1}", "[{op: test, path: /a, value: 2}]", "another one");
    check_error("services", Json, "{}", "{spec: {}}", "not a JSON patch");
}

#[test]
fn a_json_patch_that_copies_its_own_copies_is_stopped() {
    let text = "x".repeat(4096);
    let mut operations = vec![format!("{{op: add, path: /a, value: [{text}]}}")];
    for _ in 0..12 {
        operations.push("{op: copy, from: /a, path: /a/-}".to_owned());
    }
    let change = format!("[{}]", operations.join(","));
    check_error("services", Json, "{}", &change, "may copy");
}

#[test]
fn merge_patch_replaces_lists_and_drops_nulls() {
    check(
        "services",
        Merge,
        "{metadata: {labels: {a: x, b: y}}, spec: {ports: [{port: 80}]}}",
        "{metadata: {labels: {a: null, c: z}}, spec: {ports: [{port: 81}]}}",
        "{metadata: {labels: {b: y, c: z}}, spec: {ports: [{port: 81}]}}",
    );
    check_error("services", Merge, "{}", "[]", "a merge patch is an object");
}

#[test]
fn strategic_merge_of_objects() {
    let stored = "{metadata: {labels: {a: x, b: y}}, spec: {type: ClusterIP}}";
    check(
        "services",
        StrategicMerge,
        stored,
        "{metadata: {labels: {a: null, c: z}, annotations: {n: null, m: o}}}",
        "{metadata: {labels: {b: y, c: z}, annotations: {m: o}}, spec: {type: ClusterIP}}",
    );
    check(
        "services",
        StrategicMerge,
        stored,
        "{metadata: {labels: {$patch: replace, c: z}}}",
        "{metadata: {labels: {c: z}}, spec: {type: ClusterIP}}",
    );
    check(
        "services",
        StrategicMerge,
        stored,
        "{metadata: {labels: {$patch: delete}}}",
        "{metadata: {labels: {}}, spec: {type: ClusterIP}}",
    );
    check_error(
        "services",
        StrategicMerge,
        stored,
        "{spec: {$patch: burn}}",
        "unknown $patch type burn",
    );
}

#[test]
fn strategic_merge_of_ports_is_by_port() {
    check(
        "services",
        StrategicMerge,
        "{spec: {ports: [{port: 80, name: http, nodePort: 30080}, {port: 443, name: https}]}}",
        "{spec: {ports: [{port: 443, targetPort: 8443}, {port: 90, name: admin}]}}",
        "{spec: {ports: [{port: 80, name: http, nodePort: 30080},
          {port: 443, name: https, targetPort: 8443}, {port: 90, name: admin}]}}",
    );
    check(
        "services",
        StrategicMerge,
        "{spec: {ports: [{port: 80}, {port: 443}]}}",
        "{spec: {ports: [{port: 80, $patch: delete}]}}",
        "{spec: {ports: [{port: 443}]}}",
    );
    check(
        "services",
        StrategicMerge,
        "{spec: {ports: [{port: 80}, {port: 443}]}}",
        "{spec: {ports: [{$patch: replace}, {port: 90}]}}",
        "{spec: {ports: [{port: 90}]}}",
    );
    check_error(
        "services",
        StrategicMerge,
        "{spec: {ports: [{port: 80}]}}",
        "{spec: {ports: [{name: http}]}}",
        "does not contain declared merge key: port",
    );
}

#[test]
fn strategic_merge_of_containers_keeps_what_the_patch_does_not_name() {
    let stored = "
spec:
  template:
    spec:
      containers:
      - {name: app, image: 'app:1', args: [a, b], env: [{name: A, value: x}, {name: B, value: y}]}
      - {name: sidecar, image: 'side:1'}";
    check(
        "deployments",
        StrategicMerge,
        stored,
        "{spec: {template: {spec: {containers: [{name: app, image: 'app:2', args: [c],
           env: [{name: B, value: z}]}]}}}}",
        "
spec:
  template:
    spec:
      containers:
      - {name: app, image: 'app:2', args: [c], env: [{name: A, value: x}, {name: B, value: z}]}
      - {name: sidecar, image: 'side:1'}",
    );
}

#[test]
fn the_order_of_list_items_is_the_patches_then_the_servers() {
    let stored = "{spec: {containers: [{name: a}, {name: injected}, {name: c}]}}";
    // As `kubectl apply` sends it: the named items in the file's order.
    check(
        "pods",
        StrategicMerge,
        stored,
        "{spec: {$setElementOrder/containers: [{name: c}, {name: a}], containers: [{name: a, image: x}]}}",
        "{spec: {containers: [{name: injected}, {name: c}, {name: a, image: x}]}}",
    );
    check(
        "pods",
        StrategicMerge,
        stored,
        "{spec: {$setElementOrder/containers: [{name: a}, {name: c}]}}",
        stored,
    );
    // A new item of a plain patch stands before what only the server knows.
    check(
        "pods",
        StrategicMerge,
        "{spec: {containers: [{name: a}]}}",
        "{spec: {containers: [{name: b}]}}",
        "{spec: {containers: [{name: b}, {name: a}]}}",
    );
    check_error(
        "pods",
        StrategicMerge,
        stored,
        "{spec: {$setElementOrder/containers: [{name: a}], containers: [{name: b}]}}",
        "does not match $setElementOrder",
    );
}

#[test]
fn lists_of_texts_merge_where_the_kind_says_so() {
    check(
        "services",
        StrategicMerge,
        "{metadata: {finalizers: [a, b]}, spec: {externalIPs: [192.0.2.1]}}",
        "{metadata: {finalizers: [c, a]}, spec: {externalIPs: [192.0.2.2]}}",
        "{metadata: {finalizers: [c, a, b]}, spec: {externalIPs: [192.0.2.2]}}",
    );
    check(
        "services",
        StrategicMerge,
        "{metadata: {finalizers: [a, b]}}",
        "{metadata: {$deleteFromPrimitiveList/finalizers: [a], $setElementOrder/finalizers: [b, c], finalizers: [c]}}",
        "{metadata: {finalizers: [b, c]}}",
    );
    check(
        "services",
        StrategicMerge,
        "{metadata: {finalizers: [a, b]}}",
        "{metadata: {$deleteFromPrimitiveList/finalizers: [a]}}",
        "{metadata: {finalizers: [b]}}",
    );
    // `externalIPs` is atomic: directives on it have nothing to do.
    check(
        "services",
        StrategicMerge,
        "{spec: {externalIPs: [192.0.2.1]}}",
        "{spec: {$deleteFromPrimitiveList/externalIPs: [192.0.2.1]}}",
        "{spec: {externalIPs: [192.0.2.1]}}",
    );
}

#[test]
fn retain_keys_drops_the_other_members_of_a_union() {
    let stored = "{spec: {strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1}}}}";
    check(
        "deployments",
        StrategicMerge,
        stored,
        "{spec: {strategy: {$retainKeys: [type], type: Recreate}}}",
        "{spec: {strategy: {type: Recreate}}}",
    );
    check(
        "pods",
        StrategicMerge,
        "{spec: {volumes: [{name: v, emptyDir: {}}]}}",
        "{spec: {volumes: [{$retainKeys: [name, hostPath], name: v, hostPath: {path: /x}}]}}",
        "{spec: {volumes: [{name: v, hostPath: {path: /x}}]}}",
    );
    check_error(
        "deployments",
        StrategicMerge,
        stored,
        "{spec: {strategy: {$retainKeys: [type], rollingUpdate: {}}}}",
        "$retainKeys does not list",
    );
}
