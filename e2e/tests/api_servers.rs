//! Two API servers on one etcd are one: what is written through one is read, watched and
//! continued through the other, and no address or port is given twice.

use std::collections::BTreeSet;

use e2e::{ApiServer, Backend, Etcd, missing_tool, wait_for_async};
use futures::{StreamExt, TryStreamExt, future};
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{
    DeleteParams, ListParams, ObjectMeta, PostParams, VersionMatch, WatchEvent, WatchParams,
};
use kube::{Api, ResourceExt};
use serde_json::json;

const WRITERS: usize = 8;
/// As many as there are node ports.
const SERVICES: usize = 64;
const RANGES: &[&str] =
    &["--service-cluster-ip-range=10.96.0.0/25", "--service-node-port-range=31000-31063"];

/// Two servers on one etcd; none if there is no etcd.
fn pair(arguments: [&[&str]; 2]) -> anyhow::Result<Option<(Etcd, [ApiServer; 2])>> {
    if missing_tool("etcd", "etcd-server") {
        return Ok(None);
    }
    let etcd = Etcd::start()?;
    let servers = ApiServer::group(&Backend::Etcd(etcd.servers()), arguments)?;
    Ok(Some((etcd, servers)))
}

fn service(name: &str) -> Service {
    let object = json!({
        "metadata": {"name": name},
        "spec": {"type": "NodePort", "ports": [{"port": 80}]},
    });
    serde_json::from_value(object).expect("a Service")
}

fn apis<K>(servers: &[ApiServer; 2]) -> anyhow::Result<[Api<K>; 2]>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    let [first, second] = servers;
    let api = |server: &ApiServer| anyhow::Ok(Api::namespaced(server.client()?, "default"));
    Ok([api(first)?, api(second)?])
}

/// Creates Services through both servers at once until all node ports are given.
async fn fill(apis: &[Api<Service>; 2], round: &str) -> anyhow::Result<Vec<Service>> {
    let writer = async |writer: usize| {
        let mut created = Vec::new();
        for number in 0..SERVICES / WRITERS {
            let name = format!("{round}-{writer}-{number}");
            let api = &apis[(writer + number) % 2];
            let given = api.create(&PostParams::default(), &service(&name)).await?;
            // At once through the other one.
            let other = &apis[(writer + number + 1) % 2];
            assert_eq!(other.get(&name).await?, given);
            created.push(given);
        }
        anyhow::Ok(created)
    };
    let written = future::try_join_all((0..WRITERS).map(writer)).await?;
    Ok(written.into_iter().flatten().collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_address_and_no_port_is_given_twice() -> anyhow::Result<()> {
    let Some((_etcd, servers)) = pair([RANGES, RANGES])? else {
        return Ok(());
    };
    let apis = apis::<Service>(&servers)?;
    for round in ["first", "second"] {
        let services = fill(&apis, round).await?;
        let (mut addresses, mut ports) = (BTreeSet::new(), BTreeSet::new());
        for service in &services {
            let spec = service.spec.clone().unwrap_or_default();
            let address = spec.cluster_ip.unwrap_or_default();
            assert!(addresses.insert(address.clone()), "{address} is given twice");
            let port = spec.ports.unwrap_or_default()[0].node_port;
            assert!(ports.insert(port), "{port:?} is given twice");
        }
        assert_eq!(ports.len(), SERVICES);
        for api in &apis {
            let full = api.create(&PostParams::default(), &service("one-more")).await;
            let full = full.expect_err("all ports are given").to_string();
            assert!(full.contains("range is full"), "{full}");
        }
        // What one has given, the other takes back.
        let deleted = services.iter().enumerate().map(|(number, service)| {
            let api = &apis[number % 2];
            async move { api.delete(&service.name_any(), &DeleteParams::default()).await }
        });
        future::try_join_all(deleted).await?;
    }
    Ok(())
}

fn map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        ..ConfigMap::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_of_one_is_a_version_of_the_other() -> anyhow::Result<()> {
    let Some((_etcd, servers)) = pair([&[], &[]])? else {
        return Ok(());
    };
    let [first, second] = apis::<ConfigMap>(&servers)?;
    let mut versions = Vec::new();
    for number in 0..10 {
        let created = first.create(&PostParams::default(), &map(&format!("map-{number}"))).await?;
        versions.push(created.resource_version().unwrap_or_default());
        // Not older, and as old as the version says.
        let fresh = ListParams::default().at(&versions[number]);
        for (matching, expected) in
            [(VersionMatch::NotOlderThan, number + 1), (VersionMatch::Exact, number + 1)]
        {
            let listed = second.list(&fresh.clone().matching(matching)).await?;
            let maps = listed.items.iter().filter(|map| map.name_any().starts_with("map-"));
            assert_eq!(maps.count(), expected);
        }
    }
    // A watch that began at one goes on at the other.
    let from = |version: &str| {
        let params = WatchParams::default().disable_bookmarks();
        let version = version.to_owned();
        let second = second.clone();
        async move { anyhow::Ok(second.watch(&params, &version).await?.boxed()) }
    };
    let mut events = from(&versions[3]).await?;
    for number in 4..10 {
        let seen = events.try_next().await?;
        assert!(
            matches!(&seen, Some(WatchEvent::Added(map)) if map.name_any() == format!("map-{number}")),
            "{seen:?}"
        );
    }
    first.create(&PostParams::default(), &map("while-watched")).await?;
    let seen = events.try_next().await?;
    assert!(
        matches!(&seen, Some(WatchEvent::Added(map)) if map.name_any() == "while-watched"),
        "{seen:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_bookmarks_go_on_at_the_other() -> anyhow::Result<()> {
    let Some((_etcd, servers)) = pair([&[], &[]])? else {
        return Ok(());
    };
    let apis = apis::<ConfigMap>(&servers)?;
    for number in 0..10 {
        let created = map(&format!("map-{number}"));
        apis[number % 2].create(&PostParams::default(), &created).await?;
    }
    let mut names = Vec::new();
    let mut page = ListParams::default().limit(3);
    for turn in 0.. {
        let listed = apis[turn % 2].list(&page).await?;
        names.extend(listed.items.iter().map(ResourceExt::name_any));
        // Later ones belong to no page that follows.
        let later = map(&format!("map-0-later-{turn}"));
        apis[turn % 2].create(&PostParams::default(), &later).await?;
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = ListParams::default().limit(3).continue_token(&token),
            None => break,
        }
    }
    names.retain(|name| name.starts_with("map-"));
    let expected: Vec<String> = (0..10).map(|number| format!("map-{number}")).collect();
    assert_eq!(names, expected);

    let [first, second] = &apis;
    let initial = WatchParams::default().initial_events();
    let mut events = first.watch(&initial, "0").await?.boxed();
    let bookmark = loop {
        if let Some(WatchEvent::Bookmark(bookmark)) = events.try_next().await? {
            break bookmark.metadata.resource_version;
        }
    };
    first.create(&PostParams::default(), &map("after-the-bookmark")).await?;
    let resumed = WatchParams::default().disable_bookmarks();
    let mut events = second.watch(&resumed, &bookmark).await?.boxed();
    let seen = events.try_next().await?;
    assert!(
        matches!(&seen, Some(WatchEvent::Added(map)) if map.name_any() == "after-the-bookmark"),
        "{seen:?}"
    );
    Ok(())
}

/// Waits until `default/kubernetes` lists these addresses, in Endpoints and EndpointSlice.
async fn listed(server: &ApiServer, expected: &[&str]) -> anyhow::Result<()> {
    let client = server.client()?;
    let endpoints: Api<Endpoints> = Api::namespaced(client.clone(), "default");
    let slices: Api<EndpointSlice> = Api::namespaced(client, "default");
    wait_for_async(&format!("{expected:?} in default/kubernetes"), async || {
        let classic = endpoints.get("kubernetes").await.expect("it is served");
        let classic = classic.subsets.into_iter().flatten();
        let classic = classic.flat_map(|subset| subset.addresses.unwrap_or_default());
        let classic: Vec<String> = classic.map(|address| address.ip).collect();
        let sliced = slices.get("kubernetes").await.expect("it is served");
        let sliced = sliced.endpoints.into_iter().flatten();
        let sliced: Vec<String> = sliced.flat_map(|it| it.addresses).collect();
        if classic == expected && sliced == expected {
            Ok(())
        } else {
            Err(format!("{classic:?}, {sliced:?}"))
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_of_the_api_lists_the_servers_that_live() -> anyhow::Result<()> {
    let advertised: [&[&str]; 2] =
        [&["--advertise-address=192.0.2.1"], &["--advertise-address=192.0.2.2"]];
    let Some((_etcd, [first, mut second])) = pair(advertised)? else {
        return Ok(());
    };
    let both = ["192.0.2.1", "192.0.2.2"];
    listed(&first, &both).await?;
    // One that ends says so: when it is gone, so is its address.
    second.end();
    let endpoints: Api<Endpoints> = Api::namespaced(first.client()?, "default");
    let subsets = endpoints.get("kubernetes").await?.subsets.unwrap_or_default();
    let addresses = subsets[0].addresses.clone().unwrap_or_default();
    assert_eq!(addresses.len(), 1, "{addresses:?}");
    listed(&first, &both[..1]).await?;
    second.restart()?;
    listed(&first, &both).await?;
    // One that dies is gone when its lease has run out.
    second.kill();
    listed(&first, &both[..1]).await
}
