//! OpenAPI v2 as one document, made from those of v3, in JSON and in gnostic's protobuf.
//!
//! kubectl reads it for what v3 has no document of: lists and kinds that are not served.
//! Never says anything else than v3 does.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use serde_json::{Map, Value, json};

use crate::resource::Table;

use super::{gnostic, openapi};

const JSON: &str = "application/json";
/// The form that clients ask for, and the one they get: `@` is not allowed in a media type.
const PROTOBUF_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Where a v3 document and a v2 document have their schemas.
const SCHEMAS_V3: &str = "#/components/schemas/";
const SCHEMAS_V2: &str = "#/definitions/";

/// The document in both forms.
pub struct OpenApiV2 {
    json: (Bytes, String),
    protobuf: (Bytes, String),
}

impl OpenApiV2 {
    /// The document of the kinds that are served.
    pub fn of(table: &Table) -> Self {
        let document = merged(openapi::documents(table).map(|(_, document)| document));
        let hashed = |body: Bytes| {
            let hash = openapi::hash(&body);
            (body, hash)
        };
        Self {
            json: hashed(document.to_string().into()),
            protobuf: hashed(gnostic::encode(&document).into()),
        }
    }

    /// Answers `/openapi/v2` in the first form of `Accept` that there is, else in JSON.
    pub fn answer(&self, headers: &HeaderMap) -> Response<Body> {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        let ranges = accept.unwrap_or_default().split(',');
        let mut media_types = ranges.map(|range| range.split(';').next().unwrap_or_default());
        let protobuf = media_types
            .find_map(|media_type| match media_type.trim() {
                PROTOBUF_ASKED | PROTOBUF => Some(true),
                JSON | "application/*" | "*/*" => Some(false),
                _ => None,
            })
            .unwrap_or_default();
        let ((body, hash), media_type) = match protobuf {
            true => (&self.protobuf, PROTOBUF),
            false => (&self.json, JSON),
        };
        let mut response = openapi::cached(body, hash, headers);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        response
    }
}

fn merged(documents: impl Iterator<Item = Value>) -> Value {
    let mut paths = Map::new();
    let mut definitions = Map::new();
    for mut document in documents {
        for (name, schema) in taken(&mut document["components"]["schemas"]) {
            definitions.insert(name, of_schema(schema));
        }
        for (path, item) in taken(&mut document["paths"]) {
            paths.insert(path, of_path(item));
        }
    }
    json!({
        "swagger": "2.0",
        "info": openapi::info(),
        "paths": paths,
        "definitions": definitions,
    })
}

fn taken(of: &mut Value) -> Map<String, Value> {
    match of.take() {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn of_path(mut item: Value) -> Value {
    let fields = taken(&mut item).into_iter().map(|(field, value)| {
        let value = match field.as_str() {
            "parameters" => of_parameters(&value).into(),
            _ => of_operation(value),
        };
        (field, value)
    });
    Value::Object(fields.collect())
}

fn of_operation(mut operation: Value) -> Value {
    let mut parameters = of_parameters(&operation["parameters"]);
    let body = operation.as_object_mut().and_then(|operation| operation.remove("requestBody"));
    if let Some(mut body) = body {
        let content = taken(&mut body["content"]);
        operation["consumes"] = content.keys().cloned().collect();
        let schema = content.into_iter().next().map(|(_, mut media)| media["schema"].take());
        parameters.push(json!({
            "name": "body", "in": "body", "required": true,
            "schema": of_schema(schema.unwrap_or_default()),
        }));
    }
    operation["produces"] = json!([JSON]);
    operation["parameters"] = parameters.into();
    for response in operation["responses"].as_object_mut().into_iter().flatten() {
        let (_, response) = response;
        let schema = response["content"][JSON]["schema"].take();
        *response = json!({ "description": response["description"], "schema": of_schema(schema) });
    }
    operation
}

/// The type is beside the name, not in a schema.
fn of_parameters(parameters: &Value) -> Vec<Value> {
    let parameters = parameters.as_array().into_iter().flatten();
    let moved = parameters.map(|parameter| {
        let mut parameter = parameter.clone();
        parameter["type"] = parameter["schema"]["type"].take();
        if let Some(fields) = parameter.as_object_mut() {
            fields.remove("schema");
        }
        parameter
    });
    moved.collect()
}

/// v2 has neither `oneOf` (a text it is, as upstream says there) nor need of an `allOf` around
/// a reference with a description.
fn of_schema(mut schema: Value) -> Value {
    let mut fields = taken(&mut schema);
    if fields.remove("oneOf").is_some() {
        fields.insert("type".to_owned(), "string".into());
    }
    if let Some(mut all_of) = fields.remove("allOf") {
        fields.insert("$ref".to_owned(), all_of[0]["$ref"].take());
    }
    if let Some(Value::String(reference)) = fields.get_mut("$ref") {
        *reference = reference.replace(SCHEMAS_V3, SCHEMAS_V2);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get_mut(inner) {
            *inner = of_schema(inner.take());
        }
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        for property in properties.values_mut() {
            *property = of_schema(property.take());
        }
    }
    Value::Object(fields)
}
