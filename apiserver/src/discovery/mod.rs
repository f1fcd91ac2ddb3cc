//! Discovery: which groups, versions and resources there are, plain and aggregated.
//!
//! Made once from the list of kinds. Never depends on what is stored.

mod gnostic;
pub mod openapi;
pub mod openapi_v2;

use std::{collections::BTreeMap, sync::LazyLock};

use api::{kind::Names, status::ApiError};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    encode::json_bytes, failure::Failure, registry::subresource, resource::group_version, review,
    server::Server,
};

use self::{openapi::OpenApi, openapi_v2::OpenApiV2};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The documents, encoded.
pub struct Documents {
    plain: BTreeMap<String, Bytes>,
    aggregated_core: Bytes,
    aggregated_groups: Bytes,
    openapi: LazyLock<OpenApi>,
    openapi_v2: LazyLock<OpenApiV2>,
}

impl Default for Documents {
    fn default() -> Self {
        let kinds = api::kinds::all().iter().map(|k| k.names());
        let kinds = kinds.chain(review::ALL.iter().copied());
        let mut groups: BTreeMap<&str, Vec<&'static Names>> = BTreeMap::new();
        for names in kinds {
            groups.entry(names.group).or_default().push(names);
        }
        let mut plain = BTreeMap::new();
        let versions = json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        });
        plain.insert("/api".to_owned(), bytes(&versions));
        let mut group_list = Vec::new();
        for (group, kinds) in &groups {
            let version = kinds[0].version;
            let path = match *group {
                "" => format!("/api/{version}"),
                group => format!("/apis/{group}/{version}"),
            };
            plain.insert(path, bytes(&resource_list(group, version, kinds)));
            if !group.is_empty() {
                let described = api_group(group, version);
                let mut document = described.clone();
                document["kind"] = "APIGroup".into();
                document["apiVersion"] = "v1".into();
                plain.insert(format!("/apis/{group}"), bytes(&document));
                group_list.push(described);
            }
        }
        let list = json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": group_list });
        plain.insert("/apis".to_owned(), bytes(&list));
        plain.insert("/".to_owned(), bytes(&json!({ "paths": paths(&plain) })));
        let (core, others): (Vec<_>, Vec<_>) =
            groups.iter().partition(|(group, _)| group.is_empty());
        Self {
            plain,
            aggregated_core: bytes(&aggregated(&core)),
            aggregated_groups: bytes(&aggregated(&others)),
            openapi: LazyLock::new(OpenApi::default),
            openapi_v2: LazyLock::new(OpenApiV2::default),
        }
    }
}

/// Answers every path that is neither a resource nor a health check.
pub fn answer(server: &Server, path: &str, headers: &HeaderMap) -> Result<Response<Body>, Failure> {
    let documents = &server.documents;
    let path = match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    };
    if path == "/openapi/v2" {
        return Ok(documents.openapi_v2.answer(headers));
    }
    if path.starts_with("/openapi/") {
        return documents.openapi.answer(path, headers);
    }
    if matches!(path, "/api" | "/apis") && accepts_aggregated(headers) {
        let body = match path {
            "/api" => &documents.aggregated_core,
            _ => &documents.aggregated_groups,
        };
        let mut response = json_bytes(StatusCode::OK, body.clone());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(AGGREGATED));
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        return Ok(response);
    }
    let document = documents.plain.get(path);
    let document = document.ok_or_else(ApiError::no_such_path)?;
    Ok(json_bytes(StatusCode::OK, document.clone()))
}

fn accepts_aggregated(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.unwrap_or_default().split(',').any(|range| {
        range.contains("as=APIGroupDiscoveryList")
            && range.contains("g=apidiscovery.k8s.io")
            && range.split(';').any(|part| part.trim() == "v=v2")
    })
}

fn bytes(value: &Value) -> Bytes {
    value.to_string().into()
}

fn paths(plain: &BTreeMap<String, Bytes>) -> Vec<String> {
    let others =
        ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"];
    let mut paths: Vec<String> = plain.keys().cloned().collect();
    paths.extend(others.map(str::to_owned));
    paths.sort();
    paths
}

fn api_group(group: &str, version: &str) -> Value {
    let version = json!({
        "groupVersion": group_version(group, version),
        "version": version,
    });
    json!({ "name": group, "versions": [version], "preferredVersion": version })
}

/// A subresource in discovery: name, kind with its group and version where it differs, verbs.
type Subresource =
    (&'static str, (&'static str, &'static str, &'static str), &'static [&'static str]);

fn subresources(names: &Names) -> Vec<Subresource> {
    let own = (names.group, names.version, names.kind);
    let mut found: Vec<Subresource> = Vec::new();
    if names.status {
        found.push(("status", own, &["get", "patch", "update"]));
    }
    for name in subresource::names(names.kind) {
        found.push(match *name {
            "scale" => ("scale", ("autoscaling", "v1", "Scale"), &["get", "patch", "update"]),
            "binding" => ("binding", ("", "v1", "Binding"), &["create"]),
            "eviction" => ("eviction", ("policy", "v1", "Eviction"), &["create"]),
            other => (other, own, &["update"]),
        });
    }
    if names.kind == "Pod" {
        found.push(("log", own, &["get"]));
        found.push(("exec", ("", "v1", "PodExecOptions"), &["create", "get"]));
        found.push(("attach", ("", "v1", "PodAttachOptions"), &["create", "get"]));
    }
    found
}

fn verbs(names: &Names) -> Vec<&'static str> {
    match review::is_review(names) {
        true => review::VERBS.to_vec(),
        false => names.verbs(),
    }
}

fn resource_list(group: &str, version: &str, kinds: &[&'static Names]) -> Value {
    let mut resources = Vec::new();
    for names in kinds {
        let mut resource = json!({
            "name": names.plural,
            "singularName": names.singular,
            "namespaced": names.namespaced,
            "kind": names.kind,
            "verbs": verbs(names),
        });
        if !names.short_names.is_empty() {
            resource["shortNames"] = json!(names.short_names);
        }
        if !names.categories.is_empty() {
            resource["categories"] = json!(names.categories);
        }
        resources.push(resource);
        for (sub, (sub_group, sub_version, kind), verbs) in subresources(names) {
            let mut resource = json!({
                "name": format!("{}/{sub}", names.plural),
                "singularName": "",
                "namespaced": names.namespaced,
                "kind": kind,
                "verbs": verbs,
            });
            if (sub_group, sub_version) != (group, version) {
                resource["group"] = sub_group.into();
                resource["version"] = sub_version.into();
            }
            resources.push(resource);
        }
    }
    if group.is_empty() {
        resources.push(json!({
            "name": "bindings", "singularName": "binding", "namespaced": true,
            "kind": "Binding", "verbs": ["create"],
        }));
    }
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version(group, version),
        "resources": resources,
    })
}

fn aggregated(groups: &[(&&str, &Vec<&'static Names>)]) -> Value {
    let items: Vec<Value> = groups
        .iter()
        .map(|(group, kinds)| {
            let resources: Vec<Value> =
                kinds.iter().map(|names| aggregated_resource(names)).collect();
            let mut metadata = json!({ "creationTimestamp": null });
            if !group.is_empty() {
                metadata["name"] = json!(group);
            }
            json!({
                "metadata": metadata,
                "versions": [{
                    "version": kinds[0].version,
                    "resources": resources,
                    "freshness": "Current",
                }],
            })
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

fn aggregated_resource(names: &Names) -> Value {
    let kind = |(group, version, kind): (&str, &str, &str)| json!({ "group": group, "version": version, "kind": kind });
    let subresources: Vec<Value> = subresources(names)
        .into_iter()
        .map(|(sub, response, verbs)| {
            json!({ "subresource": sub, "responseKind": kind(response), "verbs": verbs })
        })
        .collect();
    let mut resource = json!({
        "resource": names.plural,
        "responseKind": kind((names.group, names.version, names.kind)),
        "scope": if names.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": names.singular,
        "verbs": verbs(names),
    });
    if !names.short_names.is_empty() {
        resource["shortNames"] = json!(names.short_names);
    }
    if !names.categories.is_empty() {
        resource["categories"] = json!(names.categories);
    }
    if !subresources.is_empty() {
        resource["subresources"] = json!(subresources);
    }
    resource
}
