//! Which handler a path leads to, and what is said where there is none.

mod support;

use axum::body::Body;
use support::Api;

const NOT_FOUND: &str = r#"{"apiVersion":"v1","kind":"Status","code":404,"message":"the server could not find the requested resource","metadata":{},"reason":"NotFound","status":"Failure"}"#;
const NOT_ALLOWED: &str = r#"{"apiVersion":"v1","kind":"Status","code":405,"message":"the server does not allow this method on the requested resource","metadata":{},"reason":"MethodNotAllowed","status":"Failure"}"#;

/// What a GET answers (a code and how the body begins), and that nothing else is allowed.
const FIXED: &[(&str, u16, &str)] = &[
    ("/", 200, "{\"paths\":["),
    ("/version", 200, "{\"buildDate\":"),
    ("/version/", 200, "{\"buildDate\":"),
    ("/metrics", 200, "# HELP "),
    ("/healthz", 200, "ok"),
    ("/healthz/", 200, "ok"),
    ("/livez", 200, "ok"),
    ("/livez/ping", 200, "ok"),
    ("/livez/none", 404, "404 page not found\n"),
    ("/readyz", 200, "ok"),
    ("/readyz?verbose", 200, "[+]ping ok\n"),
    ("/readyz/shutdown", 200, "ok"),
    ("/api", 200, "{\"kind\":\"APIVersions\""),
    ("/api/", 200, "{\"kind\":\"APIVersions\""),
    ("/api/v1", 200, ""),
    ("/api/v1/", 200, ""),
    ("/apis", 200, ""),
    ("/apis/", 200, ""),
    ("/apis/apps", 200, ""),
    ("/apis/apps/", 200, ""),
    ("/apis/apps/v1", 200, ""),
    ("/apis/apps/v1/", 200, ""),
    ("/openapi/v2", 200, ""),
    ("/openapi/v3", 200, ""),
    ("/openapi/v3/apis/apps/v1", 200, ""),
    ("/api/v2", 404, NOT_FOUND),
    ("/apis/none.io", 404, NOT_FOUND),
    ("/apis/apps/v2", 404, NOT_FOUND),
    ("/openapi/v3/none", 404, NOT_FOUND),
];

/// Paths that no route has.
const NOWHERE: &[&str] =
    &["/none", "/versions", "/metrics/", "/livezz", "/openapi", "/openapi/v4", "/api/v1/pods//x"];

#[tokio::test]
async fn fixed_paths_are_read_and_nothing_else() {
    let api = Api::start().await;
    for (path, code, begins) in FIXED {
        let (parts, body) = api.bytes("GET", path, &[], Body::empty()).await;
        let body = String::from_utf8_lossy(&body);
        assert_eq!(parts.status, *code, "GET {path}: {body}");
        assert!(body.starts_with(begins), "GET {path}: {body}");
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let (parts, body) = api.bytes(method, path, &[], "{}").await;
            assert_eq!(parts.status, 405, "{method} {path}");
            assert_eq!(body, NOT_ALLOWED, "{method} {path}");
            assert_eq!(parts.headers["content-type"], "application/json");
        }
    }
}

#[tokio::test]
async fn other_paths_lead_nowhere() {
    let api = Api::start().await;
    for path in NOWHERE {
        for (method, code, want) in
            [("GET", 404, NOT_FOUND), ("HEAD", 404, ""), ("POST", 405, NOT_ALLOWED)]
        {
            let (parts, body) = api.bytes(method, path, &[], Body::empty()).await;
            assert_eq!(parts.status, code, "{method} {path}");
            assert_eq!(body, want, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn every_answer_has_an_audit_id() {
    let api = Api::start().await;
    let id = async |path: &str, headers: &[(&str, &str)]| {
        let (parts, _) = api.bytes("GET", path, headers, Body::empty()).await;
        parts.headers["audit-id"].to_str().unwrap().to_owned()
    };
    let (one, other) = (id("/version", &[]).await, id("/api/v1/pods", &[]).await);
    assert_eq!((one.len(), other.len()), (36, 36));
    assert_ne!(one, other);
    assert_eq!(id("/none", &[("audit-id", "mine")]).await, "mine");
    assert_ne!(id("/none", &[("audit-id", &"x".repeat(65))]).await, "x".repeat(65));
}
