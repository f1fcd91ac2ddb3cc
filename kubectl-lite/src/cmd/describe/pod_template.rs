//! A controller's pod template, and the containers and tolerations of it or of a pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, ContainerState, ContainerStatus, EnvFromSource, EnvVar,
    PodTemplateSpec, Probe, Toleration,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::fields::{annotations, column, joined, labels, number_or_name, text};
use super::page::Page;
use super::volumes::{mounts, volumes};
use crate::{labels as selectors, time};

/// Writes a controller's pod template.
pub fn describe(page: &mut Page, template: &PodTemplateSpec) {
    let metadata = template.metadata.clone().unwrap_or_default();
    let spec = template.spec.clone().unwrap_or_default();
    page.line(0, "Pod Template:");
    labels(page, 1, "Labels", metadata.labels.as_ref());
    if metadata.annotations.as_ref().is_some_and(|it| !it.is_empty()) {
        annotations(page, 1, "Annotations", metadata.annotations.as_ref());
    }
    page.given(1, "Service Account", spec.service_account_name);
    let init = spec.init_containers.unwrap_or_default();
    if !init.is_empty() {
        containers(page, 1, "Init Containers", &init, &[]);
    }
    containers(page, 1, "Containers", &spec.containers, &[]);
    volumes(page, 1, spec.volumes.as_deref().unwrap_or_default());
    page.given(1, "Priority Class Name", spec.priority_class_name);
    let nodes = selectors::format(spec.node_selector.as_ref(), "\n\t", "<none>");
    page.field(1, "Node-Selectors", nodes);
    tolerations(page, 1, spec.tolerations.as_deref().unwrap_or_default());
}

/// Writes containers; there are no `statuses` for a template.
pub fn containers(
    page: &mut Page,
    level: usize,
    title: &str,
    list: &[Container],
    statuses: &[ContainerStatus],
) {
    if list.is_empty() {
        page.field(level, title, "<none>");
        return;
    }
    page.line(level, format!("{title}:"));
    for container in list {
        let margin = if level > 0 { " " } else { "  " };
        page.line(level, format!("{margin}{}:", container.name));
        one(page, container, statuses.iter().find(|it| it.name == container.name));
    }
}

fn one(page: &mut Page, container: &Container, status: Option<&ContainerStatus>) {
    if let Some(status) = status {
        page.field(2, "Container ID", text(&status.container_id));
    }
    page.field(2, "Image", text(&container.image));
    if let Some(status) = status {
        page.field(2, "Image ID", &status.image_id);
    }
    ports(page, container, "Port", |it| it.container_port);
    ports(page, container, "Host Port", |it| it.host_port.unwrap_or(0));
    for (title, words) in [("Command", &container.command), ("Args", &container.args)] {
        let words = words.as_deref().unwrap_or_default();
        if !words.is_empty() {
            page.line(2, format!("{title}:"));
        }
        for line in words.iter().flat_map(|word| word.lines()) {
            page.line(3, line);
        }
    }
    if let Some(status) = status {
        state(page, "State", status.state.as_ref());
        if status.last_state.as_ref().is_some_and(|it| it.terminated.is_some()) {
            state(page, "Last State", status.last_state.as_ref());
        }
        page.field(2, "Ready", if status.ready { "True" } else { "False" });
        page.field(2, "Restart Count", status.restart_count);
    }
    let resources = container.resources.clone().unwrap_or_default();
    amounts(page, "Limits", resources.limits.unwrap_or_default());
    amounts(page, "Requests", resources.requests.unwrap_or_default());
    page.given(2, "Liveness", container.liveness_probe.as_ref().map(probe));
    page.given(2, "Readiness", container.readiness_probe.as_ref().map(probe));
    page.given(2, "Startup", container.startup_probe.as_ref().map(probe));
    environment(page, container);
    mounts(page, container.volume_mounts.as_deref().unwrap_or_default());
}

fn amounts(page: &mut Page, title: &str, amounts: BTreeMap<String, Quantity>) {
    if !amounts.is_empty() {
        page.line(2, format!("{title}:"));
    }
    for (name, amount) in amounts {
        page.field(3, &name, amount.0);
    }
}

fn ports(page: &mut Page, container: &Container, title: &str, of: fn(&ContainerPort) -> i32) {
    let ports = container.ports.as_deref().unwrap_or_default();
    let shown = ports.iter().map(|it| format!("{}/{}", of(it), text(&it.protocol)));
    let plural = if ports.len() > 1 { "s" } else { "" };
    page.field(2, &format!("{title}{plural}"), joined(shown, ", "));
}

fn state(page: &mut Page, title: &str, state: Option<&ContainerState>) {
    if let Some(running) = state.and_then(|it| it.running.as_ref()) {
        page.field(2, title, "Running");
        page.field(3, "Started", time::date(running.started_at.as_ref().map(|it| it.0)));
    } else if let Some(ended) = state.and_then(|it| it.terminated.as_ref()) {
        page.field(2, title, "Terminated");
        page.given(3, "Reason", ended.reason.as_ref());
        page.given(3, "Message", ended.message.as_ref());
        page.field(3, "Exit Code", ended.exit_code);
        page.given(3, "Signal", ended.signal.filter(|it| *it > 0));
        page.field(3, "Started", time::date(ended.started_at.as_ref().map(|it| it.0)));
        page.field(3, "Finished", time::date(ended.finished_at.as_ref().map(|it| it.0)));
    } else {
        page.field(2, title, "Waiting");
        let waiting = state.and_then(|it| it.waiting.as_ref());
        page.given(3, "Reason", waiting.and_then(|it| it.reason.as_ref()));
    }
}

fn probe(probe: &Probe) -> String {
    let number = |value: Option<i32>| value.unwrap_or(0);
    let what = if let Some(exec) = &probe.exec {
        format!("exec [{}]", exec.command.as_deref().unwrap_or_default().join(" "))
    } else if let Some(get) = &probe.http_get {
        let (scheme, host, path) =
            (text(&get.scheme).to_lowercase(), text(&get.host), text(&get.path));
        let slash = if path.starts_with('/') { "" } else { "/" };
        format!("http-get {scheme}://{host}:{}{slash}{path}", number_or_name(Some(&get.port)))
    } else if let Some(socket) = &probe.tcp_socket {
        format!("tcp-socket {}:{}", text(&socket.host), number_or_name(Some(&socket.port)))
    } else if let Some(grpc) = &probe.grpc {
        format!("grpc <pod>:{} {}", grpc.port, text(&grpc.service))
    } else {
        "unknown".to_owned()
    };
    format!(
        "{what} delay={}s timeout={}s period={}s #success={} #failure={}",
        number(probe.initial_delay_seconds),
        number(probe.timeout_seconds),
        number(probe.period_seconds),
        number(probe.success_threshold),
        number(probe.failure_threshold),
    )
}

fn environment(page: &mut Page, container: &Container) {
    let sources = container.env_from.as_deref().unwrap_or_default();
    if !sources.is_empty() {
        page.line(2, "Environment Variables from:");
    }
    for source in sources {
        page.line(3, from(source));
    }
    let variables = container.env.as_deref().unwrap_or_default();
    match variables.is_empty() {
        true => page.field(2, "Environment", "<none>"),
        false => page.line(2, "Environment:"),
    }
    for variable in variables {
        let value = value(variable);
        let mut lines = value.split('\n');
        page.field(3, &variable.name, lines.next().unwrap_or_default());
        for line in lines {
            page.line(3, format!("\t{line}"));
        }
    }
}

fn from(source: &EnvFromSource) -> String {
    let map = source.config_map_ref.as_ref().map(|it| (&it.name, "ConfigMap", it.optional));
    let secret = source.secret_ref.as_ref().map(|it| (&it.name, "Secret", it.optional));
    let Some((name, kind, optional)) = map.or(secret) else { return String::new() };
    format!("{name}\t{kind}\tOptional: {}", optional.unwrap_or(false))
}

fn value(variable: &EnvVar) -> String {
    let from = variable.value_from.clone().unwrap_or_default();
    let reference = |name: &str, key: &str, kind: &str, optional: Option<bool>| {
        let optional = optional.unwrap_or(false);
        format!("<set to the key '{key}' {kind} '{name}'>\tOptional: {optional}")
    };
    if let Some(field) = from.field_ref {
        format!(" ({}:{})", text(&field.api_version), field.field_path)
    } else if let Some(map) = from.config_map_key_ref {
        reference(&map.name, &map.key, "of config map", map.optional)
    } else if let Some(secret) = from.secret_key_ref {
        reference(&secret.name, &secret.key, "in secret", secret.optional)
    } else {
        text(&variable.value).to_owned()
    }
}

/// Writes tolerations, one a line.
pub fn tolerations(page: &mut Page, level: usize, tolerations: &[Toleration]) {
    let mut texts: Vec<_> = tolerations.iter().map(toleration).collect();
    texts.sort();
    column(page, level, "Tolerations", texts.into_iter());
}

fn toleration(it: &Toleration) -> String {
    let (key, value, effect) = (text(&it.key), text(&it.value), text(&it.effect));
    let mut shown = if value.is_empty() { key.to_owned() } else { format!("{key}={value}") };
    if !effect.is_empty() {
        let colon = if shown.is_empty() { "" } else { ":" };
        shown = format!("{shown}{colon}{effect}");
    }
    if it.operator.as_deref() == Some("Exists") && value.is_empty() {
        let space = if key.is_empty() && effect.is_empty() { "" } else { " " };
        shown = format!("{shown}{space}op=Exists");
    }
    match it.toleration_seconds {
        Some(seconds) => format!("{shown} for {seconds}s"),
        None => shown,
    }
}
