//! Services, Endpoints and EndpointSlices as objects of the API: every verb, and what a watch says.

use anyhow::Context;
use futures::StreamExt;
use k8s_openapi::api::{
    core::v1::{Endpoints, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchParams},
};
use serde_json::{Value, json};

use super::{
    Test,
    kube_client::{deleted, modified, with_kube},
    site::Site,
};
use crate::Client;

/// The tests of this file.
pub const TESTS: &[(&str, Test)] = &[
    ("api_discovery_names_what_a_service_is_made_of", discovery),
    ("api_service_lifecycle_of_its_status", service_status),
    ("api_service_status_goes_with_its_type", status_of_type),
    ("api_service_delete_collection", service_collection),
    ("endpoints_lifecycle", endpoints),
    ("endpointslice_api_operations", slices),
];

/// What the API server must say it can do with each.
const VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

fn discovery(_site: &Site, client: &Client) {
    with_kube(client, "api-discovery", async |kube, _| {
        let groups = kube.list_api_groups().await?;
        let group = groups.groups.iter().find(|it| it.name == "discovery.k8s.io");
        let versions = &group.context("the group discovery.k8s.io")?.versions;
        assert!(versions.iter().any(|it| it.version == "v1"), "{versions:?}");
        let core = kube.list_core_api_resources("v1").await?.resources;
        let own = kube.list_api_group_resources("discovery.k8s.io/v1").await?;
        let all = [core, own.resources].concat();
        for name in ["services", "endpoints", "endpointslices"] {
            let found = all.iter().find(|it| it.name == name);
            let found = found.with_context(|| format!("the resource {name}"))?;
            assert!(found.namespaced, "{name}");
            for verb in VERBS {
                assert!(found.verbs.iter().any(|it| it == verb), "{verb} {name}");
            }
        }
        let status = all.iter().any(|it| it.name == "services/status");
        assert!(status, "services/status");
        Ok(())
    });
}

fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("the test's objects are well formed")
}

/// A merge patch.
async fn patch<K>(api: &Api<K>, name: &str, change: Value) -> kube::Result<K>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await
}

fn labelled(name: &str, label: &str) -> Value {
    json!({"name": name, "labels": {"suite": label}})
}

fn service_status(_site: &Site, client: &Client) {
    with_kube(client, "api-status", async |kube, namespace| {
        let api: Api<Service> = Api::namespaced(kube.clone(), namespace);
        let ports = json!([{"name": "http", "port": 80}]);
        let service = object(json!({
            "metadata": labelled("web", "status"), "spec": {"type": "LoadBalancer", "ports": ports},
        }));
        let made = api.create(&PostParams::default(), &service).await?;
        let version = made.resource_version().context("a version")?;
        let params = WatchParams::default().labels("suite=status");
        let mut events = api.watch(&params, &version).await?.boxed();
        let everywhere =
            Api::<Service>::all(kube).list(&ListParams::default().labels("suite=status")).await?;
        assert_eq!(everywhere.items.len(), 1);

        let status = api.get_status("web").await?.status.context("a status")?;
        assert!(status.load_balancer.unwrap_or_default().ingress.is_none());
        let change = json!({
            "metadata": {"annotations": {"patched": "yes"}},
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}},
        });
        let patched =
            api.patch_status("web", &PatchParams::default(), &Patch::Merge(change)).await?;
        assert_eq!(patched.annotations()["patched"], "yes");
        let seen = modified(&mut events).await?;
        let ingress = seen.status.as_ref().and_then(|it| it.load_balancer.clone());
        let ingress = ingress.and_then(|it| it.ingress).unwrap_or_default();
        assert_eq!(ingress[0].ip.as_deref(), Some("203.0.113.1"));
        assert_eq!(ingress[0].ip_mode.as_deref(), Some("VIP"));

        let mut next = api.get_status("web").await?;
        let condition = json!({
            "type": "Told", "status": "True", "reason": "Test", "message": "by a test",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        next.status.get_or_insert_default().conditions = Some(vec![object(condition)]);
        // What is no status does not change by it.
        next.spec.get_or_insert_default().session_affinity = Some("ClientIP".into());
        api.replace_status("web", &PostParams::default(), &next).await?;
        let seen = modified(&mut events).await?;
        let conditions = seen.status.and_then(|it| it.conditions).unwrap_or_default();
        assert_eq!(conditions[0].type_, "Told");
        let affinity = seen.spec.and_then(|it| it.session_affinity);
        assert_eq!(affinity.as_deref(), Some("None"));

        patch(&api, "web", json!({"metadata": {"labels": {"more": "yes"}}})).await?;
        assert_eq!(modified(&mut events).await?.labels()["more"], "yes");
        api.delete("web", &DeleteParams::default()).await?;
        assert_eq!(deleted(&mut events).await?.name_any(), "web");
        Ok(())
    });
}

/// Only a Service of type LoadBalancer has what a load balancer's controller says.
fn status_of_type(_site: &Site, client: &Client) {
    with_kube(client, "api-statustype", async |kube, namespace| {
        let api: Api<Service> = Api::namespaced(kube, namespace);
        let ports = json!([{"name": "http", "port": 80}]);
        let spec = json!({"type": "LoadBalancer", "ports": ports});
        let service = object(json!({"metadata": labelled("web", "type"), "spec": spec}));
        api.create(&PostParams::default(), &service).await?;
        let address = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.2"}]}}});
        let address = Patch::Merge(address);
        let params = PatchParams::default();
        let points = |service: Service| {
            let balancer = service.status.and_then(|it| it.load_balancer);
            balancer.and_then(|it| it.ingress).unwrap_or_default().len()
        };
        let given = api.patch_status("web", &params, &address).await?;
        assert_eq!(points(given), 1);
        let changed = patch(&api, "web", json!({"spec": {"type": "ClusterIP"}})).await?;
        assert_eq!(points(changed), 0);
        let refused = api.patch_status("web", &params, &address).await;
        let error = refused.err().context("it must be refused")?.to_string();
        assert!(error.contains("status.loadBalancer.ingress"), "{error}");
        Ok(())
    });
}

fn service_collection(_site: &Site, client: &Client) {
    with_kube(client, "api-collection", async |kube, namespace| {
        let api: Api<Service> = Api::namespaced(kube, namespace);
        for (name, label) in [("one", "goes"), ("two", "goes"), ("three", "stays")] {
            let spec = json!({"ports": [{"name": "http", "port": 80}]});
            let service = object(json!({"metadata": labelled(name, label), "spec": spec}));
            api.create(&PostParams::default(), &service).await?;
        }
        assert_eq!(api.list(&ListParams::default()).await?.items.len(), 3);
        let goes = ListParams::default().labels("suite=goes");
        api.delete_collection(&DeleteParams::default(), &goes).await?;
        let left = api.list(&ListParams::default()).await?;
        let left: Vec<String> = left.iter().map(ResourceExt::name_any).collect();
        assert_eq!(left, ["three"]);
        Ok(())
    });
}

fn endpoints(_site: &Site, client: &Client) {
    with_kube(client, "endpoints-lifecycle", async |kube, namespace| {
        let api: Api<Endpoints> = Api::namespaced(kube.clone(), namespace);
        let subsets =
            json!([{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"name": "http", "port": 80}]}]);
        let made = object(json!({"metadata": labelled("web", "lifecycle"), "subsets": subsets}));
        let mut made: Endpoints = api.create(&PostParams::default(), &made).await?;
        let version = made.resource_version().context("a version")?;
        let selected = ListParams::default().labels("suite=lifecycle");
        let params = WatchParams::default().labels("suite=lifecycle");
        let mut events = api.watch(&params, &version).await?.boxed();
        let everywhere = Api::<Endpoints>::all(kube).list(&selected).await?;
        assert_eq!(everywhere.items.len(), 1);

        made.labels_mut().insert("updated".into(), "yes".into());
        api.replace("web", &PostParams::default(), &made).await?;
        assert_eq!(modified(&mut events).await?.labels()["updated"], "yes");
        let got = api.get("web").await?;
        assert_eq!(got.labels()["updated"], "yes");

        let subsets =
            json!([{"addresses": [{"ip": "192.0.2.2"}], "ports": [{"name": "web", "port": 8080}]}]);
        patch(&api, "web", json!({ "subsets": subsets })).await?;
        let seen = modified(&mut events).await?;
        let subset = seen.subsets.unwrap_or_default().remove(0);
        assert_eq!(subset.addresses.unwrap_or_default()[0].ip, "192.0.2.2");
        assert_eq!(subset.ports.unwrap_or_default()[0].port, 8080);

        api.delete_collection(&DeleteParams::default(), &selected).await?;
        assert_eq!(deleted(&mut events).await?.name_any(), "web");
        assert!(api.list(&selected).await?.items.is_empty());
        Ok(())
    });
}

fn slices(_site: &Site, client: &Client) {
    with_kube(client, "endpointslice-api", async |kube, namespace| {
        let api: Api<EndpointSlice> = Api::namespaced(kube.clone(), namespace);
        let slice = |name: &str| -> EndpointSlice {
            object(json!({
                "metadata": labelled(name, "slices"), "addressType": "IPv4",
                "endpoints": [{"addresses": ["192.0.2.1"]}], "ports": [{"name": "http", "port": 80}],
            }))
        };
        let made = api.create(&PostParams::default(), &slice("one")).await?;
        for name in ["two", "three"] {
            api.create(&PostParams::default(), &slice(name)).await?;
        }
        let selected = ListParams::default().labels("suite=slices");
        assert_eq!(api.list(&selected).await?.items.len(), 3);
        let everywhere = Api::<EndpointSlice>::all(kube).list(&selected).await?;
        assert_eq!(everywhere.items.len(), 3);
        assert_eq!(api.get("one").await?.uid(), made.uid());

        let version = everywhere.metadata.resource_version.context("a version")?;
        let params = WatchParams::default().labels("suite=slices");
        let mut events = api.watch(&params, &version).await?.boxed();
        patch(&api, "one", json!({"metadata": {"annotations": {"patched": "yes"}}})).await?;
        let mut seen = modified(&mut events).await?;
        assert_eq!(seen.annotations()["patched"], "yes");
        seen.endpoints.get_or_insert_default()[0].addresses = vec!["192.0.2.9".into()];
        api.replace("one", &PostParams::default(), &seen).await?;
        let seen = modified(&mut events).await?;
        let endpoints = seen.endpoints.unwrap_or_default();
        assert_eq!(endpoints[0].addresses, ["192.0.2.9"]);

        api.delete("one", &DeleteParams::default()).await?;
        assert_eq!(deleted(&mut events).await?.name_any(), "one");
        assert!(api.get_opt("one").await?.is_none());
        api.delete_collection(&DeleteParams::default(), &selected).await?;
        let mut ended =
            [deleted(&mut events).await?.name_any(), deleted(&mut events).await?.name_any()];
        ended.sort();
        assert_eq!(ended, ["three", "two"]);
        assert!(api.list(&selected).await?.items.is_empty());
        Ok(())
    });
}
