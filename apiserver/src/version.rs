//! `/version`: which Kubernetes version this server speaks.
//!
//! Never claims to be upstream's build: `gitVersion` says Coracle.

use axum::body::Body;
use http::{Response, StatusCode};
use serde_json::json;

use crate::encode::json_value;

/// The version that clients compare themselves with.
const GIT_VERSION: &str = concat!("v1.36.0+coracle-", env!("CARGO_PKG_VERSION"));

/// The answer to `/version`.
pub fn answer() -> Response<Body> {
    let version = json!({
        "major": "1",
        "minor": "36",
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, platform()),
    });
    json_value(StatusCode::OK, &version)
}

/// The architecture by Go's name, which clients know.
fn platform() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
