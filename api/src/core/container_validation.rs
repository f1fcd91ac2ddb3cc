//! Rules of containers: names, images, ports, variables, mounts, resources.
//!
//! Never looks at more than one container: `pod_validation` compares them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::core::v1::{Container, ContainerPort, EnvFromSource, EnvVar, EnvVarSource, VolumeMount},
    apimachinery::pkg::api::resource::Quantity as Amount,
};

use crate::{
    check::{Checks, PROTOCOLS},
    core::probe_validation,
    field::{FieldError, Path},
    names,
    quantity::Quantity,
};

const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: [&str; 2] = ["FallbackToLogsOnError", "File"];

/// What a container is checked against besides its own fields.
pub struct Surroundings<'a> {
    /// Names of the pod's volumes.
    pub volumes: &'a BTreeSet<&'a str>,
    /// Whether host ports are container ports.
    pub host_network: bool,
    /// Whether it runs to its end before the main containers start.
    pub init: bool,
}

/// Every violated rule of one container.
pub fn validate(
    checks: &mut Checks,
    path: &Path,
    container: &Container,
    around: &Surroundings<'_>,
) {
    checks.named(&path.child("name"), &container.name, names::dns1123_label);
    let image = container.image.as_deref().unwrap_or_default();
    if checks.required(&path.child("image"), image, "") {
        let detail = "must not have leading or trailing whitespace";
        checks.holds(image.trim() == image, &path.child("image"), image, detail);
    }
    let pull = container.image_pull_policy.as_deref().unwrap_or_default();
    checks.one_of(&path.child("imagePullPolicy"), pull, &PULL_POLICIES);
    let message = container.termination_message_policy.as_deref().unwrap_or_default();
    checks.one_of(&path.child("terminationMessagePolicy"), message, &MESSAGE_POLICIES);
    validate_ports(checks, &path.child("ports"), container, around.host_network);
    for (index, variable) in container.env.iter().flatten().enumerate() {
        validate_variable(checks, &path.child("env").index(index), variable);
    }
    for (index, source) in container.env_from.iter().flatten().enumerate() {
        validate_variables(checks, &path.child("envFrom").index(index), source);
    }
    validate_mounts(checks, &path.child("volumeMounts"), container, around.volumes);
    validate_resources(checks, &path.child("resources"), container);
    let sidecar = container.restart_policy.as_deref() == Some("Always");
    if around.init && !sidecar {
        forbid_probes(checks, path, container);
    } else {
        probe_validation::validate(checks, path, container);
    }
}

fn forbid_probes(checks: &mut Checks, path: &Path, container: &Container) {
    let detail = "may not be set for init containers without restartPolicy=Always";
    let fields = [
        ("lifecycle", container.lifecycle.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
    ];
    for (field, set) in fields {
        checks.allowed(!set, &path.child(field), detail);
    }
}

fn validate_ports(checks: &mut Checks, path: &Path, container: &Container, host_network: bool) {
    let mut port_names = BTreeSet::new();
    for (index, port) in container.ports.iter().flatten().enumerate() {
        let path = path.index(index);
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            checks.reasons(&path.child("name"), name, &names::port_name(name));
            if !port_names.insert(name) {
                checks.push(FieldError::duplicate(&path.child("name"), name));
            }
        }
        validate_port(checks, &path, port, host_network);
    }
}

fn validate_port(checks: &mut Checks, path: &Path, port: &ContainerPort, host_network: bool) {
    if port.container_port == 0 {
        checks.push(FieldError::required(&path.child("containerPort"), ""));
    } else {
        checks.port(&path.child("containerPort"), port.container_port);
    }
    if let Some(host_port) = port.host_port.filter(|port| *port != 0) {
        checks.port(&path.child("hostPort"), host_port);
        let same = !host_network || host_port == port.container_port;
        checks.holds(same, &path.child("hostPort"), &host_port, "must match `containerPort`");
    }
    let protocol = port.protocol.as_deref().unwrap_or_default();
    checks.one_of(&path.child("protocol"), protocol, &PROTOCOLS);
}

fn validate_variable(checks: &mut Checks, path: &Path, variable: &EnvVar) {
    checks.named(&path.child("name"), &variable.name, names::variable_name);
    let Some(source) = &variable.value_from else {
        return;
    };
    let path = path.child("valueFrom");
    if variable.value.as_deref().is_some_and(|value| !value.is_empty()) {
        checks.push(FieldError::invalid(
            &path,
            "",
            "may not be specified when `value` is not empty",
        ));
    }
    validate_source(checks, &path, source);
}

fn validate_source(checks: &mut Checks, path: &Path, source: &EnvVarSource) {
    let set = [
        source.field_ref.is_some(),
        source.resource_field_ref.is_some(),
        source.config_map_key_ref.is_some(),
        source.secret_key_ref.is_some(),
        source.file_key_ref.is_some(),
    ];
    match set.into_iter().filter(|set| *set).count() {
        0 => checks.push(FieldError::invalid(
            path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        )),
        1 => {}
        _ => checks.push(FieldError::invalid(
            path,
            "",
            "may not have more than one field specified at a time",
        )),
    }
    if let Some(field) = &source.field_ref {
        validate_field_path(checks, &path.child("fieldRef").child("fieldPath"), &field.field_path);
    }
    if let Some(field) = &source.resource_field_ref {
        checks.required(&path.child("resourceFieldRef").child("resource"), &field.resource, "");
    }
    let map = source.config_map_key_ref.as_ref();
    let map = map.map(|key| (path.child("configMapKeyRef"), &key.name, &key.key));
    let secret = source.secret_key_ref.as_ref();
    let secret = secret.map(|key| (path.child("secretKeyRef"), &key.name, &key.key));
    for (path, name, key) in map.into_iter().chain(secret) {
        checks.required(&path.child("name"), name, "");
        checks.named(&path.child("key"), key, names::config_key);
    }
}

/// Fields of a pod that a variable can have.
const FIELD_PATHS: [&str; 10] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
    "metadata.labels",
];

fn validate_field_path(checks: &mut Checks, path: &Path, field: &str) {
    if !checks.required(path, field, "") {
        return;
    }
    let by_key = ["metadata.annotations['", "metadata.labels['"];
    let subscript = by_key.iter().any(|start| field.starts_with(start)) && field.ends_with("']");
    if !subscript && (!FIELD_PATHS.contains(&field) || field == "metadata.labels") {
        checks.push(FieldError::not_supported(path, field, &FIELD_PATHS[..9]));
    }
}

fn validate_variables(checks: &mut Checks, path: &Path, source: &EnvFromSource) {
    checks.named_if_set(&path.child("prefix"), source.prefix.as_deref(), names::variable_name);
    match (&source.config_map_ref, &source.secret_ref) {
        (Some(map), None) => {
            checks.required(&path.child("configMapRef").child("name"), &map.name, "");
        }
        (None, Some(secret)) => {
            checks.required(&path.child("secretRef").child("name"), &secret.name, "");
        }
        (None, None) => checks.push(FieldError::invalid(
            path,
            "",
            "must specify one of: `configMapRef` or `secretRef`",
        )),
        (Some(_), Some(_)) => checks.push(FieldError::invalid(
            path,
            "",
            "may not have more than one field specified at a time",
        )),
    }
}

fn validate_mounts(
    checks: &mut Checks,
    path: &Path,
    container: &Container,
    volumes: &BTreeSet<&str>,
) {
    let mut mount_paths = BTreeSet::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let path = path.index(index);
        let VolumeMount { name, mount_path, .. } = mount;
        if checks.required(&path.child("name"), name, "") && !volumes.contains(name.as_str()) {
            checks.push(FieldError::not_found(&path.child("name"), name));
        }
        checks.required(&path.child("mountPath"), mount_path, "");
        let unique = mount_paths.insert(mount_path);
        checks.holds(unique, &path.child("mountPath"), mount_path, "must be unique");
        let below = [("subPath", &mount.sub_path), ("subPathExpr", &mount.sub_path_expr)];
        for (field, below) in below {
            let Some(below) = below.as_deref() else {
                continue;
            };
            let path = path.child(field);
            checks.holds(!below.starts_with('/'), &path, below, "must be a relative path");
            let inside = !below.split('/').any(|part| part == "..");
            checks.holds(inside, &path, below, "must not contain '..'");
        }
    }
}

fn validate_resources(checks: &mut Checks, path: &Path, container: &Container) {
    let Some(resources) = &container.resources else {
        return;
    };
    let none = BTreeMap::new();
    let limits = resources.limits.as_ref().unwrap_or(&none);
    let requests = resources.requests.as_ref().unwrap_or(&none);
    for (field, amounts) in [("limits", limits), ("requests", requests)] {
        for (name, amount) in amounts {
            let path = path.child(field).key(name);
            checks.reasons(&path, name, &names::qualified_name(name));
            match Quantity::parse(&amount.0) {
                None => checks.push(FieldError::invalid(&path, &amount.0, crate::quantity::RULE)),
                Some(parsed) => checks.holds(
                    !parsed.is_negative(),
                    &path,
                    &amount.0,
                    "must be greater than or equal to 0",
                ),
            }
        }
    }
    for (name, request) in requests {
        let Some(limit) = limits.get(name) else {
            continue;
        };
        let parse = |amount: &Amount| Quantity::parse(&amount.0);
        let fits = parse(request).zip(parse(limit)).is_none_or(|(r, l)| r <= l);
        let detail = format!("must be less than or equal to {name} limit of {}", limit.0);
        checks.holds(fits, &path.child("requests"), &request.0, &detail);
    }
}
