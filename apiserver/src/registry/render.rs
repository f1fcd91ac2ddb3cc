//! Turns cache entries into the form that was negotiated: objects, rows, or metadata only.
//!
//! Objects are sent in their stored bytes; only rows and metadata decode. Never reads the store.

use std::{convert::Infallible, sync::Arc};

use api::status::ApiError;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    encode::{Form, IncludeObject, json_bytes, json_object, json_value},
    failure::Failure,
    json::Json,
    resource::Resource,
    watch_cache::entry::Entry,
};

use super::list::Page;

/// Bytes of one frame of a long list: large enough that the cost of a frame does not count,
/// small enough that a slow reader pins little.
const FRAME_BYTES: usize = 256 << 10;

/// One object in the negotiated form.
pub fn object(
    resource: &Resource,
    json: &Json,
    form: Form,
    code: StatusCode,
) -> Result<Response<Body>, Failure> {
    Ok(match form {
        Form::Object if resource.version().is_some() => {
            json_value(code, &served(resource, &json.to_bytes())?)
        }
        Form::Object => json_object(code, json),
        Form::Metadata => json_value(code, &metadata_only(&json.to_bytes())?),
        Form::Table(include) => {
            let row = row(resource, &json.to_bytes(), include)?;
            let table = table(resource, metadata_of_list(None), vec![row], true);
            json_value(code, &table)
        }
    })
}

/// A page of objects in the negotiated form.
pub fn page(resource: &Resource, page: Page, form: Form) -> Result<Response<Body>, Failure> {
    match form {
        Form::Object if resource.version().is_some() => converted_list(resource, &page),
        Form::Object => Ok(object_list(resource, page)),
        Form::Metadata => {
            let items: Result<Vec<Value>, Failure> =
                page.entries.iter().map(|e| metadata_only(&e.json.to_bytes())).collect();
            let list = json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata_of_list(Some(&page)),
                "items": items?,
            });
            Ok(json_value(StatusCode::OK, &list))
        }
        Form::Table(include) => {
            let rows: Result<Vec<Value>, Failure> =
                page.entries.iter().map(|e| row(resource, &e.json.to_bytes(), include)).collect();
            let table = table(resource, metadata_of_list(Some(&page)), rows?, true);
            Ok(json_value(StatusCode::OK, &table))
        }
    }
}

/// One watch event's object, where it is not sent as it is. `headers`: whether a table
/// names its columns; only the first of a watch does.
pub fn event_object(
    resource: &Resource,
    json: &[u8],
    form: Form,
    headers: bool,
) -> Result<Value, Failure> {
    match form {
        Form::Object => served(resource, json),
        Form::Metadata => metadata_only(json),
        Form::Table(include) => {
            let version = field(json, "metadata")?["resourceVersion"].take();
            let row = row(resource, json, include)?;
            let metadata = json!({ "resourceVersion": version });
            Ok(table(resource, metadata, vec![row], headers))
        }
    }
}

/// A table without rows, for a bookmark.
pub fn empty_table(resource: &Resource, metadata: Value) -> Value {
    table(resource, metadata, Vec::new(), false)
}

/// A list in another version than the one that is stored.
fn converted_list(resource: &Resource, page: &Page) -> Result<Response<Body>, Failure> {
    let items: Result<Vec<Value>, Failure> =
        page.entries.iter().map(|entry| served(resource, &entry.json.to_bytes())).collect();
    let list = json!({
        "kind": format!("{}List", resource.names.kind),
        "apiVersion": resource.api_version(),
        "metadata": metadata_of_list(Some(page)),
        "items": items?,
    });
    Ok(json_value(StatusCode::OK, &list))
}

/// A stored object as a tree in the version of the path.
fn served(resource: &Resource, json: &[u8]) -> Result<Value, Failure> {
    let stored = serde_json::from_slice(json).map_err(unreadable)?;
    Ok(match resource.version() {
        Some(version) => version.served(stored),
        None => stored,
    })
}

fn object_list(resource: &Resource, page: Page) -> Response<Body> {
    let head = format!(
        "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{},\"items\":[",
        resource.names.kind,
        resource.api_version(),
        metadata_of_list(Some(&page)),
    );
    let total: usize = page.entries.iter().map(|entry| entry.json.size() + 1).sum();
    if head.len() + total + 2 <= FRAME_BYTES {
        let mut body = BytesMut::with_capacity(head.len() + total + 2);
        body.extend_from_slice(head.as_bytes());
        push_items(&mut body, &page.entries, &mut 0);
        body.extend_from_slice(b"]}");
        return json_bytes(StatusCode::OK, body.freeze());
    }
    let mut response = Response::new(Body::from_stream(frames(head, page.entries)));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// The list's bytes, made frame by frame as they are sent.
fn frames(
    head: String,
    entries: Vec<Arc<Entry>>,
) -> impl futures::Stream<Item = Result<Bytes, Infallible>> {
    let mut head = Some(head);
    let mut at = 0;
    let mut ended = false;
    futures::stream::iter(std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let mut frame = BytesMut::with_capacity(FRAME_BYTES + (16 << 10));
        if let Some(head) = head.take() {
            frame.extend_from_slice(head.as_bytes());
        }
        push_items(&mut frame, &entries, &mut at);
        if at == entries.len() {
            frame.extend_from_slice(b"]}");
            ended = true;
        }
        Some(Ok(frame.freeze()))
    }))
}

fn push_items(frame: &mut BytesMut, entries: &[Arc<Entry>], at: &mut usize) {
    while let Some(entry) = entries.get(*at) {
        if *at > 0 {
            frame.extend_from_slice(b",");
        }
        entry.json.put(frame);
        *at += 1;
        if frame.len() >= FRAME_BYTES {
            break;
        }
    }
}

fn metadata_of_list(page: Option<&Page>) -> Value {
    let Some(page) = page else {
        return json!({});
    };
    let mut metadata = json!({ "resourceVersion": page.revision.to_string() });
    if let Some(next) = &page.next {
        metadata["continue"] = next.as_str().into();
    }
    if let Some(remaining) = page.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    metadata
}

fn table(resource: &Resource, metadata: Value, rows: Vec<Value>, headers: bool) -> Value {
    let columns: Vec<Value> = resource
        .kind
        .columns()
        .iter()
        .filter(|_| headers)
        .map(|column| {
            json!({
                "name": column.name,
                "type": column.kind,
                "format": column.format,
                "description": column.description,
                "priority": column.priority,
            })
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    })
}

fn row(resource: &Resource, json: &[u8], include: IncludeObject) -> Result<Value, Failure> {
    let object = resource.kind.decode(json).map_err(|error| ApiError::internal(error.message))?;
    let cells = resource.kind.row(&*object, Timestamp::now());
    let mut row = json!({ "cells": cells });
    match include {
        IncludeObject::None => {}
        IncludeObject::Metadata => row["object"] = metadata_only(json)?,
        IncludeObject::Object => {
            row["object"] = served(resource, json)?;
        }
    }
    Ok(row)
}

fn metadata_only(json: &[u8]) -> Result<Value, Failure> {
    Ok(json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": field(json, "metadata")?,
    }))
}

fn field(json: &[u8], name: &str) -> Result<Value, Failure> {
    let mut object: Value = serde_json::from_slice(json).map_err(unreadable)?;
    Ok(object[name].take())
}

fn unreadable(error: serde_json::Error) -> Failure {
    ApiError::internal(error).into()
}
