//! A Pod.

use k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::fields::{conditions, controller, maps, name, text};
use super::page::Page;
use super::pod_template::{containers, tolerations};
use super::volumes::volumes;
use crate::{labels, time};

/// Writes the Pod.
pub fn describe(page: &mut Page, object: &Pod) {
    let spec = object.spec.clone().unwrap_or_default();
    let status = object.status.clone().unwrap_or_default();
    name(page, &object.metadata);
    placement(page, &spec, &status);
    maps(page, &object.metadata);
    phase(page, &object.metadata, &status);
    page.field(0, "IP", text(&status.pod_ip));
    let addresses = status.pod_ips.unwrap_or_default();
    match addresses.is_empty() {
        true => page.field(0, "IPs", "<none>"),
        false => page.line(0, "IPs:"),
    }
    for address in &addresses {
        page.field(1, "IP", &address.ip);
    }
    controller(page, &object.metadata);
    let init = spec.init_containers.unwrap_or_default();
    if !init.is_empty() {
        let statuses = status.init_container_statuses.unwrap_or_default();
        containers(page, 0, "Init Containers", &init, &statuses);
    }
    let statuses = status.container_statuses.unwrap_or_default();
    containers(page, 0, "Containers", &spec.containers, &statuses);
    let all = status.conditions.iter().flatten();
    conditions(page, all.map(|it| (&it.type_, &it.status, None)));
    volumes(page, 0, spec.volumes.as_deref().unwrap_or_default());
    page.field(0, "QoS Class", text(&status.qos_class));
    let nodes = labels::format(spec.node_selector.as_ref(), "\n\t", "<none>");
    page.field(0, "Node-Selectors", nodes);
    tolerations(page, 0, spec.tolerations.as_deref().unwrap_or_default());
}

/// With what rank and as whom it runs, where, and since when.
fn placement(page: &mut Page, spec: &PodSpec, status: &PodStatus) {
    page.given(0, "Priority", spec.priority);
    page.given(0, "Priority Class Name", spec.priority_class_name.as_ref());
    page.given(0, "Runtime Class Name", spec.runtime_class_name.as_ref());
    page.given(0, "Service Account", spec.service_account_name.as_ref());
    match text(&spec.node_name) {
        "" => page.field(0, "Node", "<none>"),
        node => page.field(0, "Node", format!("{node}/{}", text(&status.host_ip))),
    }
    page.given(0, "Start Time", status.start_time.as_ref().map(|it| time::date(Some(it.0))));
}

/// How far it is in its life, and why.
fn phase(page: &mut Page, metadata: &ObjectMeta, status: &PodStatus) {
    if let Some(deleted) = &metadata.deletion_timestamp {
        let since = time::since(Some(deleted.0));
        page.field(0, "Status", format!("Terminating (lasts {since})"));
        let grace = metadata.deletion_grace_period_seconds.unwrap_or(0);
        page.field(0, "Termination Grace Period", format!("{grace}s"));
    } else {
        page.field(0, "Status", text(&status.phase));
    }
    page.given(0, "Reason", status.reason.as_ref());
    page.given(0, "Message", status.message.as_ref());
}
