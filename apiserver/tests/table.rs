//! Kinds that come and go while the server runs: this one is known to no crate but this test.

mod support;

use std::sync::Arc;

use api::{
    kind::{Kind, Names},
    unstructured::Custom,
    version::Version,
};
use serde_json::{Value, json};
use support::Api;

const GROUP: &str = "example.com";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

fn widgets() -> Arc<dyn Kind> {
    let names = Names::namespaced(GROUP, "v1", "Widget", "widgets");
    Arc::new(Custom::new(names.short(&["wg"]).stored_at("example.com/widgets")))
}

fn widget(name: &str, size: i32) -> Value {
    json!({
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": { "name": name, "labels": { "size": size.to_string() } },
        "spec": { "size": size },
    })
}

#[tokio::test]
async fn a_kind_comes_is_used_and_goes() {
    let api = Api::start().await;
    let unknown = api.get(WIDGETS).await;
    assert_eq!(unknown.code, 404);
    assert_eq!(unknown.body["kind"], "Status");
    api.server.add_kind(widgets()).await.unwrap();

    let created = api.post(WIDGETS, widget("a", 1)).await.ok();
    assert_eq!(created["spec"], json!({ "size": 1 }));
    assert!(created["metadata"]["uid"].is_string());
    let again = api.post(WIDGETS, widget("a", 1)).await;
    assert_eq!(again.body["message"], "widgets.example.com \"a\" already exists");
    let mut watch = api.watch(&format!("{WIDGETS}?watch=1")).await;
    assert_eq!(watch.told().await, "ADDED a");
    api.post(WIDGETS, widget("b", 2)).await.ok();
    assert_eq!(watch.told().await, "ADDED b");
    let patched = api.merge(&format!("{WIDGETS}/a"), json!({ "spec": { "more": [1] } })).await.ok();
    assert_eq!(patched["spec"], json!({ "size": 1, "more": [1] }));
    assert_eq!(patched["metadata"]["generation"], 2);
    assert_eq!(watch.told().await, "MODIFIED a");
    let list = api.get(&format!("{WIDGETS}?labelSelector=size%3D2")).await.ok();
    assert_eq!(list["kind"], "WidgetList");
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let rows = api.request("GET", WIDGETS, &table, "").await.ok();
    assert_eq!(rows["rows"][0]["cells"][0], "a");

    api.delete(&format!("{WIDGETS}/b")).await.ok();
    assert_eq!(watch.told().await, "DELETED b");
    assert!(api.server.remove_kind(GROUP, "v1", "widgets").await);
    assert_eq!(watch.next().await, None, "a watch ends with its kind");
    let gone = api.get(WIDGETS).await;
    assert_eq!((gone.code, &gone.body["reason"]), (404, &json!("NotFound")));
    assert!(!api.server.remove_kind(GROUP, "v1", "widgets").await);
    // What is stored stays, and is there again with the kind.
    api.server.add_kind(widgets()).await.unwrap();
    let list = api.get(WIDGETS).await.ok();
    assert_eq!(list["items"][0]["spec"]["more"], json!([1]));
}

#[tokio::test]
async fn discovery_follows_the_table() {
    let api = Api::start().await;
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let aggregated = [("accept", aggregated)];
    let told = async |wanted: bool| {
        let groups = api.get("/apis").await.ok().to_string();
        assert_eq!(groups.contains(GROUP), wanted, "/apis");
        let groups = api.request("GET", "/apis", &aggregated, "").await.ok().to_string();
        assert_eq!(groups.contains("\"resource\":\"widgets\""), wanted, "aggregated");
        let list = api.get("/apis/example.com/v1").await;
        assert_eq!(list.code, if wanted { 200 } else { 404 });
        let index = api.get("/openapi/v3").await.ok().to_string();
        assert_eq!(index.contains("apis/example.com/v1"), wanted, "OpenAPI v3");
        let v2 = api.get("/openapi/v2").await.ok();
        let path = "/apis/example.com/v1/namespaces/{namespace}/widgets";
        assert_eq!(v2["paths"][path].is_object(), wanted, "OpenAPI v2");
    };
    told(false).await;
    api.server.add_kind(widgets()).await.unwrap();
    told(true).await;
    let list = api.get("/apis/example.com/v1").await.ok();
    assert_eq!(list["resources"][0]["shortNames"], json!(["wg"]));
    assert_eq!(list["resources"][0]["kind"], "Widget");
    api.server.remove_kind(GROUP, "v1", "widgets").await;
    told(false).await;
}

#[tokio::test]
async fn what_is_taken_is_refused_with_a_reason() {
    let api = Api::start().await;
    api.server.add_kind(widgets()).await.unwrap();
    let widgets = |kind: &str, plural: &str| Names::namespaced(GROUP, "v1", kind, plural);
    for (names, want) in [
        (
            widgets("Other", "widgets").stored_at("elsewhere"),
            "example.com/v1 \"widgets\" (Other) is served already, as widgets (Widget)",
        ),
        (
            widgets("Widget", "gadgets"),
            "example.com/v1 \"gadgets\" (Widget) is served already, as widgets (Widget)",
        ),
        (
            widgets("Gadget", "gadgets").stored_at("example.com/widgets"),
            "the storage prefix \"example.com/widgets\" of gadgets overlaps with \"example.com/widgets\"",
        ),
        (
            widgets("Gadget", "gadgets").stored_at("services"),
            "the storage prefix \"services\" of gadgets overlaps with \"services/endpoints\"",
        ),
        (
            widgets("Gadget", "gadgets").stored_at("a/b/c"),
            "the storage prefix \"a/b/c\" must have one or two segments",
        ),
    ] {
        let refused = api.server.add_kind(Arc::new(Custom::new(names))).await;
        assert_eq!(refused, Err(want.to_owned()));
    }
    api.get(WIDGETS).await.ok();
}

/// A kind that is stored as `v1` and served as `v1alpha1`, too: sizes were texts there, below
/// another name, and 7 where nothing was said.
fn gadgets() -> Arc<dyn Kind> {
    let names = |version: &str| Names::namespaced(GROUP, version, "Gadget", "gadgets");
    let older = Version::custom(
        names("v1alpha1"),
        |mut object| {
            let length = object["spec"]["length"].take();
            object["spec"] = json!({ "size": length.as_str().and_then(|l| l.parse::<i64>().ok()) });
            object
        },
        |mut object| {
            let size = object["spec"]["size"].take();
            object["spec"] = json!({ "length": size.to_string() });
            object
        },
    );
    let older = older.with_defaults(|object| {
        if object["spec"]["length"].is_null() {
            object["spec"]["length"] = "7".into();
        }
    });
    Arc::new(Custom::new(names("v1").stored_at("example.com/gadgets")).with_version(older))
}

#[tokio::test]
async fn one_stored_kind_is_served_in_two_versions() {
    let api = Api::start().await;
    api.server.add_kind(gadgets()).await.unwrap();
    let new = "/apis/example.com/v1/namespaces/default/gadgets";
    let old = "/apis/example.com/v1alpha1/namespaces/default/gadgets";
    let group = api.get("/apis/example.com").await.ok();
    assert_eq!(group["preferredVersion"]["version"], "v1");
    assert_eq!(group["versions"][1]["version"], "v1alpha1");
    let mut watch = api.watch(&format!("{old}?watch=1")).await;

    let gadget = |version: &str, name: &str, spec: Value| {
        json!({
            "apiVersion": format!("example.com/{version}"), "kind": "Gadget",
            "metadata": { "name": name }, "spec": spec,
        })
    };
    let created = api.post(old, gadget("v1alpha1", "a", json!({}))).await.ok();
    assert_eq!(created["apiVersion"], "example.com/v1alpha1");
    assert_eq!(created["spec"], json!({ "length": "7" }));
    let read = api.get(&format!("{new}/a")).await.ok();
    assert_eq!(read["apiVersion"], "example.com/v1");
    assert_eq!(read["spec"], json!({ "size": 7 }));
    let event = watch.next().await.unwrap();
    assert_eq!(event["object"], created);

    api.post(new, gadget("v1", "b", json!({ "size": 3 }))).await.ok();
    assert_eq!(watch.next().await.unwrap()["object"]["spec"], json!({ "length": "3" }));
    let list = api.get(old).await.ok();
    assert_eq!(list["apiVersion"], "example.com/v1alpha1");
    assert_eq!(list["items"][1]["spec"], json!({ "length": "3" }));
    let patch = json!({ "spec": { "length": "4" } });
    let patched = api.merge(&format!("{old}/b"), patch).await.ok();
    assert_eq!(patched["spec"], json!({ "length": "4" }));
    assert_eq!(api.get(&format!("{new}/b")).await.ok()["spec"], json!({ "size": 4 }));

    let wrong = api.post(old, gadget("v1", "c", json!({}))).await;
    assert_eq!(wrong.code, 400, "{}", wrong.body);
    assert!(api.server.remove_kind(GROUP, "v1alpha1", "gadgets").await);
    assert_eq!(api.get(new).await.code, 404, "all versions go together");
}
