//! The server's half of the WebSocket handshake, with Kubernetes' channel protocols.
//!
//! Never reads or writes a frame: see `super::exec`.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::failure::Failure;

/// Served protocols, the best first. v5 can say that one channel is closed.
const PROTOCOLS: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// What the client wants to talk.
#[derive(Debug)]
pub struct Offer {
    /// The protocol that was chosen.
    pub protocol: &'static str,
    accept_key: String,
}

/// Reads the client's half. `Err`: not a WebSocket that is served here.
pub fn read_offer(request: &Request<Body>) -> Result<Offer, Failure> {
    let headers = request.headers();
    let upgrade = text(headers, header::UPGRADE).to_ascii_lowercase();
    if upgrade.starts_with("spdy/") {
        return Err(Failure::bad_request(
            "SPDY is not served; use a client that speaks WebSocket (kubectl 1.31 or newer)",
        ));
    }
    if upgrade != "websocket" {
        return Err(Failure::bad_request("Upgrade request required"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let key = key.ok_or_else(|| Failure::bad_request("Sec-WebSocket-Key is missing"))?;
    let offered: Vec<&str> = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
        .collect();
    let protocol = PROTOCOLS.iter().find(|protocol| offered.contains(protocol));
    let protocol = protocol.ok_or_else(|| {
        Failure::bad_request(format!(
            "none of the offered WebSocket protocols [{}] is served; served are {}",
            offered.join(", "),
            PROTOCOLS.join(", ")
        ))
    })?;
    Ok(Offer { protocol, accept_key: derive_accept_key(key.as_bytes()) })
}

/// The server's half: `101 Switching Protocols`.
pub fn accept(offer: &Offer) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(key) = HeaderValue::from_str(&offer.accept_key) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    }
    let protocol = HeaderValue::from_static(offer.protocol);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    response
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}
