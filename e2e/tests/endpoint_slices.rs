//! The endpoints controller beside an API server, both as processes: what it makes of pods, nodes
//! and Services that change, and of slices that somebody else touches.

use std::collections::{BTreeMap, BTreeSet};

use e2e::{ApiServer, Backend, Component, wait_for_async};
use k8s_openapi::api::core::v1::{Endpoints, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};

/// A server, its controller, and a client.
struct Bench {
    client: Client,
    _controller: Component,
    _server: ApiServer,
}

impl Bench {
    async fn start() -> anyhow::Result<Self> {
        let server = ApiServer::start(Backend::Embedded)?;
        let kubeconfig = server.kubeconfig()?;
        let kubeconfig = kubeconfig.to_str().expect("a path in UTF-8");
        let flags = ["endpoints-controller", "--kubeconfig", kubeconfig, "--leader-elect=false"];
        let controller = Component::start(flags)?;
        let bench = Self { client: server.client()?, _controller: controller, _server: server };
        bench
            .create::<Node>(json!({"metadata": {"name": "n1", "labels": {
                "topology.kubernetes.io/zone": "z1",
            }}}))
            .await?;
        Ok(bench)
    }

    fn all<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = ()>,
    {
        Api::all(self.client.clone())
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn create<K>(&self, object: Value) -> anyhow::Result<()>
    where
        K: Resource<DynamicType = ()> + serde::Serialize + serde::de::DeserializeOwned,
        K: Clone + std::fmt::Debug,
    {
        let path = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => K::url_path(&(), Some(namespace)),
            None => K::url_path(&(), None),
        };
        let request = kube::api::Request::new(path)
            .create(&PostParams::default(), serde_json::to_vec(&object)?)?;
        self.client.request::<K>(request).await?;
        Ok(())
    }

    /// A Service over the pods with `app: APP`.
    async fn service(&self, name: &str, app: &str) -> anyhow::Result<()> {
        self.create::<Service>(json!({
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"selector": {"app": app}, "ports": [{"port": 80, "targetPort": 8080}]},
        }))
        .await
    }

    async fn pod(&self, number: u16, app: &str) -> anyhow::Result<()> {
        self.create::<Pod>(json!({
            "metadata": {"name": pod_name(number), "namespace": "default", "labels": {"app": app}},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
        }))
        .await?;
        self.status(number, &format!("10.1.{}.{}", number / 200, number % 200 + 1), true).await
    }

    async fn status(&self, number: u16, ip: &str, ready: bool) -> anyhow::Result<()> {
        let word = if ready { "True" } else { "False" };
        let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": word}]}});
        let pods: Api<Pod> = self.api();
        let patch = Patch::Merge(status);
        pods.patch_status(&pod_name(number), &PatchParams::default(), &patch).await?;
        Ok(())
    }

    async fn slices(&self, service: &str) -> Vec<EndpointSlice> {
        let label = format!("kubernetes.io/service-name={service}");
        let slices: Api<EndpointSlice> = self.api();
        slices.list(&ListParams::default().labels(&label)).await.expect("slices are listed").items
    }

    /// Waits until the Service's slices hold these endpoints, as `IP(ready)@zone`.
    async fn wait_endpoints(&self, service: &str, expected: &[&str]) -> anyhow::Result<()> {
        let expected: BTreeSet<String> = expected.iter().map(|it| (*it).to_owned()).collect();
        wait_for_async(&format!("{expected:?} in {service}"), async || {
            let slices = self.slices(service).await;
            let found: Vec<String> = slices.iter().flat_map(shown).collect();
            let seen = found.len() == expected.len()
                && found.iter().cloned().collect::<BTreeSet<_>>() == expected;
            if seen { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await
    }

    /// The resourceVersion of each of the Service's slices.
    async fn versions(&self, service: &str) -> BTreeMap<String, Option<String>> {
        let slices = self.slices(service).await;
        slices.iter().map(|slice| (slice.name_any(), slice.resource_version())).collect()
    }
}

fn pod_name(number: u16) -> String {
    format!("p{number}")
}

fn shown(slice: &EndpointSlice) -> Vec<String> {
    let endpoints = slice.endpoints.iter().flatten();
    let show = |endpoint: &k8s_openapi::api::discovery::v1::Endpoint| {
        let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready);
        let flag = if ready == Some(true) { "r" } else { "" };
        let zone = endpoint.zone.as_deref().unwrap_or_default();
        format!("{}({flag})@{zone}", endpoint.addresses.join(","))
    };
    endpoints.map(show).collect()
}

#[tokio::test]
async fn a_slice_that_somebody_deletes_or_edits_is_repaired() -> anyhow::Result<()> {
    let bench = Bench::start().await?;
    bench.pod(1, "web").await?;
    bench.pod(2, "web").await?;
    bench.service("web", "web").await?;
    let wanted = ["10.1.0.2(r)@z1", "10.1.0.3(r)@z1"];
    bench.wait_endpoints("web", &wanted).await?;

    let slices: Api<EndpointSlice> = bench.api();
    let name = bench.slices("web").await[0].name_any();
    slices.delete(&name, &DeleteParams::default()).await?;
    bench.wait_endpoints("web", &wanted).await?;

    let name = bench.slices("web").await[0].name_any();
    let edit = json!({"endpoints": [{"addresses": ["192.0.2.7"]}]});
    slices.patch(&name, &PatchParams::default(), &Patch::Merge(edit)).await?;
    bench.wait_endpoints("web", &wanted).await?;
    // It goes on from there as before.
    bench.status(1, "10.1.0.2", false).await?;
    bench.wait_endpoints("web", &["10.1.0.2()@z1", "10.1.0.3(r)@z1"]).await
}

#[tokio::test]
async fn a_pod_in_many_services_is_followed_in_each() -> anyhow::Result<()> {
    let bench = Bench::start().await?;
    bench.pod(1, "web").await?;
    let services: Vec<String> = (0..30).map(|number| format!("web-{number}")).collect();
    for service in &services {
        bench.service(service, "web").await?;
    }
    bench.service("other", "other").await?;
    for (ip, ready, shown) in [
        ("10.1.0.2", true, "10.1.0.2(r)@z1"),
        ("10.1.0.2", false, "10.1.0.2()@z1"),
        ("10.1.9.9", true, "10.1.9.9(r)@z1"),
    ] {
        bench.status(1, ip, ready).await?;
        for service in &services {
            bench.wait_endpoints(service, &[shown]).await?;
        }
    }
    let pods: Api<Pod> = bench.api();
    let label = json!({"metadata": {"labels": {"app": "other"}}});
    pods.patch("p1", &PatchParams::default(), &Patch::Merge(label)).await?;
    for service in &services {
        bench.wait_endpoints(service, &[]).await?;
    }
    bench.wait_endpoints("other", &["10.1.9.9(r)@z1"]).await
}

#[tokio::test]
async fn a_node_that_changes_its_zone_or_goes_is_followed() -> anyhow::Result<()> {
    let bench = Bench::start().await?;
    bench.pod(1, "web").await?;
    bench.service("web", "web").await?;
    bench.wait_endpoints("web", &["10.1.0.2(r)@z1"]).await?;
    let nodes: Api<Node> = bench.all();
    let zone = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "z2"}}});
    nodes.patch("n1", &PatchParams::default(), &Patch::Merge(zone)).await?;
    bench.wait_endpoints("web", &["10.1.0.2(r)@z2"]).await?;
    nodes.delete("n1", &DeleteParams::default()).await?;
    bench.wait_endpoints("web", &[]).await
}

#[tokio::test]
async fn a_flip_writes_one_slice_of_many_and_the_endpoints_follow() -> anyhow::Result<()> {
    let bench = Bench::start().await?;
    for number in 0..250 {
        bench.pod(number, "web").await?;
    }
    bench.service("web", "web").await?;
    let all_ready = async || {
        let slices = bench.slices("web").await;
        let ready = slices.iter().flat_map(shown).filter(|it| it.contains("(r)")).count();
        if ready == 250 { Ok(()) } else { Err(format!("{ready} are ready")) }
    };
    wait_for_async("250 ready endpoints", all_ready).await?;
    for number in [7, 120, 249] {
        let before = bench.versions("web").await;
        let ip = format!("10.1.{}.{}", number / 200, number % 200 + 1);
        bench.status(number, &ip, false).await?;
        let gone = format!("{ip}()@z1");
        wait_for_async(&gone, async || {
            let found = bench.slices("web").await.iter().flat_map(shown).any(|it| it == gone);
            if found { Ok(()) } else { Err("it is ready".to_owned()) }
        })
        .await?;
        let after = bench.versions("web").await;
        let written = after.iter().filter(|(name, version)| before.get(*name) != Some(*version));
        assert_eq!(written.count(), 1, "{before:?} {after:?}");
    }
    let endpoints: Api<Endpoints> = bench.api();
    wait_for_async("the Endpoints to say the same", async || {
        let found = endpoints.get("web").await.map_err(|error| error.to_string())?;
        let subset = found.subsets.iter().flatten().next().cloned().unwrap_or_default();
        let count = |list: &Option<Vec<_>>| list.as_ref().map_or(0, Vec::len);
        match (count(&subset.addresses), count(&subset.not_ready_addresses)) {
            (247, 3) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}
