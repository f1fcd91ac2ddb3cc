//! `default/kubernetes`: it comes back when it was deleted, and lists every living server.
//! Never waits for a lease to end: a server that ends says so.

mod support;

use std::{net::IpAddr, sync::Arc, time::Duration};

use apiserver::{
    advertise::{Advertised, PREFIX, publish, withdraw},
    bootstrap::{bootstrap, bootstrap_regularly},
};
use serde_json::Value;
use store::{Embedded, Op, Store};
use support::Api;

const SERVICE: &str = "/api/v1/namespaces/default/services/kubernetes";
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints/kubernetes";
const SLICE: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";

fn advertised(address: &str) -> Advertised {
    Advertised { address: address.parse::<IpAddr>().unwrap(), port: 6443 }
}

/// The addresses of Endpoints and of the slice, which are the same.
async fn addresses(api: &Api) -> Vec<String> {
    let texts = |values: Vec<Value>| -> Vec<String> {
        let texts = values.iter().map(|v| v.as_str().unwrap().to_owned());
        texts.collect()
    };
    let endpoints = api.get(ENDPOINTS).await.ok();
    let subset = endpoints["subsets"][0]["addresses"].as_array().unwrap();
    let classic = texts(subset.iter().map(|a| a["ip"].clone()).collect());
    let slice = api.get(SLICE).await.ok();
    let listed = slice["endpoints"].as_array().unwrap();
    let sliced = texts(listed.iter().map(|e| e["addresses"][0].clone()).collect());
    assert_eq!(classic, sliced);
    classic
}

#[tokio::test]
async fn what_was_deleted_comes_back() {
    let api = Api::start().await;
    let looking_after = tokio::spawn(bootstrap_regularly(
        api.server.clone(),
        advertised("192.0.2.1"),
        Duration::from_millis(1),
    ));
    for path in [SERVICE, ENDPOINTS, SLICE] {
        let collection = path.trim_end_matches("/kubernetes");
        let mut watch = api
            .watch(&format!("{collection}?watch=1&fieldSelector=metadata.name%3Dkubernetes"))
            .await;
        assert_eq!(watch.told().await, "ADDED kubernetes");
        api.delete(path).await.ok();
        assert_eq!(watch.told().await, "DELETED kubernetes");
        assert_eq!(watch.told().await, "ADDED kubernetes");
    }
    looking_after.abort();
    let service = api.get(SERVICE).await.ok();
    assert_eq!(service["spec"]["clusterIP"], "10.96.0.1");
    assert_eq!(addresses(&api).await, ["192.0.2.1"]);
}

#[tokio::test]
async fn servers_of_one_store_are_all_listed_while_they_live() {
    let store = Arc::new(Embedded::in_memory().unwrap());
    let first = Api::over(store.clone()).await;
    let second = Api::over(store).await;
    let (one, two) = (advertised("192.0.2.1"), advertised("192.0.2.2"));
    bootstrap(&second.server, two).await.unwrap();
    assert_eq!(addresses(&first).await, ["192.0.2.1", "192.0.2.2"]);
    publish(&first.server, one).await.unwrap();
    assert_eq!(addresses(&first).await, ["192.0.2.1", "192.0.2.2"]);
    withdraw(&second.server, two).await;
    assert_eq!(addresses(&first).await, ["192.0.2.1"]);
    // Nothing would be better than the last one's.
    withdraw(&first.server, one).await;
    assert_eq!(addresses(&first).await, ["192.0.2.1"]);
}

#[tokio::test]
async fn a_server_that_comes_or_goes_is_noticed_at_once() {
    let store = Arc::new(Embedded::in_memory().unwrap());
    let api = Api::over(store.clone()).await;
    let looking_after = tokio::spawn(bootstrap_regularly(
        api.server.clone(),
        advertised("192.0.2.1"),
        Duration::from_secs(3600),
    ));
    // The slice is written last.
    let collection = SLICE.trim_end_matches("/kubernetes");
    let mut watch = api.watch(&format!("{collection}?watch=1")).await;
    assert_eq!(watch.told().await, "ADDED kubernetes");
    let key = format!("{PREFIX}192.0.2.9");
    let (value, lease) = ("{}".into(), 0);
    let come = Op::Put { key: key.clone(), value, lease };
    store.txn(vec![], vec![come]).await.unwrap();
    assert_eq!(watch.told().await, "MODIFIED kubernetes");
    store.txn(vec![], vec![Op::Delete { key }]).await.unwrap();
    assert_eq!(watch.told().await, "MODIFIED kubernetes");
    looking_after.abort();
    assert_eq!(addresses(&api).await, ["192.0.2.1"]);
}

#[tokio::test]
async fn what_is_right_is_left_alone() {
    let api = Api::start().await;
    let labels = serde_json::json!({ "metadata": { "labels": { "mine": "yes" } } });
    for path in [SERVICE, ENDPOINTS, SLICE] {
        let labelled = api.merge(path, labels.clone()).await.ok();
        bootstrap(&api.server, advertised("192.0.2.1")).await.unwrap();
        assert_eq!(api.get(path).await.ok(), labelled);
    }
}
