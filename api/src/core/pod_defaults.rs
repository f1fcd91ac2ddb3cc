//! Defaults of a pod's spec, for pods and for the templates of workloads.
//!
//! Never adds what upstream's admission adds (service account, tolerations, priority).

use k8s_openapi::{
    api::core::v1::{
        Container, ContainerPort, EnvVar, HTTPGetAction, Lifecycle, LifecycleHandler, PodSpec,
        Probe, ResourceRequirements, Volume,
    },
    apimachinery::pkg::api::resource::Quantity,
};

use crate::defaults;

const GRACE_PERIOD_SECONDS: i64 = 30;
/// Mode of files from a ConfigMap, Secret, downward API or projection: 0644.
const FILE_MODE: i32 = 0o644;

/// Fills unset fields of a pod's spec.
pub fn default_pod_spec(spec: &mut PodSpec) {
    defaults::text(&mut spec.dns_policy, "ClusterFirst");
    defaults::text(&mut spec.restart_policy, "Always");
    defaults::text(&mut spec.scheduler_name, "default-scheduler");
    spec.security_context.get_or_insert_default();
    spec.termination_grace_period_seconds.get_or_insert(GRACE_PERIOD_SECONDS);
    let host_network = spec.host_network.unwrap_or(false);
    let containers = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
    for container in containers {
        default_container(container);
        if host_network {
            for port in container.ports.iter_mut().flatten() {
                port.host_port.get_or_insert(port.container_port);
            }
        }
    }
    for volume in spec.volumes.iter_mut().flatten() {
        default_volume(volume);
    }
    default_service_account(spec);
}

/// What only a pod itself gets, not a template.
pub fn default_pod_only(spec: &mut PodSpec) {
    spec.enable_service_links.get_or_insert(true);
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        if let Some(resources) = &mut container.resources {
            requests_from_limits(resources);
        }
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are kept equal.
fn default_service_account(spec: &mut PodSpec) {
    let name = spec.service_account_name.clone().filter(|name| !name.is_empty());
    match name.or_else(|| spec.service_account.clone()) {
        None => {}
        Some(name) => {
            spec.service_account_name = Some(name.clone());
            spec.service_account = Some(name);
        }
    }
}

fn requests_from_limits(resources: &mut ResourceRequirements) {
    let Some(limits) = &resources.limits else {
        return;
    };
    let requests = resources.requests.get_or_insert_default();
    for (name, limit) in limits {
        requests.entry(name.clone()).or_insert_with(|| Quantity(limit.0.clone()));
    }
}

fn default_container(container: &mut Container) {
    if container.image_pull_policy.as_deref().unwrap_or_default().is_empty() {
        let image = container.image.as_deref().unwrap_or_default();
        container.image_pull_policy = Some(pull_policy(image).to_owned());
    }
    defaults::text(&mut container.termination_message_path, "/dev/termination-log");
    defaults::text(&mut container.termination_message_policy, "File");
    container.resources.get_or_insert_default();
    for port in container.ports.iter_mut().flatten() {
        default_container_port(port);
    }
    for variable in container.env.iter_mut().flatten() {
        default_variable(variable);
    }
    let probes = [
        &mut container.liveness_probe,
        &mut container.readiness_probe,
        &mut container.startup_probe,
    ];
    for probe in probes.into_iter().flatten() {
        default_probe(probe);
    }
    if let Some(lifecycle) = &mut container.lifecycle {
        default_lifecycle(lifecycle);
    }
}

fn default_container_port(port: &mut ContainerPort) {
    defaults::text(&mut port.protocol, "TCP");
}

fn default_variable(variable: &mut EnvVar) {
    if let Some(field) = variable.value_from.as_mut().and_then(|source| source.field_ref.as_mut()) {
        defaults::text(&mut field.api_version, "v1");
    }
}

/// `Always` for the tag `latest` or no tag, unless a digest pins the image.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').unwrap_or((image, ""));
    let last = name.rsplit('/').next().unwrap_or_default();
    let tag = last.split_once(':').map(|(_, tag)| tag);
    match tag {
        None if digest.is_empty() => "Always",
        Some("latest") => "Always",
        _ => "IfNotPresent",
    }
}

fn default_probe(probe: &mut Probe) {
    defaults::number(&mut probe.timeout_seconds, 1);
    defaults::number(&mut probe.period_seconds, 10);
    defaults::number(&mut probe.success_threshold, 1);
    defaults::number(&mut probe.failure_threshold, 3);
    if let Some(http) = &mut probe.http_get {
        default_http(http);
    }
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn default_lifecycle(lifecycle: &mut Lifecycle) {
    for handler in [&mut lifecycle.post_start, &mut lifecycle.pre_stop].into_iter().flatten() {
        let handler: &mut LifecycleHandler = handler;
        if let Some(http) = &mut handler.http_get {
            default_http(http);
        }
    }
}

fn default_http(http: &mut HTTPGetAction) {
    defaults::text(&mut http.path, "/");
    defaults::text(&mut http.scheme, "HTTP");
}

fn default_volume(volume: &mut Volume) {
    if let Some(secret) = &mut volume.secret {
        secret.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(map) = &mut volume.config_map {
        map.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(downward) = &mut volume.downward_api {
        downward.default_mode.get_or_insert(FILE_MODE);
        for field in downward.items.iter_mut().flatten().filter_map(|item| item.field_ref.as_mut())
        {
            defaults::text(&mut field.api_version, "v1");
        }
    }
    if let Some(projected) = &mut volume.projected {
        projected.default_mode.get_or_insert(FILE_MODE);
        for source in projected.sources.iter_mut().flatten() {
            if let Some(token) = &mut source.service_account_token {
                token.expiration_seconds.get_or_insert(60 * 60);
            }
            let items = source.downward_api.iter_mut().filter_map(|api| api.items.as_mut());
            for field in items.flatten().filter_map(|item| item.field_ref.as_mut()) {
                defaults::text(&mut field.api_version, "v1");
            }
        }
    }
    if let Some(path) = &mut volume.host_path {
        path.type_.get_or_insert_default();
    }
    if !has_source(volume) {
        volume.empty_dir = Some(Default::default());
    }
}

/// Whether any source is set: a volume of no source is an `emptyDir`.
fn has_source(volume: &Volume) -> bool {
    let named_only = Volume { name: volume.name.clone(), ..Default::default() };
    *volume != named_only
}
