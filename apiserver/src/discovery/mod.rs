//! Discovery: which groups, versions and resources there are, plain and aggregated.
//!
//! Made from the table of resources, anew when that changes. Never depends on what is stored.

mod gnostic;
pub mod openapi;
pub mod openapi_v2;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use api::{kind::Names, status::ApiError, subresource::Subresource};
use arc_swap::ArcSwapOption;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::{encode::json_bytes, failure::Failure, resource::Table, review};

use self::{openapi::OpenApi, openapi_v2::OpenApiV2};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The documents of the newest table that was asked about.
#[derive(Default)]
pub struct Documents(ArcSwapOption<Made>);

impl Documents {
    /// Those of this table; made anew when it is another one than before.
    fn of(&self, table: Arc<Table>) -> Arc<Made> {
        let made = self.0.load_full();
        made.filter(|made| Arc::ptr_eq(&made.table, &table)).unwrap_or_else(|| {
            let made = Arc::new(Made::of(table));
            self.0.store(Some(made.clone()));
            made
        })
    }
}

/// The documents of one table, encoded.
struct Made {
    table: Arc<Table>,
    plain: BTreeMap<String, Bytes>,
    aggregated_core: Bytes,
    aggregated_groups: Bytes,
    openapi: OnceLock<OpenApi>,
    openapi_v2: OnceLock<OpenApiV2>,
}

/// A kind in discovery: its names, and its subresources.
type Listed<'a> = (&'a Names, &'a [Subresource]);

/// The kinds of a group by version, in the order they came.
type Versions<'a> = Vec<(&'a str, Vec<Listed<'a>>)>;

impl Made {
    fn of(table: Arc<Table>) -> Self {
        let groups = groups(&table);
        let mut plain = BTreeMap::new();
        let versions = json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        });
        plain.insert("/api".to_owned(), bytes(&versions));
        let mut group_list = Vec::new();
        for (group, versions) in &groups {
            for (version, kinds) in versions {
                let path = match *group {
                    "" => format!("/api/{version}"),
                    group => format!("/apis/{group}/{version}"),
                };
                plain.insert(path, bytes(&resource_list(group, version, kinds)));
            }
            if !group.is_empty() {
                let described = api_group(group, versions);
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
        let (aggregated_core, aggregated_groups) =
            (bytes(&aggregated(&core)), bytes(&aggregated(&others)));
        Self {
            plain,
            aggregated_core,
            aggregated_groups,
            openapi: OnceLock::new(),
            openapi_v2: OnceLock::new(),
            table,
        }
    }
}

fn groups(table: &Table) -> BTreeMap<&str, Versions<'_>> {
    let kinds = table.served().iter().map(|one| (&one.names, one.kind.subresources()));
    let kinds = kinds.chain(review::ALL.iter().map(|names| (names, [].as_slice())));
    let mut groups: BTreeMap<&str, Versions<'_>> = BTreeMap::new();
    for (names, subresources) in kinds {
        let versions = groups.entry(&names.group).or_default();
        match versions.iter_mut().find(|(version, _)| *version == names.version) {
            Some((_, kinds)) => kinds.push((names, subresources)),
            None => versions.push((&names.version, vec![(names, subresources)])),
        }
    }
    groups
}

/// Answers every path that is neither a resource nor a health check.
pub fn answer(
    documents: &Documents,
    table: Arc<Table>,
    path: &str,
    headers: &HeaderMap,
) -> Result<Response<Body>, Failure> {
    let documents = documents.of(table);
    let path = match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    };
    if path == "/openapi/v2" {
        let openapi = documents.openapi_v2.get_or_init(|| OpenApiV2::of(&documents.table));
        return Ok(openapi.answer(headers));
    }
    if path.starts_with("/openapi/") {
        let openapi = documents.openapi.get_or_init(|| OpenApi::of(&documents.table));
        return openapi.answer(path, headers);
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

fn api_group(group: &str, versions: &Versions<'_>) -> Value {
    let described = |(version, _): &(&str, Vec<Listed<'_>>)| json!({ "groupVersion": group_version(group, version), "version": version });
    let versions: Vec<Value> = versions.iter().map(described).collect();
    json!({ "name": group, "versions": versions, "preferredVersion": versions[0] })
}

/// `v1` or `apps/v1`.
fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// What is sent to a subresource: the kind's own group, version and kind, where it has none.
fn request<'a>(names: &'a Names, subresource: &'a Subresource) -> (&'a str, &'a str, &'a str) {
    subresource.request.unwrap_or((&names.group, &names.version, &names.kind))
}

fn resource_list(group: &str, version: &str, kinds: &[Listed<'_>]) -> Value {
    let mut resources = Vec::new();
    for (names, subresources) in kinds {
        let mut resource = json!({
            "name": names.plural,
            "singularName": names.singular,
            "namespaced": names.namespaced,
            "kind": names.kind,
            "verbs": names.verbs,
        });
        if !names.short_names.is_empty() {
            resource["shortNames"] = json!(names.short_names);
        }
        if !names.categories.is_empty() {
            resource["categories"] = json!(names.categories);
        }
        resources.push(resource);
        for subresource in *subresources {
            let (sub_group, sub_version, kind) = request(names, subresource);
            let mut resource = json!({
                "name": format!("{}/{}", names.plural, subresource.name),
                "singularName": "",
                "namespaced": names.namespaced,
                "kind": kind,
                "verbs": subresource.verbs,
            });
            if (sub_group, sub_version) != (group, version) {
                resource["group"] = sub_group.into();
                resource["version"] = sub_version.into();
            }
            resources.push(resource);
        }
    }
    for (names, subresources) in kinds {
        for subresource in *subresources {
            let Some((plural, singular)) = subresource.collection else {
                continue;
            };
            resources.push(json!({
                "name": plural, "singularName": singular, "namespaced": names.namespaced,
                "kind": request(names, subresource).2, "verbs": subresource.verbs,
            }));
        }
    }
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version(group, version),
        "resources": resources,
    })
}

fn aggregated(groups: &[(&&str, &Versions<'_>)]) -> Value {
    let version = |(version, kinds): &(&str, Vec<Listed<'_>>)| {
        let resources: Vec<Value> = kinds.iter().map(aggregated_resource).collect();
        json!({ "version": version, "resources": resources, "freshness": "Current" })
    };
    let items: Vec<Value> = groups
        .iter()
        .map(|(group, versions)| {
            let mut metadata = json!({ "creationTimestamp": null });
            if !group.is_empty() {
                metadata["name"] = json!(group);
            }
            let versions: Vec<Value> = versions.iter().map(version).collect();
            json!({ "metadata": metadata, "versions": versions })
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

fn aggregated_resource((names, subresources): &Listed<'_>) -> Value {
    let kind = |(group, version, kind): (&str, &str, &str)| json!({ "group": group, "version": version, "kind": kind });
    let subresources: Vec<Value> = subresources
        .iter()
        .map(|one| {
            let response = kind(request(names, one));
            json!({ "subresource": one.name, "responseKind": response, "verbs": one.verbs })
        })
        .collect();
    let mut resource = json!({
        "resource": names.plural,
        "responseKind": kind((&names.group, &names.version, &names.kind)),
        "scope": if names.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": names.singular,
        "verbs": names.verbs,
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
