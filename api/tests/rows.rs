//! Objects in, the cells of `kubectl get -o wide` out, at a fixed time.
//!
//! Never names an inner function: `decode`, then the erased kind's row.

use api::{
    decode::{self, Format},
    kinds,
};
use jiff::Timestamp;

/// All objects of these tests are looked at in this moment.
const NOW: &str = "2026-01-02T00:00:00Z";

/// Cells, joined by `|`.
#[track_caller]
fn check(object: &str, expected: &str) {
    let (value, _) = decode::parse(object.as_bytes(), Format::Yaml).expect("YAML");
    let text_of = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let kind = kinds::find_kind(&text_of("apiVersion"), &text_of("kind")).expect("a kind");
    let object = decode::from_value(kind, value).expect("an object").object;
    let now: Timestamp = NOW.parse().expect("a time");
    let cells = kind.row(&*object, now);
    assert_eq!(cells.len(), kind.columns().len());
    let texts: Vec<_> = cells
        .iter()
        .map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned))
        .collect();
    assert_eq!(texts.join("|"), expected);
}

fn aged(kind: &str, rest: &str) -> String {
    format!(
        "{{kind: {kind}, metadata: {{name: x, creationTimestamp: '2026-01-01T23:59:00Z'}}, {rest}}}"
    )
    .replacen("kind: ", &format!("apiVersion: {}, kind: ", version(kind)), 1)
}

fn version(kind: &str) -> &'static str {
    match kind {
        "DaemonSet" | "Deployment" | "ReplicaSet" => "apps/v1",
        "EndpointSlice" => "discovery.k8s.io/v1",
        "Lease" => "coordination.k8s.io/v1",
        _ => "v1",
    }
}

#[test]
fn services() {
    check(
        &aged(
            "Service",
            "spec: {type: ClusterIP, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], \
           selector: {b: c, a: b}, ports: [{port: 80, protocol: TCP}, {port: 53, protocol: UDP}]}",
        ),
        "x|ClusterIP|10.0.0.1|<none>|80/TCP,53/UDP|60s|a=b,b=c",
    );
    check(
        &aged(
            "Service",
            "spec: {type: NodePort, clusterIPs: [10.0.0.1], externalIPs: [192.0.2.1], \
           ports: [{port: 80, nodePort: 30080, protocol: TCP}]}",
        ),
        "x|NodePort|10.0.0.1|192.0.2.1|80:30080/TCP|60s|<none>",
    );
    check(
        &aged("Service", "spec: {type: LoadBalancer, clusterIPs: [10.0.0.1]}"),
        "x|LoadBalancer|10.0.0.1|<pending>|<none>|60s|<none>",
    );
    check(
        &aged(
            "Service",
            "spec: {type: LoadBalancer, clusterIPs: [10.0.0.1]}, \
           status: {loadBalancer: {ingress: [{ip: 192.0.2.9}, {hostname: a.example}]}}",
        ),
        "x|LoadBalancer|10.0.0.1|192.0.2.9,a.example|<none>|60s|<none>",
    );
    check(
        &aged("Service", "spec: {type: ExternalName, externalName: a.example}"),
        "x|ExternalName|<none>|a.example|<none>|60s|<none>",
    );
    check(
        &aged("Service", "spec: {type: ClusterIP, clusterIPs: [None]}"),
        "x|ClusterIP|None|<none>|<none>|60s|<none>",
    );
}

#[test]
fn endpoints_and_slices() {
    check(&aged("Endpoints", "subsets: []"), "x|<none>|60s");
    check(
        &aged(
            "Endpoints",
            "subsets: [{addresses: [{ip: 10.0.0.1}, {ip: 'fd00::1'}], ports: [{port: 80}, {port: 81}]}]",
        ),
        "x|10.0.0.1:80,[fd00::1]:80,10.0.0.1:81 + 1 more...|60s",
    );
    check(&aged("Endpoints", "subsets: [{addresses: [{ip: 10.0.0.1}]}]"), "x|10.0.0.1|60s");
    check(
        &aged(
            "EndpointSlice",
            "addressType: IPv4, ports: [{port: 80}, {name: web}, {}], \
           endpoints: [{addresses: [10.0.0.1]}, {addresses: [10.0.0.2]}, {addresses: [10.0.0.3]}, {addresses: [10.0.0.4]}]",
        ),
        "x|IPv4|80,web,*|10.0.0.1,10.0.0.2,10.0.0.3 + 1 more...|60s",
    );
    check(&aged("EndpointSlice", "addressType: IPv4"), "x|IPv4|<unset>|<unset>|60s");
}

/// A pod's row after the name, without age and wide cells but IP and node.
#[track_caller]
fn check_pod(rest: &str, expected: &str) {
    let expected = format!("x|{expected}|60s|<none>|<none>|<none>|<none>");
    check(&aged("Pod", rest), &expected);
}

#[test]
fn pods() {
    let spec = "spec: {containers: [{name: a}, {name: b}]}";
    check_pod(&format!("{spec}, status: {{phase: Pending}}"), "0/2|Pending|0");
    check_pod(
        &format!(
            "{spec}, status: {{phase: Running, containerStatuses: [\
           {{name: a, ready: true, state: {{running: {{}}}}}}, {{name: b, ready: false, state: {{running: {{}}}}}}]}}"
        ),
        "1/2|Running|0",
    );
    check_pod(
        &format!(
            "{spec}, status: {{phase: Running, containerStatuses: [\
           {{name: a, restartCount: 3, lastState: {{terminated: {{finishedAt: '2026-01-01T23:59:55Z'}}}}, \
             state: {{waiting: {{reason: CrashLoopBackOff}}}}}}, \
           {{name: b, ready: true, state: {{running: {{}}}}}}]}}"
        ),
        "1/2|CrashLoopBackOff|3 (5s ago)",
    );
    check_pod(
        &format!(
            "{spec}, status: {{phase: Failed, containerStatuses: [\
           {{name: a, state: {{terminated: {{exitCode: 3}}}}}}, \
           {{name: b, state: {{terminated: {{exitCode: 0, reason: Completed}}}}}}]}}"
        ),
        "0/2|ExitCode:3|0",
    );
    check_pod(
        &format!(
            "{spec}, status: {{phase: Running, conditions: [{{type: Ready, status: 'True'}}], containerStatuses: [\
           {{name: a, state: {{terminated: {{exitCode: 0, reason: Completed}}}}}}, \
           {{name: b, ready: true, state: {{running: {{}}}}}}]}}"
        ),
        "1/2|Running|0",
    );
    check_pod(
        &format!(
            "{spec}, status: {{phase: Running, containerStatuses: [\
           {{name: a, state: {{terminated: {{exitCode: 0, reason: Completed}}}}}}, \
           {{name: b, ready: true, state: {{running: {{}}}}}}]}}"
        ),
        "1/2|NotReady|0",
    );
    check_pod(&format!("{spec}, status: {{phase: Failed, reason: Evicted}}"), "0/2|Evicted|0");
    check_pod(
        &format!(
            "{spec}, status: {{phase: Pending, conditions: [{{type: PodScheduled, status: 'False', reason: SchedulingGated}}]}}"
        ),
        "0/2|SchedulingGated|0",
    );
}

#[test]
fn pods_that_start_and_end() {
    let spec = "spec: {containers: [{name: a}], initContainers: [{name: i}, {name: s, restartPolicy: Always}]}";
    check_pod(
        &format!(
            "{spec}, status: {{phase: Pending, initContainerStatuses: [{{name: i, state: {{running: {{}}}}}}]}}"
        ),
        "0/2|Init:0/2|0",
    );
    check_pod(
        &format!(
            "{spec}, status: {{phase: Pending, initContainerStatuses: [\
           {{name: i, restartCount: 2, state: {{waiting: {{reason: CrashLoopBackOff}}}}}}]}}"
        ),
        "0/2|Init:CrashLoopBackOff|2",
    );
    check_pod(
        &format!(
            "{spec}, status: {{phase: Pending, initContainerStatuses: [\
           {{name: i, state: {{terminated: {{exitCode: 1, signal: 9}}}}}}]}}"
        ),
        "0/2|Init:Signal:9|0",
    );
    check_pod(
        &format!(
            "{spec}, status: {{phase: Running, initContainerStatuses: [\
           {{name: i, restartCount: 2, state: {{terminated: {{exitCode: 0}}}}}}, \
           {{name: s, restartCount: 1, started: true, ready: true, state: {{running: {{}}}}}}], \
           containerStatuses: [{{name: a, ready: true, state: {{running: {{}}}}}}]}}"
        ),
        "2/2|Running|1",
    );
    let deleted = |status: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: x, creationTimestamp: '2026-01-01T23:59:00Z', \
             deletionTimestamp: '{NOW}'}}, spec: {{nodeName: n, readinessGates: [{{conditionType: g}}], \
             containers: [{{name: a}}]}}, status: {{podIPs: [{{ip: 10.0.0.1}}], {status}}}}}"
        )
    };
    check(&deleted("phase: Running"), "x|0/1|Terminating|0|60s|10.0.0.1|n|<none>|0/1");
    check(&deleted("phase: Succeeded"), "x|0/1|Succeeded|0|60s|10.0.0.1|n|<none>|0/1");
    check(
        &deleted("phase: Running, reason: NodeLost"),
        "x|0/1|Unknown|0|60s|10.0.0.1|n|<none>|0/1",
    );
}

#[test]
fn workloads() {
    let rest = "spec: {replicas: 3, selector: {matchLabels: {app: x}, matchExpressions: \
       [{key: tier, operator: In, values: [b, a]}]}, template: {spec: {containers: \
       [{name: a, image: 'i:1'}, {name: b, image: j}]}}}";
    check(
        &aged(
            "Deployment",
            &format!(
                "{rest}, status: {{readyReplicas: 2, updatedReplicas: 3, availableReplicas: 1}}"
            ),
        ),
        "x|2/3|3|1|60s|a,b|i:1,j|app=x,tier in (a,b)",
    );
    check(
        &aged("ReplicaSet", &format!("{rest}, status: {{replicas: 3, readyReplicas: 2}}")),
        "x|3|3|2|60s|a,b|i:1,j|app=x,tier in (a,b)",
    );
    let selecting =
        rest.replace("spec: {containers", "spec: {nodeSelector: {b: c, a: b}, containers");
    check(
        &aged(
            "DaemonSet",
            &format!(
                "{selecting}, status: {{desiredNumberScheduled: 5, currentNumberScheduled: 4, \
                 numberReady: 3, numberMisscheduled: 9, updatedNumberScheduled: 2, numberAvailable: 1}}"
            ),
        ),
        "x|5|4|3|2|1|a=b,b=c|60s|a,b|i:1,j|app=x,tier in (a,b)",
    );
    check(&aged("DaemonSet", rest), "x|0|0|0|0|0|<none>|60s|a,b|i:1,j|app=x,tier in (a,b)");
}

#[test]
fn nodes() {
    check(
        "{apiVersion: v1, kind: Node, metadata: {name: x, creationTimestamp: '2026-01-01T00:00:00Z', \
         labels: {node-role.kubernetes.io/control-plane: '', node-role.kubernetes.io/a: '', kubernetes.io/role: z}}, \
         spec: {unschedulable: true}, status: {conditions: [{type: Ready, status: 'True'}], \
         addresses: [{type: InternalIP, address: 10.0.0.1}], nodeInfo: {kubeletVersion: v1.36.0, osImage: OS, \
         kernelVersion: '6.1', containerRuntimeVersion: 'c://1'}}}",
        "x|Ready,SchedulingDisabled|a,control-plane,z|24h|v1.36.0|10.0.0.1|<none>|OS|6.1|c://1",
    );
    check(
        &aged("Node", "status: {conditions: [{type: Ready, status: Unknown}]}"),
        "x|NotReady|<none>|60s||<none>|<none>|<unknown>|<unknown>|<unknown>",
    );
}

#[test]
fn the_smaller_kinds() {
    check(&aged("Namespace", "status: {phase: Terminating}"), "x|Terminating|60s");
    check(&aged("ConfigMap", "data: {a: b}, binaryData: {c: ZA==}"), "x|2|60s");
    check(&aged("Secret", "type: Opaque, data: {a: ZA==}"), "x|Opaque|1|60s");
    check(&aged("ServiceAccount", "secrets: []"), "x|0|60s");
    check(&aged("Lease", "spec: {holderIdentity: me}"), "x|me|60s");
}

#[test]
fn events() {
    let object = "involvedObject: {kind: Pod, name: web, fieldPath: 'spec.containers{a}'}, \
       type: Normal, reason: Started, message: ' it runs '";
    check(
        &aged(
            "Event",
            &format!(
                "{object}, source: {{component: node-agent, host: n}}, count: 4, \
           firstTimestamp: '2026-01-01T22:00:00Z', lastTimestamp: '2026-01-01T23:59:50Z'"
            ),
        ),
        "10s|Normal|Started|pod/web|spec.containers{a}|node-agent, n|it runs|120m|4|x",
    );
    check(
        &aged(
            "Event",
            &format!(
                "{object}, reportingComponent: scheduler, eventTime: '2026-01-01T23:59:58.000000Z'"
            ),
        ),
        "2s|Normal|Started|pod/web|spec.containers{a}|scheduler|it runs|2s|1|x",
    );
}

#[test]
fn ages_get_coarser() {
    for (created, age) in [
        ("2026-01-02T00:00:01Z", "0s"),
        ("2026-01-02T00:00:02Z", "<invalid>"),
        ("2026-01-01T23:58:01Z", "119s"),
        ("2026-01-01T23:58:00Z", "2m"),
        ("2026-01-01T23:50:01Z", "9m59s"),
        ("2026-01-01T23:50:00Z", "10m"),
        ("2026-01-01T21:00:00Z", "3h"),
        ("2026-01-01T20:30:00Z", "3h30m"),
        ("2026-01-01T10:00:00Z", "14h"),
        ("2025-12-31T00:00:00Z", "2d"),
        ("2025-12-30T21:00:00Z", "2d3h"),
        ("2025-12-20T00:00:00Z", "13d"),
        ("2023-06-01T00:00:00Z", "2y216d"),
        ("2010-01-01T00:00:00Z", "16y"),
    ] {
        check(
            &format!(
                "{{apiVersion: v1, kind: Namespace, metadata: {{name: x, creationTimestamp: '{created}'}}}}"
            ),
            &format!("x||{age}"),
        );
    }
    check("{apiVersion: v1, kind: Namespace, metadata: {name: x}}", "x||<unknown>");
}
