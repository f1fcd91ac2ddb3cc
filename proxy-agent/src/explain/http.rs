//! `/explain` over HTTP: JSON, or lines for people where `Accept` asks for them. Never
//! answers from anything but the agent's loop.

use http::header::{ACCEPT, HeaderMap};
use http::{Response, StatusCode, Uri};
use serde_json::json;

use super::desk::{Asker, NoAnswer};
use super::query::parse;
use crate::http_server::respond;

/// The answer to `GET /explain?source=A&destination=B:PORT&protocol=tcp`: 400 names the
/// field that is wrong, 503 is for "ask again".
pub async fn answer(asker: &Asker, uri: &Uri, headers: &HeaderMap) -> Response<String> {
    let answer = match parse(uri.query().unwrap_or_default()) {
        Ok(packet) => asker.ask(packet).await,
        Err(error) => Err(error.into()),
    };
    let as_text = wants_text(headers);
    match answer {
        Ok(told) if as_text => respond(StatusCode::OK, "text/plain", told.to_string()),
        Ok(told) => respond(StatusCode::OK, "application/json", json!(told).to_string()),
        Err(error) => {
            let (status, field) = match &error {
                NoAnswer::Bad(bad) => (StatusCode::BAD_REQUEST, bad.field.as_str()),
                NoAnswer::Busy | NoAnswer::NotNow(_) => (StatusCode::SERVICE_UNAVAILABLE, ""),
            };
            if as_text {
                return respond(status, "text/plain", format!("{error}\n"));
            }
            let body = json!({ "field": field, "error": error.to_string() });
            respond(status, "application/json", body.to_string())
        }
    }
}

/// Whether text is asked for, and JSON is not.
fn wants_text(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let accept = accept.unwrap_or_default();
    accept.contains("text/plain") && !accept.contains("application/json")
}
