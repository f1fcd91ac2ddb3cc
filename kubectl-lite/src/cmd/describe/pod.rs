//! A Pod. Never looks at its node or its log.

use serde_json::Value;

use super::deployment::plain_conditions;
use super::fields::{annotations, items, labels, text};
use super::page::Page;
use super::pod_template::{containers, tolerations, volumes};
use crate::{labels as selectors, time};

/// Writes the Pod.
pub fn describe(page: &mut Page, object: &Value) {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    page.field(0, "Name", text(&metadata["name"]));
    page.field(0, "Namespace", text(&metadata["namespace"]));
    placement(page, spec, status);
    labels(page, 0, "Labels", &metadata["labels"]);
    annotations(page, 0, "Annotations", &metadata["annotations"]);
    phase(page, metadata, status);
    page.field(0, "IP", text(&status["podIP"]));
    addresses(page, &status["podIPs"]);
    if let Some(owner) = items(&metadata["ownerReferences"]).find(|it| it["controller"] == true) {
        page.field(
            0,
            "Controlled By",
            format!("{}/{}", text(&owner["kind"]), text(&owner["name"])),
        );
    }
    if items(&spec["initContainers"]).next().is_some() {
        let statuses = &status["initContainerStatuses"];
        containers(page, 0, "Init Containers", &spec["initContainers"], statuses);
    }
    containers(page, 0, "Containers", &spec["containers"], &status["containerStatuses"]);
    plain_conditions(page, object);
    volumes(page, 0, &spec["volumes"]);
    page.field(0, "QoS Class", text(&status["qosClass"]));
    page.field(0, "Node-Selectors", selectors::format(&spec["nodeSelector"], "\n\t", "<none>"));
    tolerations(page, 0, &spec["tolerations"]);
}

/// With what rank and as whom it runs, where, and since when.
fn placement(page: &mut Page, spec: &Value, status: &Value) {
    if let Some(priority) = spec["priority"].as_i64() {
        page.field(0, "Priority", priority);
    }
    for (title, field) in [
        ("Priority Class Name", "priorityClassName"),
        ("Runtime Class Name", "runtimeClassName"),
        ("Service Account", "serviceAccountName"),
    ] {
        if !text(&spec[field]).is_empty() {
            page.field(0, title, text(&spec[field]));
        }
    }
    match text(&spec["nodeName"]) {
        "" => page.field(0, "Node", "<none>"),
        node => page.field(0, "Node", format!("{node}/{}", text(&status["hostIP"]))),
    }
    if status["startTime"].is_string() {
        page.field(0, "Start Time", time::date(text(&status["startTime"])));
    }
}

/// How far it is in its life, and why.
fn phase(page: &mut Page, metadata: &Value, status: &Value) {
    if metadata["deletionTimestamp"].is_string() {
        let since = time::since(text(&metadata["deletionTimestamp"]));
        page.field(0, "Status", format!("Terminating (lasts {since})"));
        let grace = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        page.field(0, "Termination Grace Period", format!("{grace}s"));
    } else {
        page.field(0, "Status", text(&status["phase"]));
    }
    for (title, field) in [("Reason", "reason"), ("Message", "message")] {
        if !text(&status[field]).is_empty() {
            page.field(0, title, text(&status[field]));
        }
    }
}

fn addresses(page: &mut Page, addresses: &Value) {
    if items(addresses).next().is_none() {
        page.field(0, "IPs", "<none>");
        return;
    }
    page.line(0, "IPs:");
    for address in items(addresses) {
        page.field(1, "IP", text(&address["ip"]));
    }
}
