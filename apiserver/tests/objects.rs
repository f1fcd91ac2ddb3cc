//! Writing objects: names, versions, finalizers, grace, namespaces, subresources.

mod support;

use serde_json::json;
use support::{Api, config_map, pod, version};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test]
async fn metadata_is_the_servers() {
    let api = Api::start().await;
    let mut object = config_map("a", "1");
    object["metadata"]["uid"] = "mine".into();
    object["metadata"]["creationTimestamp"] = "2001-01-01T00:00:00Z".into();
    let created = api.post(MAPS, object).await.ok();
    let metadata = &created["metadata"];
    assert_ne!(metadata["uid"], "mine");
    assert_ne!(metadata["creationTimestamp"], "2001-01-01T00:00:00Z");
    assert_eq!(metadata["namespace"], "default");
    assert_eq!(api.get(&format!("{MAPS}/a")).await.ok(), created);
    let again = api.post(MAPS, config_map("a", "2")).await.error();
    assert_eq!(again, "409 AlreadyExists: configmaps \"a\" already exists");
}

#[tokio::test]
async fn names_are_generated() {
    let api = Api::start().await;
    let mut object = config_map("", "1");
    object["metadata"] = json!({ "generateName": "web-" });
    let created = api.post(MAPS, object.clone()).await.ok();
    let name = created["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    object["metadata"] = json!({});
    let error = api.post(MAPS, object).await.error();
    assert!(error.starts_with("422 Invalid"), "{error}");
}

#[tokio::test]
async fn an_update_of_an_old_version_is_a_conflict() {
    let api = Api::start().await;
    let path = format!("{MAPS}/a");
    let old = api.post(MAPS, config_map("a", "1")).await.ok();
    let mut new = old.clone();
    new["data"]["value"] = "2".into();
    let updated = api.put(&path, new.clone()).await.ok();
    assert!(version(&updated) > version(&old));
    let conflict = api.put(&path, new.clone()).await.error();
    assert!(
        conflict.starts_with("409 Conflict: Operation cannot be fulfilled on configmaps \"a\""),
        "{conflict}"
    );
    new["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let unchanged = api.put(&path, new).await.ok();
    assert_eq!(version(&unchanged), version(&updated), "nothing changed, nothing written");
    let missing = api.put(&format!("{MAPS}/b"), config_map("b", "1")).await.error();
    assert_eq!(missing, "404 NotFound: configmaps \"b\" not found");
    let patch = json!({ "metadata": { "resourceVersion": "1" }, "data": { "value": "3" } });
    assert_eq!(api.merge(&path, patch).await.code, 409);
}

#[tokio::test]
async fn patches_of_three_kinds() {
    let api = Api::start().await;
    let path = format!("{MAPS}/a");
    api.post(MAPS, config_map("a", "1")).await.ok();
    for (media_type, patch, want) in [
        ("application/merge-patch+json", r#"{"data":{"b":"x","value":null}}"#, json!({ "b": "x" })),
        (
            "application/json-patch+json",
            r#"[{"op":"add","path":"/data/c","value":"y"}]"#,
            json!({ "b": "x", "c": "y" }),
        ),
        ("application/strategic-merge-patch+json", r#"{"data":{"b":null}}"#, json!({ "c": "y" })),
    ] {
        let patched =
            api.request("PATCH", &path, &[("content-type", media_type)], patch).await.ok();
        assert_eq!(patched["data"], want, "{media_type}");
    }
    let apply = [("content-type", "application/apply-patch+yaml")];
    let refused = api.request("PATCH", &path, &apply, "{}").await;
    assert_eq!(refused.code, 415);
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let api = Api::start().await;
    let tried = api.post(&format!("{MAPS}?dryRun=All"), config_map("a", "1")).await.ok();
    assert_eq!(tried["data"]["value"], "1");
    assert_eq!(tried["metadata"].get("resourceVersion"), None);
    assert_eq!(api.get(&format!("{MAPS}/a")).await.code, 404);
    api.post(MAPS, config_map("a", "1")).await.ok();
    api.merge(&format!("{MAPS}/a?dryRun=All"), json!({ "data": { "value": "2" } })).await.ok();
    api.delete(&format!("{MAPS}/a?dryRun=All")).await.ok();
    assert_eq!(api.get(&format!("{MAPS}/a")).await.ok()["data"]["value"], "1");
}

#[tokio::test]
async fn finalizers_hold_an_object_back() {
    let api = Api::start().await;
    let path = format!("{MAPS}/a");
    let mut object = config_map("a", "1");
    object["metadata"]["finalizers"] = json!(["example.com/keep"]);
    api.post(MAPS, object).await.ok();
    let marked = api.delete(&path).await.ok();
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    // Nothing new may hold it back now.
    let patch = json!({ "metadata": { "finalizers": ["example.com/keep", "example.com/new"] } });
    let patched = api.merge(&path, patch).await.ok();
    assert_eq!(patched["metadata"]["finalizers"], json!(["example.com/keep"]));
    api.merge(&path, json!({ "metadata": { "finalizers": null } })).await.ok();
    assert_eq!(api.get(&path).await.code, 404);
}

#[tokio::test]
async fn propagation_becomes_a_finalizer() {
    let api = Api::start().await;
    for (policy, finalizer) in [("Orphan", "orphan"), ("Foreground", "foregroundDeletion")] {
        api.post(MAPS, config_map("a", "1")).await.ok();
        let path = format!("{MAPS}/a");
        let marked = api.delete(&format!("{path}?propagationPolicy={policy}")).await.ok();
        assert_eq!(marked["metadata"]["finalizers"], json!([finalizer]));
        api.merge(&path, json!({ "metadata": { "finalizers": [] } })).await.ok();
        assert_eq!(api.get(&path).await.code, 404);
    }
    api.post(MAPS, config_map("a", "1")).await.ok();
    let deleted = api.delete(&format!("{MAPS}/a?propagationPolicy=Background")).await.ok();
    assert_eq!(deleted["status"], "Success");
}

#[tokio::test]
async fn preconditions_of_a_delete() {
    let api = Api::start().await;
    let created = api.post(MAPS, config_map("a", "1")).await.ok();
    let path = format!("{MAPS}/a");
    for (field, value) in [("uid", "other"), ("resourceVersion", "1")] {
        let options = json!({ "preconditions": { field: value } });
        let refused = api.request("DELETE", &path, &[], options.to_string()).await.error();
        assert!(
            refused.starts_with("409 Conflict") && refused.contains("Precondition failed"),
            "{refused}"
        );
    }
    let options = json!({ "preconditions": { "uid": created["metadata"]["uid"] } });
    api.request("DELETE", &path, &[], options.to_string()).await.ok();
    assert_eq!(api.get(&path).await.code, 404);
}

#[tokio::test]
async fn pods_get_time_to_end() {
    let api = Api::start().await;
    api.post(PODS, pod("waiting", "")).await.ok();
    api.delete(&format!("{PODS}/waiting")).await.ok();
    assert_eq!(api.get(&format!("{PODS}/waiting")).await.code, 404, "it runs nowhere");

    let path = format!("{PODS}/bound");
    api.post(PODS, pod("bound", "worker-1")).await.ok();
    let marked = api.delete(&path).await.ok();
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    let shorter = api.delete(&format!("{path}?gracePeriodSeconds=5")).await.ok();
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    let longer = api.delete(&format!("{path}?gracePeriodSeconds=60")).await.ok();
    assert_eq!(longer["metadata"]["deletionGracePeriodSeconds"], 5);
    api.delete(&format!("{path}?gracePeriodSeconds=0")).await.ok();
    assert_eq!(api.get(&path).await.code, 404);
}

#[tokio::test]
async fn a_namespace_goes_when_it_is_finalized() {
    let api = Api::start().await;
    let path = "/api/v1/namespaces/team";
    let created =
        api.post("/api/v1/namespaces", json!({ "metadata": { "name": "team" } })).await.ok();
    assert_eq!(created["metadata"]["labels"]["kubernetes.io/metadata.name"], "team");
    assert_eq!(created["spec"]["finalizers"], json!(["kubernetes"]));
    let maps = "/api/v1/namespaces/team/configmaps";
    api.post(maps, config_map("a", "1")).await.ok();
    let marked = api.delete(path).await.ok();
    assert_eq!(marked["status"]["phase"], "Terminating");
    // Admission looks into the cache: a read waits until that has come so far.
    api.get(path).await.ok();
    let refused = api.post(maps, config_map("b", "1")).await;
    assert_eq!(
        refused.error(),
        "403 Forbidden: configmaps \"b\" is forbidden: unable to create new content in namespace team because it is being terminated"
    );
    assert_eq!(refused.body["details"]["causes"][0]["reason"], "NamespaceTerminating");
    let mut namespace = api.get(path).await.ok();
    namespace["spec"]["finalizers"] = json!([]);
    api.put(&format!("{path}/finalize"), namespace).await.ok();
    assert_eq!(api.get(path).await.code, 404);
    let missing = api.post(maps, config_map("b", "1")).await.error();
    assert_eq!(missing, "404 NotFound: namespaces \"team\" not found");
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let api = Api::start().await;
    let path = format!("{PODS}/a");
    api.post(PODS, pod("a", "")).await.ok();
    let status = json!({ "metadata": { "name": "a" }, "status": { "phase": "Running" }, "spec": { "nodeName": "x" } });
    let patched = api.merge(&format!("{path}/status"), status).await.ok();
    assert_eq!(patched["status"]["phase"], "Running");
    assert_eq!(patched["spec"].get("nodeName"), None);
    let patch = json!({ "metadata": { "labels": { "a": "b" } }, "status": { "phase": "Failed" } });
    let patched = api.merge(&path, patch).await.ok();
    assert_eq!(patched["status"]["phase"], "Running");
    assert_eq!(patched["metadata"]["labels"]["a"], "b");
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let api = Api::start().await;
    api.post(PODS, pod("a", "")).await.ok();
    let binding =
        json!({ "metadata": { "name": "a" }, "target": { "kind": "Node", "name": "worker-1" } });
    let bound = api.post(&format!("{PODS}/a/binding"), binding.clone()).await;
    assert_eq!(bound.code, 201, "{:#}", bound.body);
    let pod = api.get(&format!("{PODS}/a")).await.ok();
    assert_eq!(pod["spec"]["nodeName"], "worker-1");
    assert_eq!(pod["status"]["conditions"][0]["type"], "PodScheduled");
    let again = api.post("/api/v1/namespaces/default/bindings", binding).await.error();
    assert!(again.contains("already assigned to node \"worker-1\""), "{again}");
}

#[tokio::test]
async fn deployments_are_scaled() {
    let api = Api::start().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({
        "metadata": { "name": "web" },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "main", "image": "demo" }] },
            },
        },
    });
    api.post(path, deployment).await.ok();
    let scale = api.get(&format!("{path}/web/scale")).await.ok();
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(1)));
    assert_eq!(scale["status"]["selector"], "app=web");
    api.merge(&format!("{path}/web/scale"), json!({ "spec": { "replicas": 4 } })).await.ok();
    let mut scale = api.get(&format!("{path}/web/scale")).await.ok();
    assert_eq!(scale["spec"]["replicas"], 4);
    scale["spec"]["replicas"] = 2.into();
    api.put(&format!("{path}/web/scale"), scale.clone()).await.ok();
    assert_eq!(api.put(&format!("{path}/web/scale"), scale).await.code, 409);
    let deployment = api.get(&format!("{path}/web")).await.ok();
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert_eq!(deployment["metadata"]["generation"], 3);
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let api = Api::start().await;
    for (name, tier) in [("a", "front"), ("b", "back"), ("c", "front")] {
        let mut object = config_map(name, "1");
        object["metadata"]["labels"] = json!({ "tier": tier });
        api.post(MAPS, object).await.ok();
    }
    let deleted = api.delete(&format!("{MAPS}?labelSelector=tier%3Dfront")).await.ok();
    assert_eq!(deleted["items"].as_array().unwrap().len(), 2);
    let left = api.get(MAPS).await.ok();
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
    assert_eq!(left["items"][0]["metadata"]["name"], "b");
}

#[tokio::test]
async fn concurrent_patches_all_count() {
    let api = Api::start().await;
    api.post(MAPS, config_map("a", "1")).await.ok();
    let path = format!("{MAPS}/a");
    let patches = (0..20).map(|at| {
        let (api, path) = (api.clone(), path.clone());
        tokio::spawn(async move {
            api.merge(&path, json!({ "data": { format!("k{at}"): "x" } })).await.ok();
        })
    });
    for patch in patches.collect::<Vec<_>>() {
        patch.await.unwrap();
    }
    let data = api.get(&path).await.ok()["data"].clone();
    assert_eq!(data.as_object().unwrap().len(), 21);
}
