//! A container's log as a text response, streamed from its node.
//!
//! Never holds more than the chunk on its way.

use api::subresource::Container;
use axum::body::Body;
use futures::StreamExt;
use http::{HeaderValue, Response, header::CONTENT_TYPE};
use proto::node::LogsRequest;

use crate::{failure::Failure, request::Query, server::Server};

use super::{node::failure_of, reference};

/// Answers `GET …/log`.
pub async fn logs(
    server: &Server,
    target: Container,
    query: &Query,
) -> Result<Response<Body>, Failure> {
    let number = |name: &str| -> Result<Option<i64>, Failure> {
        let Some(text) = query.get(name) else {
            return Ok(None);
        };
        match text.parse::<i64>() {
            Ok(number) if number >= 0 => Ok(Some(number)),
            _ => Err(Failure::bad_request(format!(
                "{name}: Invalid value: {text:?}: must be a number, 0 or greater"
            ))),
        }
    };
    let request = LogsRequest {
        container: Some(reference(&target)),
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        timestamps: query.flag("timestamps"),
        tail_lines: number("tailLines")?,
        since_seconds: number("sinceSeconds")?,
        since_time: query.get("sinceTime").unwrap_or_default().to_owned(),
        limit_bytes: number("limitBytes")?,
    };
    let mut client = server.nodes.connect(&server.resources.table(), &target.node).await?;
    let answered = client.logs(request).await;
    let messages = answered.map_err(|status| failure_of(&status))?.into_inner();
    let stream = messages.map(|message| match message {
        Ok(message) => Ok(bytes::Bytes::from(message.data)),
        Err(status) => Err(std::io::Error::other(status.message().to_owned())),
    });
    let mut response = Response::new(Body::from_stream(stream));
    let plain = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    Ok(response)
}
