//! Lists and watches: pages, selectors, resuming, and the promise that a watch never skips,
//! repeats or reorders a revision.

mod support;

use std::sync::Arc;

use apiserver::watch_cache::state::EVENTS_KEPT;
use serde_json::json;
use store::{Embedded, Store};
use support::{Api, config_map, pod, version};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn names(list: &serde_json::Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn pages_are_of_one_revision() {
    let api = Api::start().await;
    for at in 0..7 {
        api.post(MAPS, config_map(&format!("m{at}"), "1")).await.ok();
    }
    let mut page = api.get(&format!("{MAPS}?limit=3")).await.ok();
    assert_eq!(page["metadata"]["remainingItemCount"], 4);
    let first = version(&page);
    let mut seen: Vec<String> = names(&page).into_iter().map(str::to_owned).collect();
    api.delete(&format!("{MAPS}/m5")).await.ok();
    api.post(MAPS, config_map("m8", "1")).await.ok();
    while let Some(token) = page["metadata"]["continue"].as_str().map(str::to_owned) {
        page = api.get(&format!("{MAPS}?limit=3&continue={token}")).await.ok();
        assert_eq!(version(&page), first);
        seen.extend(names(&page).into_iter().map(str::to_owned));
    }
    assert_eq!(seen, ["m0", "m1", "m2", "m3", "m4", "m5", "m6"]);
}

#[tokio::test]
async fn a_page_of_a_compacted_revision_is_expired() {
    let store = Arc::new(Embedded::in_memory().unwrap());
    let api = Api::over(store.clone()).await;
    for at in 0..4 {
        api.post(MAPS, config_map(&format!("m{at}"), "1")).await.ok();
    }
    let page = api.get(&format!("{MAPS}?limit=2")).await.ok();
    let token = page["metadata"]["continue"].as_str().unwrap();
    let newest = api.post(MAPS, config_map("m9", "1")).await.ok();
    // A fresh read: the cache is past the first page's revision, too.
    api.get(MAPS).await.ok();
    store.compact(version(&newest)).await.unwrap();
    let error = api.get(&format!("{MAPS}?limit=2&continue={token}")).await.error();
    assert!(error.starts_with("410 Expired"), "{error}");
}

#[tokio::test]
async fn lists_as_of_a_revision() {
    let api = Api::start().await;
    let first = version(&api.post(MAPS, config_map("a", "1")).await.ok());
    api.post(MAPS, config_map("b", "1")).await.ok();
    let exact = format!("{MAPS}?resourceVersion={first}&resourceVersionMatch=Exact");
    assert_eq!(names(&api.get(&exact).await.ok()), ["a"]);
    // A fresh read: the lists that may be old are as new then.
    api.get(MAPS).await.ok();
    let newer = format!("{MAPS}?resourceVersion={first}");
    assert_eq!(names(&api.get(&newer).await.ok()), ["a", "b"]);
    assert_eq!(names(&api.get(&format!("{MAPS}?resourceVersion=0")).await.ok()), ["a", "b"]);
}

#[tokio::test]
async fn selectors() {
    let api = Api::start().await;
    for (name, node, tier) in [("a", "n1", "front"), ("b", "n2", "front"), ("c", "n1", "back")] {
        let mut object = pod(name, node);
        object["metadata"]["labels"] = json!({ "tier": tier });
        api.post(PODS, object).await.ok();
    }
    for (query, want) in [
        ("labelSelector=tier%3Dfront", vec!["a", "b"]),
        ("labelSelector=tier+notin+(front)", vec!["c"]),
        ("fieldSelector=spec.nodeName%3Dn1", vec!["a", "c"]),
        ("fieldSelector=metadata.name%3Db", vec!["b"]),
        ("fieldSelector=spec.nodeName%3Dn1&labelSelector=tier%3Dfront", vec!["a"]),
        ("labelSelector=missing", vec![]),
    ] {
        assert_eq!(names(&api.get(&format!("{PODS}?{query}")).await.ok()), want, "{query}");
        let all = api.get(&format!("/api/v1/pods?{query}")).await.ok();
        assert_eq!(names(&all), want, "{query}");
    }
}

#[tokio::test]
async fn tables_and_metadata_only() {
    let api = Api::start().await;
    api.post(PODS, pod("a", "n1")).await.ok();
    let accept = |form: &'static str| [("accept", form)];
    let table = accept("application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
    let body = axum::body::Body::empty;
    let answer = api.request("GET", PODS, &table, body()).await.ok();
    assert_eq!(answer["kind"], "Table");
    assert_eq!(answer["columnDefinitions"][0]["name"], "Name");
    assert_eq!(answer["rows"][0]["cells"][0], "a");
    assert_eq!(answer["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let partial = accept("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io");
    let answer = api.request("GET", PODS, &partial, body()).await.ok();
    assert_eq!(answer["kind"], "PartialObjectMetadataList");
    assert_eq!(answer["items"][0].get("spec"), None);
}

#[tokio::test]
async fn objects_enter_and_leave_a_selection() {
    let api = Api::start().await;
    let listed = api.get(MAPS).await.ok();
    let from = version(&listed);
    let mut watch =
        api.watch(&format!("{MAPS}?watch=1&resourceVersion={from}&labelSelector=on")).await;
    let path = format!("{MAPS}/a");
    api.post(MAPS, config_map("a", "1")).await.ok();
    api.merge(&path, json!({ "metadata": { "labels": { "on": "" } } })).await.ok();
    assert_eq!(watch.told().await, "ADDED a");
    api.merge(&path, json!({ "data": { "value": "2" } })).await.ok();
    assert_eq!(watch.told().await, "MODIFIED a");
    let left = api.merge(&path, json!({ "metadata": { "labels": null } })).await.ok();
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "DELETED");
    assert_eq!(version(&event["object"]), version(&left));
    assert_eq!(event["object"]["metadata"]["labels"]["on"], "", "the last selected state");
}

#[tokio::test]
async fn a_streaming_list_ends_with_a_bookmark() {
    let api = Api::start().await;
    api.post(MAPS, config_map("a", "1")).await.ok();
    let query =
        "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = api.watch(&format!("{MAPS}?{query}")).await;
    assert_eq!(watch.told().await, "ADDED a");
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["kind"], "ConfigMap");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    api.post(MAPS, config_map("b", "1")).await.ok();
    assert_eq!(watch.told().await, "ADDED b");
}

#[tokio::test]
async fn a_watch_ends_after_its_timeout_with_a_bookmark() {
    let api = Api::start().await;
    let created = api.post("/api/v1/namespaces", json!({ "metadata": { "name": "x" } })).await.ok();
    let mut watch = api
        .watch(&format!("{MAPS}?watch=1&timeoutSeconds=1&allowWatchBookmarks=1&resourceVersion=0"))
        .await;
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert!(version(&bookmark["object"]) >= version(&created), "writes of other kinds count");
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn a_watch_goes_on_over_a_restart() {
    let store = Arc::new(Embedded::in_memory().unwrap());
    let first = Api::over(store.clone()).await;
    let from = version(&first.get(MAPS).await.ok());
    first.post(MAPS, config_map("a", "1")).await.ok();
    let restarted = Api::over(store).await;
    let mut watch = restarted.watch(&format!("{MAPS}?watch=1&resourceVersion={from}")).await;
    assert_eq!(watch.told().await, "ADDED a");
}

#[tokio::test]
async fn a_watch_from_before_what_is_kept_is_expired() {
    let store = Arc::new(Embedded::in_memory().unwrap());
    Api::over(store.clone()).await.post(MAPS, config_map("a", "1")).await.ok();
    store.compact(store.current_revision().await.unwrap()).await.unwrap();
    let restarted = Api::over(store).await;
    let mut watch = restarted.watch(&format!("{MAPS}?watch=1&resourceVersion=1")).await;
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_ended() {
    let api = Api::start().await;
    let from = version(&api.get(MAPS).await.ok());
    api.post(MAPS, config_map("a", "0")).await.ok();
    let mut watch = api.watch(&format!("{MAPS}?watch=1&resourceVersion={from}")).await;
    assert_eq!(watch.told().await, "ADDED a");
    let path = format!("{MAPS}/a");
    for at in 1..=EVENTS_KEPT + 1 {
        api.merge(&path, json!({ "data": { "value": at.to_string() } })).await.ok();
    }
    api.get(&path).await.ok();
    let event = watch.next().await.unwrap();
    assert_eq!(event["object"]["reason"], "Expired", "{event:#}");
    assert_eq!(watch.next().await, None);
}

/// Writers of many objects at once; every watcher, whenever it began and however often it
/// resumed, sees every revision of its objects once, in order, with the right state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_revision_is_skipped_repeated_or_reordered() {
    const WRITERS: usize = 6;
    const WRITES: usize = 60;
    let api = Api::start().await;
    let from = version(&api.get(MAPS).await.ok());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let api = api.clone();
            tokio::spawn(async move {
                let (name, mut revisions) = (format!("w{writer}"), Vec::new());
                let path = format!("{MAPS}/{name}");
                for at in 0..WRITES {
                    let written = match at % 10 {
                        0 => api.post(MAPS, config_map(&name, "new")).await.ok(),
                        9 => {
                            api.delete(&path).await.ok();
                            continue;
                        }
                        _ => api
                            .merge(&path, json!({ "data": { "value": at.to_string() } }))
                            .await
                            .ok(),
                    };
                    revisions.push(version(&written));
                }
                revisions
            })
        })
        .collect();
    let watchers: Vec<_> = (0..4)
        .map(|watcher| {
            let api = api.clone();
            tokio::spawn(async move {
                let (mut seen, mut deleted, mut at) = (Vec::new(), 0, from);
                while deleted < WRITERS * WRITES / 10 {
                    let mut watch =
                        api.watch(&format!("{MAPS}?watch=1&resourceVersion={at}")).await;
                    // Resumes after a few events, each watcher after another number.
                    for _ in 0..(7 + watcher * 13) {
                        if deleted == WRITERS * WRITES / 10 {
                            break;
                        }
                        let event = watch.next().await.unwrap();
                        let revision = version(&event["object"]);
                        assert!(revision > at, "{revision} after {at}");
                        at = revision;
                        match event["type"].as_str().unwrap() {
                            "DELETED" => deleted += 1,
                            _ => seen.push(revision),
                        }
                    }
                }
                seen
            })
        })
        .collect();
    let mut written = Vec::new();
    for writer in writers {
        written.extend(writer.await.unwrap());
    }
    written.sort_unstable();
    for watcher in watchers {
        assert_eq!(watcher.await.unwrap(), written);
    }
}

#[tokio::test]
async fn two_servers_on_one_store_see_each_others_writes() {
    let store = Arc::new(Embedded::in_memory().unwrap());
    let one = Api::over(store.clone()).await;
    let two = Api::over(store).await;
    let mut watch = two.watch(&format!("{MAPS}?watch=1&resourceVersion=0")).await;
    one.post(MAPS, config_map("a", "1")).await.ok();
    assert_eq!(two.get(&format!("{MAPS}/a")).await.ok()["data"]["value"], "1");
    assert_eq!(watch.told().await, "ADDED a");
}
