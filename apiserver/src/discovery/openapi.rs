//! OpenAPI v3: an index, and one document for each group and version.
//!
//! Schemas come from the kinds; the paths say what clients look for: which kind an operation
//! is about, and whether it takes `fieldValidation`. Never lists what is not served.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use api::{kind::Names, openapi, status::ApiError};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::{
    failure::Failure,
    resource::{Resource, Table},
};

const INDEX: &str = "/openapi/v3";

/// The documents by path, with a hash that clients use to cache them.
pub struct OpenApi {
    documents: BTreeMap<String, (Bytes, String)>,
}

impl OpenApi {
    /// The documents of the kinds that are served.
    pub fn of(table: &Table) -> Self {
        let mut found = BTreeMap::new();
        let mut index = Map::new();
        for (root, document) in documents(table) {
            let body = Bytes::from(document.to_string());
            let hash = hash(&body);
            let path = format!("{INDEX}/{root}");
            let url = format!("{path}?hash={hash}");
            index.insert(root, json!({ "serverRelativeURL": url }));
            found.insert(path, (body, hash));
        }
        let index = Bytes::from(json!({ "paths": index }).to_string());
        found.insert(INDEX.to_owned(), (index, String::new()));
        Self { documents: found }
    }

    /// Answers a path below `/openapi/`.
    pub fn answer(&self, path: &str, headers: &HeaderMap) -> Result<Response<Body>, Failure> {
        let found = self.documents.get(path);
        let (body, hash) = found.ok_or_else(ApiError::no_such_path)?;
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        if accept.is_some_and(|accept| accept == PROTOBUF) {
            return Err(ApiError::not_acceptable(&["application/json"]).into());
        }
        let mut response = cached(body, hash, headers);
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        Ok(response)
    }
}

/// A document, or 304 where the client has it already. An empty hash is never cached.
pub fn cached(body: &Bytes, hash: &str, headers: &HeaderMap) -> Response<Body> {
    let etag = format!("\"{hash}\"");
    let known = headers.get(header::IF_NONE_MATCH);
    let mut response = match known {
        Some(known) if !hash.is_empty() && known.as_bytes() == etag.as_bytes() => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        }
        _ => Response::new(Body::from(body.clone())),
    };
    if let Ok(etag) = HeaderValue::from_str(&etag)
        && !hash.is_empty()
    {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

/// What tells one content of a document from another.
pub fn hash(body: &Bytes) -> String {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    format!("{:016X}", hasher.finish())
}

/// The document of each group and version, under `api/v1` or `apis/apps/v1`.
pub fn documents(table: &Table) -> impl Iterator<Item = (String, Value)> {
    let mut groups: BTreeMap<String, Vec<&Resource>> = BTreeMap::new();
    for resource in table.served() {
        groups.entry(root(&resource.names)).or_default().push(resource);
    }
    groups.into_iter().map(|(root, kinds)| (root, document(&kinds)))
}

/// Which API it is, as upstream names it.
pub fn info() -> Value {
    json!({ "title": "Kubernetes", "version": "v1.36.0" })
}

const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";

/// `api/v1` or `apis/apps/v1`.
fn root(names: &Names) -> String {
    let prefix = if names.group.is_empty() { "api" } else { "apis" };
    format!("{prefix}/{}", names.api_version())
}

fn document(resources: &[&Resource]) -> Value {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    for resource in resources {
        let (definition, found) = match resource.version() {
            Some(version) => (&*version.definition, openapi::of_version(version)),
            None => (resource.kind.definition(), openapi::of_kind(&*resource.kind)),
        };
        add_paths(&mut paths, &resource.names, definition);
        schemas.extend(found);
    }
    json!({
        "openapi": "3.0.0",
        "info": info(),
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn add_paths(paths: &mut Map<String, Value>, names: &Names, definition: &str) {
    let base = match names.namespaced {
        true => format!("/{}/namespaces/{{namespace}}/{}", root(names), names.plural),
        false => format!("/{}/{}", root(names), names.plural),
    };
    let placed: &[&str] = match names.namespaced {
        true => &["namespace"],
        false => &[],
    };
    let collection = json!({
        "parameters": path_parameters(placed),
        "get": operation(names, definition, "list", &[]),
        "post": operation(names, definition, "post", WRITE_PARAMETERS),
        "delete": operation(names, definition, "deletecollection", &["dryRun"]),
    });
    let item = json!({
        "parameters": path_parameters(&[placed, &["name"]].concat()),
        "get": operation(names, definition, "get", &[]),
        "put": operation(names, definition, "put", WRITE_PARAMETERS),
        "patch": operation(names, definition, "patch", WRITE_PARAMETERS),
        "delete": operation(names, definition, "delete", &["dryRun"]),
    });
    if names.namespaced {
        let everywhere = format!("/{}/{}", root(names), names.plural);
        let list = json!({ "get": operation(names, definition, "list", &[]) });
        paths.insert(everywhere, list);
    }
    paths.insert(format!("{base}/{{name}}"), item);
    paths.insert(base, collection);
}

fn path_parameters(names: &[&str]) -> Vec<Value> {
    let parameters = names.iter().map(|name| {
        json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
    });
    parameters.collect()
}

const WRITE_PARAMETERS: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];

fn operation(names: &Names, definition: &str, action: &str, parameters: &[&str]) -> Value {
    let parameters: Vec<Value> = parameters
        .iter()
        .map(|name| json!({ "name": name, "in": "query", "schema": { "type": "string" } }))
        .collect();
    let schema = json!({ "$ref": format!("#/components/schemas/{definition}") });
    let content = json!({ "application/json": { "schema": schema } });
    let mut operation = json!({
        "operationId": format!("{action}{}{}", names.version, names.kind),
        "parameters": parameters,
        "responses": { "200": { "description": "OK", "content": content } },
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {
            "group": names.group, "version": names.version, "kind": names.kind,
        },
    });
    match action {
        "post" | "put" => operation["requestBody"] = json!({ "content": content }),
        "patch" => {
            let patch = json!({ "schema": { "type": "object" } });
            operation["requestBody"] = json!({ "content": {
                "application/json-patch+json": patch,
                "application/merge-patch+json": patch,
                "application/strategic-merge-patch+json": patch,
            } });
        }
        _ => {}
    }
    operation
}
