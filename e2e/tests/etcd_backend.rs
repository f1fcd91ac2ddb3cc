//! The API server on etcd: certificates, a member that dies, allocations that were edited by
//! hand; and Events, which go by themselves on either store.

use e2e::{ApiServer, Authority, Backend, Etcd, missing_tool, wait_for_async};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Service};
use kube::api::{PostParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

fn without_etcd() -> bool {
    missing_tool("etcd", "etcd-server")
}

fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("an object")
}

fn maps(server: &ApiServer) -> anyhow::Result<Api<ConfigMap>> {
    Ok(Api::namespaced(server.client()?, "default"))
}

fn map(name: &str) -> ConfigMap {
    object(json!({"metadata": {"name": name}}))
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_is_reached_with_client_certificates() -> anyhow::Result<()> {
    if without_etcd() {
        return Ok(());
    }
    let etcd = Etcd::with_tls(&Authority::new()?)?;
    let tls = etcd.tls().expect("it speaks TLS");
    let ca = format!("--etcd-cafile={}", tls.ca.display());
    let cert = format!("--etcd-certfile={}", tls.client.certificate.display());
    let key = format!("--etcd-keyfile={}", tls.client.key.display());
    let backend = Backend::Etcd(etcd.servers());
    let server = ApiServer::start_with(backend, &[&ca, &cert, &key])?;
    let maps = maps(&server)?;
    let created = maps.create(&PostParams::default(), &map("kept")).await?;
    assert_eq!(maps.get("kept").await?, created);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_dies_is_left_for_another() -> anyhow::Result<()> {
    if without_etcd() {
        return Ok(());
    }
    let mut etcd = Etcd::cluster(3)?;
    // The third member is not known to the server.
    let two = etcd.urls()[..2].join(",");
    let server = ApiServer::start(Backend::Etcd(two))?;
    let maps = maps(&server)?;
    let watched = WatchParams::default().disable_bookmarks();
    let mut events = maps.watch(&watched, "0").await?.boxed();
    let mut acknowledged = Vec::new();
    for member in 0..2 {
        for number in 0..5 {
            let name = format!("map-{member}-{number}");
            // Without a leader etcd refuses for a moment; a write of no known outcome may
            // be there already.
            wait_for_async(&format!("{name} to be written"), async || {
                match maps.create(&PostParams::default(), &map(&name)).await {
                    Ok(_) => Ok(()),
                    Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                    Err(error) => Err(error.to_string()),
                }
            })
            .await?;
            acknowledged.push(name);
        }
        if member == 0 {
            etcd.kill(0);
        }
    }
    let mut seen: Vec<String> = Vec::new();
    while seen.len() < acknowledged.len() {
        let event = events.try_next().await?;
        let Some(WatchEvent::Added(map)) = event else {
            anyhow::bail!("the watch of the API server goes on: {event:?}");
        };
        if map.name_any().starts_with("map-") {
            seen.push(map.name_any());
        }
    }
    assert_eq!(seen, acknowledged);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn allocations_edited_by_hand_are_repaired_at_the_start() -> anyhow::Result<()> {
    if without_etcd() {
        return Ok(());
    }
    const ADDRESS: &str = "/registry/ranges/serviceips/";
    const PORT: &str = "/registry/ranges/servicenodeports/";
    let etcd = Etcd::start()?;
    let mut server = ApiServer::start(Backend::Etcd(etcd.servers()))?;
    let services: Api<Service> = Api::namespaced(server.client()?, "default");
    let port = json!([{"port": 80, "nodePort": 30005}]);
    let spec = json!({"type": "NodePort", "clusterIP": "10.96.0.50", "ports": port});
    let web: Service = object(json!({"metadata": {"name": "web"}, "spec": spec}));
    services.create(&PostParams::default(), &web).await?;
    server.kill();
    let mut store = etcd_client::Client::connect(etcd.urls(), None).await?;
    // Leaked: nobody has them.
    store.put(format!("{ADDRESS}10.96.0.60"), "nobody", None).await?;
    store.put(format!("{PORT}30006"), "nobody", None).await?;
    // Lost: `web` has it.
    store.delete(format!("{PORT}30005"), None).await?;
    // Twice: `twin` has what `web` has.
    let stored = store.get("/registry/services/specs/default/web", None).await?;
    let mut twin: Value = serde_json::from_slice(stored.kvs()[0].value())?;
    twin["metadata"]["name"] = "twin".into();
    twin["metadata"]["uid"] = "00000000-0000-4000-8000-000000000001".into();
    let twin = serde_json::to_string(&twin)?;
    store.put("/registry/services/specs/default/twin", twin, None).await?;
    server.restart()?;
    let taken = |name: &str, address: &str, port: u16| {
        let ports = json!([{"port": 80, "nodePort": port}]);
        let spec = json!({"type": "NodePort", "clusterIP": address, "ports": ports});
        object::<Service>(json!({"metadata": {"name": name}, "spec": spec}))
    };
    let free = taken("free", "10.96.0.60", 30006);
    services.create(&PostParams::default(), &free).await?;
    let lost = taken("lost", "10.96.0.61", 30005);
    let lost = services.create(&PostParams::default(), &lost).await;
    let lost = lost.expect_err("`web` has the port").to_string();
    assert!(lost.contains("30005") && lost.contains("already allocated"), "{lost}");
    let log = server.log();
    for words in [
        "10.96.0.50 is held by",
        "10.96.0.60 is given back",
        "30006 is given back",
        "30005 was free and is taken",
    ] {
        assert!(log.contains(words), "{words}:\n{log}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_by_themselves() -> anyhow::Result<()> {
    let mut etcd = None;
    let mut backends = vec![Backend::Embedded];
    if !without_etcd() {
        let started = etcd.insert(Etcd::start()?);
        backends.push(Backend::Etcd(started.servers()));
    }
    for backend in backends {
        let server = ApiServer::start_with(backend, &["--event-ttl=2s"])?;
        let events: Api<Event> = Api::namespaced(server.client()?, "default");
        let about = json!({"kind": "Pod", "name": "web", "namespace": "default"});
        let event: Event = object(json!({
            "metadata": {"name": "web.1"}, "involvedObject": about, "reason": "Started",
        }));
        let created = events.create(&PostParams::default(), &event).await?;
        let kept = map("kept");
        maps(&server)?.create(&PostParams::default(), &kept).await?;
        let version = created.resource_version().unwrap_or_default();
        let watched = WatchParams::default().disable_bookmarks();
        let mut seen = events.watch(&watched, &version).await?.boxed();
        let gone = seen.try_next().await?;
        assert!(
            matches!(&gone, Some(WatchEvent::Deleted(event)) if event.name_any() == "web.1"),
            "{gone:?}"
        );
        assert!(events.get_opt("web.1").await?.is_none());
        assert!(maps(&server)?.get_opt("kept").await?.is_some());
    }
    Ok(())
}
