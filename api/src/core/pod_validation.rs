//! Rules of a pod's spec, for pods and for the templates of workloads.
//!
//! Never knows which nodes, volumes or accounts there are.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec, Toleration};

use crate::{
    check::Checks,
    core::{
        container_validation::{self, Surroundings},
        volume_validation,
    },
    field::{FieldError, Path},
    names,
};

const RESTART_POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];
const DNS_POLICIES: [&str; 4] = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
const TAINT_EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "PreferNoSchedule"];
const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCH_DOMAINS: usize = 32;

/// Every violated rule of a workload's template.
pub fn validate_template(checks: &mut Checks, path: &Path, template: &PodTemplateSpec) {
    let metadata = template.metadata.clone().unwrap_or_default();
    checks.labels(&path.child("labels"), metadata.labels.as_ref());
    for key in metadata.annotations.iter().flatten().map(|(key, _)| key) {
        let reasons = names::qualified_name(&key.to_lowercase());
        checks.reasons(&path.child("annotations"), key, &reasons);
    }
    let path = path.child("spec");
    let spec = template.spec.clone().unwrap_or_default();
    let ephemeral = spec.ephemeral_containers.as_ref().is_none_or(Vec::is_empty);
    let detail = "ephemeral containers not allowed in pod template";
    checks.allowed(ephemeral, &path.child("ephemeralContainers"), detail);
    validate_spec(checks, &path, &spec);
}

/// Every violated rule of a pod's spec.
pub fn validate_spec(checks: &mut Checks, path: &Path, spec: &PodSpec) {
    volume_validation::validate(checks, &path.child("volumes"), spec);
    validate_containers(checks, path, spec);
    let restart = spec.restart_policy.as_deref().unwrap_or_default();
    checks.one_of(&path.child("restartPolicy"), restart, &RESTART_POLICIES);
    validate_dns(checks, path, spec);
    validate_numbers(checks, path, spec);
    checks.labels(&path.child("nodeSelector"), spec.node_selector.as_ref());
    let subdomains =
        [("nodeName", &spec.node_name), ("serviceAccountName", &spec.service_account_name)];
    for (field, name) in subdomains {
        checks.named_if_set(&path.child(field), name.as_deref(), names::dns1123_subdomain);
    }
    for (field, name) in [("hostname", &spec.hostname), ("subdomain", &spec.subdomain)] {
        checks.named_if_set(&path.child(field), name.as_deref(), names::dns1123_label);
    }
    for (index, toleration) in spec.tolerations.iter().flatten().enumerate() {
        validate_toleration(checks, &path.child("tolerations").index(index), toleration);
    }
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        let path = path.child("hostAliases").index(index);
        checks.ip(&path.child("ip"), &alias.ip);
        for (index, name) in alias.hostnames.iter().flatten().enumerate() {
            let path = path.child("hostnames").index(index);
            checks.reasons(&path, name, &names::dns1123_subdomain(name));
        }
    }
    for (index, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        let path = path.child("readinessGates").index(index).child("conditionType");
        checks.reasons(&path, &gate.condition_type, &names::qualified_name(&gate.condition_type));
    }
}

fn validate_containers(checks: &mut Checks, path: &Path, spec: &PodSpec) {
    if spec.containers.is_empty() {
        checks.push(FieldError::required(&path.child("containers"), ""));
    }
    let volumes: BTreeSet<&str> =
        spec.volumes.iter().flatten().map(|volume| volume.name.as_str()).collect();
    let mut seen = BTreeSet::new();
    let mut host_ports = BTreeSet::new();
    let init = spec.init_containers.as_deref().unwrap_or_default();
    for (field, containers, init) in
        [("containers", spec.containers.as_slice(), false), ("initContainers", init, true)]
    {
        for (index, container) in containers.iter().enumerate() {
            let path = path.child(field).index(index);
            let host_network = spec.host_network.unwrap_or(false);
            let around = Surroundings { volumes: &volumes, host_network, init };
            container_validation::validate(checks, &path, container, &around);
            if !container.name.is_empty() && !seen.insert(container.name.as_str()) {
                checks.push(FieldError::duplicate(&path.child("name"), &container.name));
            }
            if !init {
                validate_host_ports(checks, &path, container, &mut host_ports);
            }
        }
    }
}

type HostPort = (String, String, i32);

fn validate_host_ports(
    checks: &mut Checks,
    path: &Path,
    container: &Container,
    taken: &mut BTreeSet<HostPort>,
) {
    for (index, port) in container.ports.iter().flatten().enumerate() {
        let Some(number) = port.host_port.filter(|port| *port != 0) else {
            continue;
        };
        let protocol = port.protocol.clone().unwrap_or_default();
        let ip = port.host_ip.clone().unwrap_or_default();
        let text = format!("{protocol}/{ip}/{number}");
        if !taken.insert((protocol, ip, number)) {
            let path = path.child("ports").index(index).child("hostPort");
            checks.push(FieldError::duplicate(&path, &text));
        }
    }
}

fn validate_dns(checks: &mut Checks, path: &Path, spec: &PodSpec) {
    let policy = spec.dns_policy.as_deref().unwrap_or_default();
    checks.one_of(&path.child("dnsPolicy"), policy, &DNS_POLICIES);
    let config = spec.dns_config.clone().unwrap_or_default();
    let path = path.child("dnsConfig");
    let servers = config.nameservers.unwrap_or_default();
    let list = path.child("nameservers");
    if policy == "None" && servers.is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        checks.push(FieldError::required(&list, detail));
    }
    let detail = "must not have more than 3 nameservers";
    checks.holds(servers.len() <= MAX_NAMESERVERS, &list, &servers, detail);
    for (index, server) in servers.iter().enumerate() {
        checks.ip(&list.index(index), server);
    }
    let searches = config.searches.unwrap_or_default();
    let list = path.child("searches");
    let detail = "must not have more than 32 search paths";
    checks.holds(searches.len() <= MAX_SEARCH_DOMAINS, &list, &searches, detail);
    for (index, search) in searches.iter().enumerate().filter(|(_, search)| *search != ".") {
        // An underscore may begin a label, as in the names of SRV records, or stand within one.
        let relative = search.strip_suffix('.').unwrap_or(search).split('.');
        let labels = relative.map(|label| label.strip_prefix('_').unwrap_or(label));
        let plain = labels.collect::<Vec<_>>().join(".").replace('_', "-");
        let reasons = names::dns1123_subdomain(&plain);
        checks.reasons(&list.index(index), search, &reasons);
    }
    for (index, option) in config.options.iter().flatten().enumerate() {
        let name = option.name.as_deref().unwrap_or_default();
        checks.required(&path.child("options").index(index).child("name"), name, "");
    }
}

fn validate_numbers(checks: &mut Checks, path: &Path, spec: &PodSpec) {
    if let Some(seconds) = spec.active_deadline_seconds {
        let path = path.child("activeDeadlineSeconds");
        let range = 1..=i64::from(i32::MAX);
        let detail = "must be between 1 and 2147483647, inclusive";
        checks.holds(range.contains(&seconds), &path, &seconds, detail);
    }
    let grace = path.child("terminationGracePeriodSeconds");
    checks.non_negative(&grace, spec.termination_grace_period_seconds);
    let Some(context) = &spec.security_context else {
        return;
    };
    let path = path.child("securityContext");
    let ids = [
        ("runAsUser", context.run_as_user),
        ("runAsGroup", context.run_as_group),
        ("fsGroup", context.fs_group),
    ];
    for (field, id) in ids {
        let Some(id) = id else { continue };
        let detail = "must be between 0 and 2147483647, inclusive";
        checks.holds((0..=i64::from(i32::MAX)).contains(&id), &path.child(field), &id, detail);
    }
}

fn validate_toleration(checks: &mut Checks, path: &Path, toleration: &Toleration) {
    let key = toleration.key.as_deref().unwrap_or_default();
    checks.named_if_set(&path.child("key"), Some(key), names::qualified_name);
    let operator = toleration.operator.as_deref().unwrap_or_default();
    let value = toleration.value.as_deref().unwrap_or_default();
    if key.is_empty() && operator != "Exists" {
        let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        checks.push(FieldError::invalid(&path.child("operator"), operator, detail));
    }
    match operator {
        "" | "Equal" => {
            checks.reasons(&path.child("value"), value, &names::label_value(value));
        }
        "Exists" => {
            let detail = "value must be empty when `operator` is 'Exists'";
            checks.holds(value.is_empty(), &path.child("operator"), value, detail);
        }
        other => checks.push(FieldError::not_supported(
            &path.child("operator"),
            other,
            &["Equal", "Exists"],
        )),
    }
    let effect = toleration.effect.as_deref().unwrap_or_default();
    if !effect.is_empty() {
        checks.one_of(&path.child("effect"), effect, &TAINT_EFFECTS);
    }
    if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        checks.push(FieldError::invalid(&path.child("effect"), effect, detail));
    }
}
