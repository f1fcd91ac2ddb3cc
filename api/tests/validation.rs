//! Objects in, field errors out, as a create or an update meets them; all in YAML.
//!
//! Never names an inner function: `decode`, then the erased kind.

use api::{
    decode::{self, Format},
    kind::{Kind, Object},
    kinds,
};

fn decoded(text: &str) -> (&'static dyn Kind, Box<dyn Object>) {
    let (value, _) = decode::parse(text.as_bytes(), Format::Yaml).expect("YAML");
    let text_of = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let kind = kinds::find_kind(&text_of("apiVersion"), &text_of("kind")).expect("a kind");
    let mut object = decode::from_value(kind, value).expect("an object").object;
    kind.default(&mut *object);
    (kind, object)
}

/// Errors of a create.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let (kind, mut object) = decoded(text);
    kind.prepare_create(&mut *object);
    let errors: Vec<_> = kind.validate(&*object).iter().map(ToString::to_string).collect();
    assert_eq!(errors, expected, "{text}");
}

/// Errors of an update from one object to another.
#[track_caller]
fn check_update(old: &str, new: &str, expected: &[&str]) {
    let (kind, mut old) = decoded(old);
    kind.prepare_create(&mut *old);
    let (_, mut new) = decoded(new);
    kind.prepare_update(&mut *new, &*old);
    let mut errors = kind.validate(&*new);
    errors.extend(kind.validate_update(&*new, &*old));
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors, expected);
}

fn service(spec: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web, namespace: d}}, spec: {spec}}}"
    )
}

fn pod(spec: &str) -> String {
    format!("{{apiVersion: v1, kind: Pod, metadata: {{name: p, namespace: d}}, spec: {spec}}}")
}

fn deployment(spec: &str) -> String {
    format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web, namespace: d}}, spec: {spec}}}"
    )
}

fn slice(rest: &str) -> String {
    format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: s, namespace: d}}, {rest}}}"
    )
}

#[test]
fn metadata() {
    check(
        "{apiVersion: v1, kind: ConfigMap, metadata: {namespace: d}}",
        &["metadata.name: Required value: name or generateName is required"],
    );
    check("{apiVersion: v1, kind: ConfigMap, metadata: {namespace: d, generateName: a-}}", &[]);
    check(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: Web, namespace: d}}",
        &["metadata.name: Invalid value: \"Web\": a lowercase RFC 1123 subdomain must consist of \
           lower case alphanumeric characters, '-' or '.', and must start and end with an \
           alphanumeric character (e.g. 'example.com', regex used for validation is \
           '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"],
    );
    check(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: d, labels: {k: 'a b'}}}",
        &["metadata.labels: Invalid value: \"a b\": a valid label must be an empty string or \
           consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
           alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
           validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"],
    );
    check(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: d, finalizers: [mine]}}",
        &["metadata.finalizers: Invalid value: \"mine\": name is neither a standard finalizer \
           name nor is it fully qualified"],
    );
    check(
        "{apiVersion: v1, kind: Node, metadata: {name: a, namespace: d}}",
        &["metadata.namespace: Forbidden: not allowed on this type"],
    );
    let large = "x".repeat(256 * 1024);
    check(
        &format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: a, annotations: {{a: {large}}}}}}}"
        ),
        &["metadata.annotations: Too long: may not be more than 262144 bytes"],
    );
}

#[test]
fn metadata_updates() {
    let named = |rest: &str| {
        format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: a, namespace: d, {rest}}}}}")
    };
    check_update(&named("uid: u"), &named("uid: u"), &[]);
    check_update(&named("uid: u"), &named("labels: {a: b}"), &[]);
    check_update(
        &named("uid: u"),
        &named("uid: v"),
        &["metadata.uid: Invalid value: \"v\": field is immutable"],
    );
    check_update(
        &named("deletionTimestamp: '2026-01-02T03:04:05Z', finalizers: [a.b/c]"),
        &named("finalizers: [a.b/c, a.b/d]"),
        &["metadata.finalizers: Forbidden: no new finalizers can be added if the object is being \
           deleted, found new finalizers [\"a.b/d\"]"],
    );
}

#[test]
fn service_ports() {
    check(&service("{ports: [{port: 80}]}"), &[]);
    check(&service("{clusterIP: None}"), &[]);
    check(&service("{}"), &["spec.ports: Required value"]);
    check(
        &service("{ports: [{port: 80}, {port: 81}]}"),
        &["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"],
    );
    check(
        &service("{ports: [{port: 80, name: a}, {port: 80, name: a}]}"),
        &[
            "spec.ports[1].name: Duplicate value: \"a\"",
            "spec.ports[1]: Duplicate value: {\"port\":80,\"protocol\":\"TCP\"}",
        ],
    );
    check(
        &service("{ports: [{port: 0, targetPort: 70000, protocol: tcp}]}"),
        &[
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.ports[0].protocol: Unsupported value: \"tcp\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            "spec.ports[0].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ],
    );
    check(
        &service("{ports: [{port: 80, nodePort: 30080}]}"),
        &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
    );
    check(
        &service(
            "{type: NodePort, ports: [{port: 80, name: a, nodePort: 30080}, {port: 81, name: b, nodePort: 30080}]}",
        ),
        &["spec.ports[1].nodePort: Duplicate value: 30080"],
    );
}

#[test]
fn service_names_start_with_a_letter() {
    check(
        "{apiVersion: v1, kind: Service, metadata: {name: 1web, namespace: d}, spec: {ports: [{port: 80}]}}",
        &["metadata.name: Invalid value: \"1web\": a DNS-1035 label must consist of lower case \
           alphanumeric characters or '-', start with an alphabetic character, and end with an \
           alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is \
           '[a-z]([-a-z0-9]*[a-z0-9])?')"],
    );
}

#[test]
fn service_policies_and_affinity() {
    check(
        &service("{type: NodePort, externalTrafficPolicy: local, ports: [{port: 80}]}"),
        &[
            "spec.externalTrafficPolicy: Unsupported value: \"local\": supported values: \"Cluster\", \"Local\"",
        ],
    );
    check(
        &service("{externalTrafficPolicy: Local, ports: [{port: 80}]}"),
        &[
            "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
        ],
    );
    check(
        &service("{internalTrafficPolicy: Global, ports: [{port: 80}]}"),
        &[
            "spec.internalTrafficPolicy: Unsupported value: \"Global\": supported values: \"Cluster\", \"Local\"",
        ],
    );
    check(
        &service(
            "{sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}, ports: [{port: 80}]}",
        ),
        &[
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400",
        ],
    );
    check(
        &service("{healthCheckNodePort: 30000, ports: [{port: 80}]}"),
        &[
            "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ],
    );
    check(
        &service(
            "{loadBalancerSourceRanges: [10.0.0.0/33], type: LoadBalancer, ports: [{port: 80}]}",
        ),
        &[
            "spec.loadBalancerSourceRanges[0]: Invalid value: \"10.0.0.0/33\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        ],
    );
}

#[test]
fn service_addresses() {
    check(
        &service("{clusterIP: 10.0.0.300, ports: [{port: 80}]}"),
        &[
            "spec.clusterIPs[0]: Invalid value: \"10.0.0.300\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ],
    );
    check(
        &service("{type: NodePort, clusterIP: None, ports: [{port: 80}]}"),
        &[
            "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
        ],
    );
    check(
        &service("{externalIPs: [127.0.0.1], ports: [{port: 80}]}"),
        &[
            "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ],
    );
    check(
        &service("{ipFamilies: [IPv5], ports: [{port: 80}]}"),
        &["spec.ipFamilies[0]: Unsupported value: \"IPv5\": supported values: \"IPv4\", \"IPv6\""],
    );
    check(&service("{type: ExternalName, externalName: example.com}"), &[]);
    check(&service("{type: ExternalName}"), &["spec.externalName: Required value"]);
    check(
        &service("{type: ExternalName, externalName: a, clusterIP: 10.0.0.1}"),
        &["spec.clusterIPs: Forbidden: may not be set for ExternalName services"],
    );
    check(
        &service("{type: Balanced, ports: [{port: 80}]}"),
        &[
            "spec.type: Unsupported value: \"Balanced\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
        ],
    );
}

#[test]
fn service_updates() {
    let old = service(
        "{type: NodePort, clusterIP: 10.0.0.1, ipFamilies: [IPv4], ports: [{port: 80, nodePort: 30080}]}",
    );
    // What was allocated may be left out …
    check_update(&old, &service("{type: NodePort, ports: [{port: 80}]}"), &[]);
    // … or go with the type …
    check_update(
        &old,
        &service("{type: ClusterIP, clusterIP: 10.0.0.1, ports: [{port: 80, nodePort: 30080}]}"),
        &[],
    );
    check_update(
        &old,
        &service(
            "{type: ExternalName, externalName: a.example, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1]}",
        ),
        &[],
    );
    // … but not change.
    check_update(
        &old,
        &service("{type: NodePort, clusterIP: 10.0.0.2, ports: [{port: 80}]}"),
        &["spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"],
    );
    check_update(
        &old,
        &service("{type: NodePort, ipFamilies: [IPv6], ports: [{port: 80}]}"),
        &["spec.ipFamilies[0]: Invalid value: [\"IPv6\"]: may not change once set"],
    );
}

/// Errors of a status update of a Service of this type to these ingress points.
#[track_caller]
fn check_ingress(type_: &str, ingress: &str, expected: &[&str]) {
    let (kind, mut old) = decoded(&service(&format!("{{type: {type_}, ports: [{{port: 80}}]}}")));
    kind.prepare_create(&mut *old);
    let text = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web, namespace: d}}, \
          status: {{loadBalancer: {{ingress: {ingress}}}}}}}"
    );
    let (_, mut new) = decoded(&text);
    kind.prepare_status_update(&mut *new, &*old);
    let errors = kind.validate_update(&*new, &*old);
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors, expected);
}

#[test]
fn service_load_balancer_status() {
    check_ingress(
        "LoadBalancer",
        "[{ip: 192.0.2.1, ipMode: VIP}, {hostname: a.example.test}]",
        &[],
    );
    check_ingress("ClusterIP", "[]", &[]);
    check_ingress(
        "ClusterIP",
        "[{ip: 192.0.2.1}]",
        &[
            "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is \"LoadBalancer\"",
        ],
    );
    check_ingress(
        "LoadBalancer",
        "[{ip: 192.0.2, ipMode: Sometimes}, {hostname: 192.0.2.1, ipMode: VIP}]",
        &[
            "status.loadBalancer.ingress[0].ip: Invalid value: \"192.0.2\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "status.loadBalancer.ingress[0].ipMode: Unsupported value: \"Sometimes\": supported values: \"Proxy\", \"VIP\"",
            "status.loadBalancer.ingress[1].ipMode: Forbidden: may not be specified when `ip` is not set",
            "status.loadBalancer.ingress[1].hostname: Invalid value: \"192.0.2.1\": must be a DNS name, not an IP address",
        ],
    );
}

#[test]
fn pod_search_paths() {
    let with = |search: &str| {
        pod(&format!(
            "{{containers: [{{name: a, image: i}}], dnsPolicy: ClusterFirst, restartPolicy: Always, dnsConfig: {{searches: ['{search}']}}}}"
        ))
    };
    for search in [".", "example.test.", "_sip._tcp.example.test", "under_score.test"] {
        check(&with(search), &[]);
    }
    for search in ["_", "__x.test", "x_.test", "_-x.test", "A.test", "..", ""] {
        let (kind, object) = decoded(&with(search));
        let errors = kind.validate(&*object);
        assert_eq!(errors.len(), 1, "{search}: {errors:?}");
    }
}

#[test]
fn pods() {
    check(&pod("{containers: [{name: a, image: i}]}"), &[]);
    check(&pod("{}"), &["spec.containers: Required value"]);
    check(
        &pod("{containers: [{name: A_b}, {image: ' i'}]}"),
        &[
            "spec.containers[0].name: Invalid value: \"A_b\": a lowercase RFC 1123 label must \
             consist of lower case alphanumeric characters or '-', and must start and end with an \
             alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            "spec.containers[0].image: Required value",
            "spec.containers[1].name: Required value",
            "spec.containers[1].image: Invalid value: \" i\": must not have leading or trailing whitespace",
        ],
    );
    check(
        &pod("{containers: [{name: a, image: i}, {name: a, image: i}], restartPolicy: Sometimes}"),
        &[
            "spec.containers[1].name: Duplicate value: \"a\"",
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\"",
        ],
    );
    check(
        &pod(
            "{containers: [{name: a, image: i, ports: [{containerPort: 0}, {containerPort: 80, name: Web}]}]}",
        ),
        &[
            "spec.containers[0].ports[0].containerPort: Required value",
            "spec.containers[0].ports[1].name: Invalid value: \"Web\": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ],
    );
    check(
        &pod("{containers: [{name: a, image: i, volumeMounts: [{name: v, mountPath: /v}]}]}"),
        &["spec.containers[0].volumeMounts[0].name: Not found: \"v\""],
    );
    check(
        &pod(
            "{volumes: [{name: v, emptyDir: {}, hostPath: {path: /x}}], containers: [{name: a, image: i}]}",
        ),
        &["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
    );
}

#[test]
fn pod_probes_variables_and_resources() {
    let with = |rest: &str| pod(&format!("{{containers: [{{name: a, image: i, {rest}}}]}}"));
    check(
        &with("livenessProbe: {}"),
        &["spec.containers[0].livenessProbe: Required value: must specify a handler type"],
    );
    check(
        &with("livenessProbe: {successThreshold: 2, httpGet: {port: 80, scheme: FTP}}"),
        &[
            "spec.containers[0].livenessProbe.httpGet.scheme: Unsupported value: \"FTP\": supported values: \"HTTP\", \"HTTPS\"",
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ],
    );
    check(
        &with(
            "env: [{name: '', value: a}, {name: B, value: a, valueFrom: {fieldRef: {fieldPath: spec.nope}}}]",
        ),
        &[
            "spec.containers[0].env[0].name: Required value",
            "spec.containers[0].env[1].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
            "spec.containers[0].env[1].valueFrom.fieldRef.fieldPath: Unsupported value: \"spec.nope\": \
             supported values: \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \
             \"spec.nodeName\", \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \
             \"status.podIP\", \"status.podIPs\"",
        ],
    );
    check(
        &with("resources: {limits: {cpu: 500m}, requests: {cpu: '1', memory: lots}}"),
        &[
            "spec.containers[0].resources.requests[memory]: Invalid value: \"lots\": quantities must \
             match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            "spec.containers[0].resources.requests: Invalid value: \"1\": must be less than or equal to cpu limit of 500m",
        ],
    );
    check(&with("resources: {limits: {memory: 1Gi}, requests: {memory: 1023.5Mi}}"), &[]);
}

#[test]
fn pod_updates() {
    let old = pod("{containers: [{name: a, image: i, ports: [{containerPort: 80}]}]}");
    check_update(
        &old,
        &pod(
            "{containers: [{name: a, image: j, imagePullPolicy: Always, ports: [{containerPort: 80}]}]}",
        ),
        &[],
    );
    check_update(
        &old,
        &pod(
            "{containers: [{name: a, image: i, ports: [{containerPort: 81}]}], hostNetwork: false}",
        ),
        &[
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,\
           `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only \
           additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be \
           set to 1 if it was previously negative)\nchanged: \
           spec.containers[0].ports[0].containerPort, spec.hostNetwork",
        ],
    );
    check_update(
        &old,
        &pod("{containers: [{name: a, image: i}, {name: b, image: i}]}"),
        &["spec.containers: Forbidden: pod updates may not add or remove containers"],
    );
}

#[test]
fn deployments() {
    let template =
        "template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}";
    let good = format!("{{selector: {{matchLabels: {{a: b}}}}, {template}}}");
    check(&deployment(&good), &[]);
    check(
        &deployment(&format!("{{replicas: -1, selector: {{matchLabels: {{a: c}}}}, {template}}}")),
        &[
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
        ],
    );
    check(
        &deployment(&format!("{{{template}}}")),
        &["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
    );
    check(
        &deployment(&format!(
            "{{selector: {{matchLabels: {{a: b}}}}, {template}, strategy: {{rollingUpdate: {{maxSurge: 0, maxUnavailable: 0}}}}}}"
        )),
        &[
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ],
    );
    check(
        &deployment(&format!(
            "{{selector: {{matchLabels: {{a: b}}}}, {template}, strategy: {{type: Recreate, rollingUpdate: {{maxSurge: 1}}}}}}"
        )),
        &[
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
        ],
    );
    check_update(
        &deployment(&good),
        &deployment(&good.replace("a: b", "a: c")),
        &["spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"c\"}}: field is immutable"],
    );
}

#[test]
fn daemon_sets() {
    let set = |spec: &str| {
        format!(
            "{{apiVersion: apps/v1, kind: DaemonSet, metadata: {{name: web, namespace: d}}, spec: {{ \
             template: {{metadata: {{labels: {{a: b}}}}, spec: {{containers: [{{name: a, image: i}}]}}}}, {spec}}}}}"
        )
    };
    let good = "selector: {matchLabels: {a: b}}";
    check(&set(good), &[]);
    check(
        &set("selector: {}"),
        &["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"],
    );
    check(
        &set(&format!("{good}, minReadySeconds: -1")),
        &["spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0"],
    );
    let once =
        set(good).replace("spec: {containers", "spec: {activeDeadlineSeconds: 1, containers");
    check(
        &once,
        &[
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported",
        ],
    );
    let rolling = |rolling: &str| {
        set(&format!(
            "{good}, updateStrategy: {{type: RollingUpdate, rollingUpdate: {{{rolling}}}}}"
        ))
    };
    check(&rolling("maxUnavailable: 25%"), &[]);
    check(&rolling("maxUnavailable: 0, maxSurge: 1"), &[]);
    check(&set(&format!("{good}, updateStrategy: {{type: OnDelete}}")), &[]);
    check(
        &rolling("maxUnavailable: 0"),
        &[
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
        ],
    );
    check(
        &rolling("maxUnavailable: 1, maxSurge: 1"),
        &[
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
        ],
    );
    check(
        &rolling("maxUnavailable: 101%"),
        &[
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
        ],
    );
    check(
        &set(&format!("{good}, updateStrategy: {{type: Recreate}}")),
        &[
            "spec.updateStrategy.type: Unsupported value: \"Recreate\": supported values: \"OnDelete\", \"RollingUpdate\"",
        ],
    );
    check_update(
        &set(good),
        &set(good).replace("a: b", "a: c"),
        &["spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"c\"}}: field is immutable"],
    );
}

#[test]
fn endpoints_and_slices() {
    let endpoints = |subsets: &str| {
        format!(
            "{{apiVersion: v1, kind: Endpoints, metadata: {{name: e, namespace: d}}, subsets: {subsets}}}"
        )
    };
    check(&endpoints("[{addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]}]"), &[]);
    check(
        &endpoints("[{}, {addresses: [{ip: 169.254.0.1}], ports: [{port: 80}, {port: 81}]}]"),
        &[
            "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
            "subsets[1].addresses[0].ip: Invalid value: \"169.254.0.1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)",
            "subsets[1].ports[0].name: Required value",
            "subsets[1].ports[1].name: Required value",
        ],
    );
    check(
        &slice("addressType: IPv4, endpoints: [{addresses: [10.0.0.1]}], ports: [{port: 80}]"),
        &[],
    );
    check(
        &slice(
            "addressType: IPv4, endpoints: [{addresses: ['fd00::1']}, {addresses: []}], ports: [{}, {}]",
        ),
        &[
            "ports[1].name: Duplicate value: \"\"",
            "endpoints[0].addresses[0]: Invalid value: \"fd00::1\": must be a valid IPv4 address, (e.g. 10.9.8.7)",
            "endpoints[1].addresses: Required value: must contain at least 1 address",
        ],
    );
    let many = "{addresses: [10.0.0.1]}, ".repeat(1001);
    check(
        &slice(&format!("addressType: IPv4, endpoints: [{many}]")),
        &["endpoints: Too many: 1001: must have at most 1000 items"],
    );
    check_update(
        &slice("addressType: IPv4"),
        &slice("addressType: IPv6"),
        &["addressType: Invalid value: \"IPv6\": field is immutable"],
    );
}

#[test]
fn the_smaller_kinds() {
    let map = |rest: &str| {
        format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: m, namespace: d}}, {rest}}}")
    };
    check(
        &map("data: {'a b': x, ..: y}"),
        &[
            "data[..]: Invalid value: \"..\": must not be '..'",
            "data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric \
             characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex \
             used for validation is '[-._a-zA-Z0-9]+')",
        ],
    );
    check_update(
        &map("immutable: true, data: {a: b}"),
        &map("immutable: true, data: {a: c}"),
        &["data: Forbidden: field is immutable when `immutable` is set"],
    );
    let secret = |rest: &str| {
        format!("{{apiVersion: v1, kind: Secret, metadata: {{name: s, namespace: d}}, {rest}}}")
    };
    check(
        &secret("type: kubernetes.io/tls, stringData: {tls.crt: x}"),
        &["data[tls.key]: Required value"],
    );
    check_update(
        &secret("type: a"),
        &secret("type: b"),
        &["type: Invalid value: \"b\": field is immutable"],
    );
    check(
        "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: l, namespace: d}, spec: {leaseDurationSeconds: 0}}",
        &["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"],
    );
    check(
        "{apiVersion: v1, kind: Node, metadata: {name: n}, spec: {taints: [{key: a, effect: Never}]}}",
        &[
            "spec.taints[0].effect: Unsupported value: \"Never\": supported values: \"NoExecute\", \"NoSchedule\", \"PreferNoSchedule\"",
        ],
    );
    check(
        "{apiVersion: v1, kind: Namespace, metadata: {name: a.b}}",
        &[
            "metadata.name: Invalid value: \"a.b\": a lowercase RFC 1123 label must consist of lower \
           case alphanumeric characters or '-', and must start and end with an alphanumeric \
           character (e.g. 'my-name',  or '123-abc', regex used for validation is \
           '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ],
    );
}

#[test]
fn a_type_that_goes_takes_its_fields_along() {
    check_update(
        &service("{type: ExternalName, externalName: a.example}"),
        &service("{type: ClusterIP, externalName: a.example, ports: [{port: 80}]}"),
        &[],
    );
    check(
        &service("{type: Wombat, ports: [{port: 80}]}"),
        &[
            "spec.type: Unsupported value: \"Wombat\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
        ],
    );
}

#[test]
fn a_node_has_one_range_for_each_family() {
    let node = |ranges: &str| {
        format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: n}}, spec: {{podCIDRs: {ranges}}}}}"
        )
    };
    check(&node("[10.0.0.0/24, 'fd00::/64']"), &[]);
    check(
        &node("[10.0.0.0/24, 10.0.1.0/24]"),
        &[
            "spec.podCIDRs: Invalid value: [\"10.0.0.0/24\",\"10.0.1.0/24\"]: may specify no more than one CIDR for each IP family",
        ],
    );
}
