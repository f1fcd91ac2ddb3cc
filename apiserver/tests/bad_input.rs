//! What clients get for requests that are wrong.

mod support;

use axum::body::Body;
use serde_json::json;
use support::{Api, config_map, service};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SERVICES: &str = "/api/v1/namespaces/default/services";

/// Method, path, media type and body of a request, and how its error begins.
type Wrong = (&'static str, &'static str, &'static str, &'static str, &'static str);

const JSON: &str = "application/json";

/// Paths that nothing is at, and verbs that do not go with them.
const WRONG_PATHS: &[Wrong] = &[
    ("GET", "/api/v1/wombats", JSON, "", "404 NotFound: the server could not find"),
    ("GET", "/apis/none.io/v1", JSON, "", "404 NotFound: the server could not find"),
    ("GET", "/nothing/here", JSON, "", "404 NotFound: the server could not find"),
    ("GET", "/api/v1/namespaces/default/pods/x", JSON, "", "404 NotFound: pods \"x\" not found"),
    ("POST", "/api/v1/namespaces/default/configmaps/x", JSON, "{}", "405 MethodNotAllowed"),
    ("PUT", MAPS, JSON, "{}", "405 MethodNotAllowed"),
    (
        "DELETE",
        "/api/v1/namespaces",
        JSON,
        "",
        "405 MethodNotAllowed: deletecollection is not supported on resources of kind \"namespaces\"",
    ),
    (
        "DELETE",
        "/api/v1/namespaces/kube-system",
        JSON,
        "",
        "403 Forbidden: namespaces \"kube-system\" is forbidden: this namespace may not be deleted",
    ),
    ("POST", "/version", JSON, "{}", "405 MethodNotAllowed"),
    (
        "POST",
        "/api/v1/namespaces/none/configmaps",
        JSON,
        r#"{"metadata":{"name":"a"}}"#,
        "404 NotFound: namespaces \"none\" not found",
    ),
];

/// Bodies, and the media types that they say they are.
const WRONG_BODIES: &[Wrong] = &[
    ("POST", MAPS, JSON, "{\"metadata\":\n {\"name\" \"a\"}}", "400 BadRequest: "),
    ("POST", MAPS, "application/yaml", "metadata:\n  name: [a", "400 BadRequest: "),
    ("POST", MAPS, JSON, "[1]", "400 BadRequest: "),
    (
        "POST",
        MAPS,
        JSON,
        r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"a"}}"#,
        "400 BadRequest: the kind in the data (Secret)",
    ),
    ("POST", MAPS, JSON, r#"{"metadata":{"name":"a"},"data":{"x":1}}"#, "400 BadRequest: "),
    ("POST", MAPS, JSON, r#"{"metadata":{"name":"No_Name"}}"#, "422 Invalid: "),
    (
        "POST",
        MAPS,
        JSON,
        r#"{"metadata":{"name":"a","namespace":"other"}}"#,
        "400 BadRequest: the namespace of the provided object",
    ),
    (
        "POST",
        MAPS,
        JSON,
        r#"{"metadata":{"name":"a","resourceVersion":"5"}}"#,
        "400 BadRequest: resourceVersion should not be set",
    ),
    ("POST", "/api/v1/configmaps", JSON, r#"{"metadata":{"name":"a"}}"#, "400 BadRequest: "),
    (
        "POST",
        MAPS,
        "application/vnd.kubernetes.protobuf",
        "k8s",
        "400 BadRequest: the body is not protobuf of Kubernetes: byte 0: ",
    ),
    ("POST", MAPS, "text/csv", "a,b", "415 UnsupportedMediaType"),
    (
        "DELETE",
        "/api/v1/namespaces/default/configmaps/x",
        JSON,
        r#"{"propagationPolicy":"Orphan","orphanDependents":true}"#,
        "400 BadRequest: orphanDependents and propagationPolicy",
    ),
    (
        "POST",
        MAPS,
        JSON,
        "{}",
        "422 Invalid: ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName",
    ),
    ("PATCH", "/api/v1/namespaces/kube-system", JSON, "{}", "415 UnsupportedMediaType"),
    (
        "PATCH",
        "/api/v1/namespaces/kube-system",
        "application/json-patch+json",
        "{",
        "400 BadRequest: ",
    ),
];

/// Parameters of the query.
const WRONG_PARAMETERS: &[Wrong] = &[
    (
        "GET",
        "/api/v1/configmaps?sendInitialEvents=true",
        JSON,
        "",
        "400 BadRequest: sendInitialEvents",
    ),
    ("GET", "/api/v1/configmaps?labelSelector=a%3D%3D%3Db", JSON, "", "400 BadRequest: "),
    (
        "GET",
        "/api/v1/configmaps?fieldSelector=spec.x%3Db",
        JSON,
        "",
        "400 BadRequest: field label not supported",
    ),
    ("GET", "/api/v1/configmaps?limit=many", JSON, "", "400 BadRequest: limit"),
    (
        "GET",
        "/api/v1/configmaps?continue=zzz",
        JSON,
        "",
        "400 BadRequest: continue key is not valid",
    ),
    ("GET", "/api/v1/configmaps?resourceVersion=x", JSON, "", "400 BadRequest: "),
    (
        "POST",
        "/api/v1/namespaces/default/configmaps?fieldValidation=Maybe",
        JSON,
        "{}",
        "400 BadRequest: fieldValidation",
    ),
    (
        "POST",
        "/api/v1/namespaces/default/configmaps?dryRun=Some",
        JSON,
        "{}",
        "400 BadRequest: dryRun",
    ),
];

/// Each is answered with a `Status` that begins as said.
async fn check(table: &[Wrong]) {
    let api = Api::start().await;
    for &(method, path, media_type, body, want) in table {
        let answer = api.request(method, path, &[("content-type", media_type)], body).await;
        let error = answer.error();
        assert!(error.starts_with(want), "{method} {path} {body}\n got {error}\nwant {want}");
        assert_eq!(answer.body["kind"], "Status", "{method} {path}");
    }
}

#[tokio::test]
async fn wrong_paths_are_not_found() {
    check(WRONG_PATHS).await;
}

#[tokio::test]
async fn wrong_bodies_are_refused() {
    check(WRONG_BODIES).await;
}

#[tokio::test]
async fn wrong_parameters_are_refused() {
    check(WRONG_PARAMETERS).await;
}

#[tokio::test]
async fn syntax_errors_name_the_place() {
    let api = Api::start().await;
    let headers = [("content-type", "application/json")];
    let error = api.request("POST", MAPS, &headers, "{\n  \"metadata\": {,}\n}").await.error();
    assert!(error.contains("line 2"), "{error}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let api = Api::start().await;
    let body = config_map("big", &"x".repeat(3 << 20)).to_string();
    let answer = api.request("POST", MAPS, &[], body).await;
    assert_eq!(
        answer.error(),
        "413 RequestEntityTooLarge: Request entity too large: limit is 3145728"
    );
}

#[tokio::test]
async fn unknown_fields_are_warned_of_or_refused() {
    let api = Api::start().await;
    let mut object = config_map("a", "1");
    object["dota"] = json!({});
    let strict = api.post(&format!("{MAPS}?fieldValidation=Strict"), object.clone()).await.error();
    assert!(strict.contains("strict decoding error: unknown field \"dota\""), "{strict}");
    let silent =
        api.post(&format!("{MAPS}?fieldValidation=Ignore&dryRun=All"), object.clone()).await;
    assert_eq!((silent.code, silent.warnings()), (201, Vec::new()));
    let warned = api.post(MAPS, object).await;
    assert_eq!(warned.warnings(), ["299 - \"unknown field \\\"dota\\\"\""]);
    assert_eq!(warned.ok().get("dota"), None);
}

#[tokio::test]
async fn only_json_is_produced() {
    let api = Api::start().await;
    for (accept, code) in [
        ("application/vnd.kubernetes.protobuf", 406),
        ("application/vnd.kubernetes.protobuf, application/json", 200),
        ("text/html", 406),
        ("*/*", 200),
    ] {
        let answer = api.request("GET", MAPS, &[("accept", accept)], Body::empty()).await;
        assert_eq!(answer.code, code, "{accept}");
    }
}

#[tokio::test]
async fn reading_endpoints_warns() {
    let api = Api::start().await;
    let answer = api.get("/api/v1/endpoints").await;
    assert_eq!(
        answer.warnings(),
        ["299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\""]
    );
}

#[tokio::test]
async fn wrong_services_name_the_field() {
    let api = Api::start().await;
    for (spec, field) in [
        (
            json!({ "externalTrafficPolicy": "local", "type": "NodePort" }),
            "spec.externalTrafficPolicy",
        ),
        (json!({ "ports": [{ "port": 0 }] }), "spec.ports[0].port"),
        (json!({ "type": "Sometimes" }), "spec.type"),
        (json!({ "clusterIP": "300.1.1.1" }), "spec.clusterIPs"),
        (json!({ "ipFamilies": ["IPv6"] }), "spec.ipFamilies[0]"),
        (json!({ "ipFamilyPolicy": "RequireDualStack" }), "spec.ipFamilyPolicy"),
    ] {
        let answer = api.post(SERVICES, service("web", spec.clone())).await;
        assert_eq!(answer.code, 422, "{spec} {:#}", answer.body);
        let causes = answer.body["details"]["causes"].as_array().unwrap().clone();
        let fields: Vec<&str> = causes.iter().filter_map(|cause| cause["field"].as_str()).collect();
        assert!(fields.iter().any(|found| found.starts_with(field)), "{spec}: {fields:?}");
    }
}
