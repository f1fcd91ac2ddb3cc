//! A Deployment, and a ReplicaSet. Never looks at pods by itself.

use serde_json::Value;

use super::fields::{annotations, items, labels, plain, text};
use super::page::Page;
use super::pod_template;
use crate::{labels as selectors, time};

/// Annotation that numbers a Deployment's ReplicaSets.
const REVISION: &str = "deployment.kubernetes.io/revision";

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// Writes the Deployment; `sets` are the ReplicaSets its selector finds.
pub fn describe(page: &mut Page, object: &Value, sets: &[Value]) {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    page.field(0, "Name", text(&metadata["name"]));
    page.field(0, "Namespace", text(&metadata["namespace"]));
    page.field(0, "CreationTimestamp", time::date(text(&metadata["creationTimestamp"])));
    labels(page, 0, "Labels", &metadata["labels"]);
    annotations(page, 0, "Annotations", &metadata["annotations"]);
    page.field(0, "Selector", selectors::selector(&spec["selector"]));
    page.field(
        0,
        "Replicas",
        format!(
            "{} desired | {} updated | {} total | {} available | {} unavailable",
            number(&spec["replicas"]),
            number(&status["updatedReplicas"]),
            number(&status["replicas"]),
            number(&status["availableReplicas"]),
            number(&status["unavailableReplicas"]),
        ),
    );
    page.field(0, "StrategyType", text(&spec["strategy"]["type"]));
    page.field(0, "MinReadySeconds", number(&spec["minReadySeconds"]));
    let rolling = &spec["strategy"]["rollingUpdate"];
    if rolling.is_object() {
        let (unavailable, surge) = (plain(&rolling["maxUnavailable"]), plain(&rolling["maxSurge"]));
        page.field(
            0,
            "RollingUpdateStrategy",
            format!("{unavailable} max unavailable, {surge} max surge"),
        );
    }
    pod_template::describe(page, &spec["template"]);
    conditions(page, &status["conditions"], true);
    owned_sets(page, object, sets);
}

fn conditions(page: &mut Page, conditions: &Value, reason: bool) {
    if items(conditions).next().is_none() {
        return;
    }
    page.line(0, "Conditions:");
    let (titles, rules) = if reason { ("\tReason", "\t------") } else { ("", "") };
    page.line(1, format!("Type\tStatus{titles}"));
    page.line(1, format!("----\t------{rules}"));
    for condition in items(conditions) {
        let line = format!("{} \t{}", text(&condition["type"]), text(&condition["status"]));
        page.line(
            1,
            match reason {
                true => format!("{line}\t{}", text(&condition["reason"])),
                false => line,
            },
        );
    }
}

fn owned_sets(page: &mut Page, object: &Value, sets: &[Value]) {
    let owned = sets.iter().filter(|set| {
        items(&set["metadata"]["ownerReferences"]).any(|it| it["uid"] == object["metadata"]["uid"])
    });
    let revision = &object["metadata"]["annotations"][REVISION];
    let (new, old): (Vec<_>, Vec<_>) =
        owned.partition(|set| set["metadata"]["annotations"][REVISION] == *revision);
    if new.is_empty() && old.is_empty() {
        return;
    }
    let show = |sets: Vec<&Value>| {
        let texts: Vec<_> = sets
            .into_iter()
            .map(|set| {
                let (have, want) =
                    (number(&set["status"]["replicas"]), number(&set["spec"]["replicas"]));
                format!("{} ({have}/{want} replicas created)", text(&set["metadata"]["name"]))
            })
            .collect();
        if texts.is_empty() { "<none>".to_owned() } else { texts.join(", ") }
    };
    page.field(0, "OldReplicaSets", show(old));
    page.field(0, "NewReplicaSet", show(new));
}

/// Writes a ReplicaSet; `pods` are those its selector finds.
pub fn describe_replica_set(page: &mut Page, object: &Value, pods: &[Value]) {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    page.field(0, "Name", text(&metadata["name"]));
    page.field(0, "Namespace", text(&metadata["namespace"]));
    page.field(0, "Selector", selectors::selector(&spec["selector"]));
    labels(page, 0, "Labels", &metadata["labels"]);
    annotations(page, 0, "Annotations", &metadata["annotations"]);
    if let Some(owner) = items(&metadata["ownerReferences"]).find(|it| it["controller"] == true) {
        page.field(
            0,
            "Controlled By",
            format!("{}/{}", text(&owner["kind"]), text(&owner["name"])),
        );
    }
    let (current, desired) = (number(&status["replicas"]), number(&spec["replicas"]));
    page.field(0, "Replicas", format!("{current} current / {desired} desired"));
    let phases = ["Running", "Pending", "Succeeded", "Failed"];
    let counts =
        phases.map(|phase| pods.iter().filter(|it| it["status"]["phase"] == phase).count());
    let [running, waiting, succeeded, failed] = counts;
    page.field(
        0,
        "Pods Status",
        format!("{running} Running / {waiting} Waiting / {succeeded} Succeeded / {failed} Failed"),
    );
    pod_template::describe(page, &spec["template"]);
    conditions(page, &status["conditions"], true);
}

/// Writes a pod's conditions, which come without a reason.
pub fn plain_conditions(page: &mut Page, object: &Value) {
    conditions(page, &object["status"]["conditions"], false);
}
