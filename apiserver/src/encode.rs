//! From outcomes to HTTP responses: which form the client accepts, statuses, warnings.
//!
//! Never touches the store; an object is sent in the bytes it is stored in.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use api::status::ApiError;
use axum::{body::Body, response::IntoResponse};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, WARNING},
};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use serde_json::{Value, json};

use crate::{failure::Failure, json::Json, request::Query};

/// Media types that can be produced, for the 406 message.
const SERVED: &[&str] = &["application/json"];

/// Longest text of one warning, and of all of them, as upstream.
const MAX_WARNINGS_BYTES: usize = 4_096;

/// What of each object a `Table` carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

/// The form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The objects themselves.
    Object,
    /// Rows for people, as `kubectl get` shows them.
    Table(IncludeObject),
    /// Only `metadata`.
    Metadata,
}

/// Chooses the first acceptable form, in the client's order.
pub fn negotiate(headers: &HeaderMap, query: &Query) -> Result<Form, Failure> {
    let Some(accept) = headers.get(ACCEPT) else {
        return Ok(Form::Object);
    };
    let accept = accept.to_str().unwrap_or_default();
    let form = accept.split(',').find_map(|range| form_of(range, query));
    form.ok_or_else(|| ApiError::not_acceptable(SERVED).into())
}

fn form_of(range: &str, query: &Query) -> Option<Form> {
    let mut parts = range.split(';').map(str::trim);
    let media_type = parts.next()?;
    if !matches!(media_type, "application/json" | "application/*" | "*/*" | "") {
        return None;
    }
    let parameters: Vec<(&str, &str)> = parts.filter_map(|p| p.split_once('=')).collect();
    let parameter = |name| parameters.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
    let Some(wanted) = parameter("as") else {
        return Some(Form::Object);
    };
    if parameter("g") != Some("meta.k8s.io") || parameter("v").is_none_or(|v| v != "v1") {
        return None;
    }
    match wanted {
        "Table" => Some(Form::Table(match query.get("includeObject") {
            Some("None") => IncludeObject::None,
            Some("Object") => IncludeObject::Object,
            _ => IncludeObject::Metadata,
        })),
        "PartialObjectMetadata" | "PartialObjectMetadataList" => Some(Form::Metadata),
        _ => None,
    }
}

/// A JSON response.
pub fn json_bytes(code: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = code;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// A JSON response of an object, in pieces: nothing is copied.
pub fn json_object(code: StatusCode, json: &Json) -> Response<Body> {
    let pieces = json.pieces().into_iter().filter(|piece| !piece.is_empty()).collect();
    let mut response = Response::new(Body::new(Pieces(pieces)));
    *response.status_mut() = code;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// A body whose pieces are all there.
struct Pieces(VecDeque<Bytes>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}

/// A JSON response of a tree.
pub fn json_value(code: StatusCode, value: &Value) -> Response<Body> {
    json_bytes(code, value.to_string())
}

/// A plain text response.
pub fn text(code: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = code;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response<Body> {
        let error = &self.0;
        let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json_bytes(code, error.to_json());
        let seconds = error.details.as_ref().and_then(|d| d.retry_after_seconds);
        if let Some(seconds) = seconds {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// `Status` with `Success`, about an object.
pub fn success(names: &api::kind::Names, name: &str, uid: Option<&str>) -> Value {
    let mut details = json!({ "name": name, "kind": names.plural });
    if !names.group.is_empty() {
        details["group"] = names.group.as_str().into();
    }
    if let Some(uid) = uid {
        details["uid"] = uid.into();
    }
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    })
}

/// Adds `Warning: 299 - "…"` headers, each text once.
pub fn add_warnings(headers: &mut HeaderMap, warnings: &[String]) {
    let mut total = 0;
    for (at, warning) in warnings.iter().enumerate() {
        if warnings[..at].contains(warning) {
            continue;
        }
        let quoted: String = warning
            .chars()
            .filter(|c| !c.is_control())
            .flat_map(|c| match c {
                '"' | '\\' => vec!['\\', c],
                c => vec![c],
            })
            .collect();
        total += quoted.len();
        if total > MAX_WARNINGS_BYTES {
            break;
        }
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            headers.append(WARNING, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_acceptable_form_is_taken() {
        for (accept, want) in [
            ("", Some(Form::Object)),
            ("*/*", Some(Form::Object)),
            ("application/vnd.kubernetes.protobuf, application/json", Some(Form::Object)),
            ("application/vnd.kubernetes.protobuf", None),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
                Some(Form::Table(IncludeObject::Metadata)),
            ),
            (
                "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
                Some(Form::Object),
            ),
            (
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Some(Form::Metadata),
            ),
            ("text/html", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            assert_eq!(negotiate(&headers, &Query::default()).ok(), want, "{accept}");
        }
    }
}
