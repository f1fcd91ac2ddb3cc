//! `/livez`, `/readyz`, `/healthz`: whether the server is alive and can serve.
//!
//! Never asks the store: a health check must answer while the store hangs.

use axum::body::Body;
use http::{Response, StatusCode};

use crate::{encode::text, request::Query, server::Server};

/// Answers a health check, or a single one below it; `?verbose` lists the single checks.
pub fn answer(server: &Server, path: &str, query: &Query) -> Response<Body> {
    let path = path.trim_matches('/');
    let (endpoint, only) = path.split_once('/').unwrap_or((path, ""));
    let stopping = server.stop.is_cancelled();
    let mut checks = vec![("ping", true), ("watch-cache", server.progress.reached() > 0)];
    if endpoint == "readyz" {
        checks.push(("shutdown", !stopping));
    }
    let excluded = query.all("exclude");
    checks.retain(|(name, _)| !excluded.iter().any(|excluded| excluded == name));
    if !only.is_empty() {
        checks.retain(|(name, _)| *name == only);
        if checks.is_empty() {
            return text(StatusCode::NOT_FOUND, "404 page not found\n");
        }
    }
    let healthy = checks.iter().all(|(_, ok)| *ok);
    if healthy && !query.flag("verbose") {
        return text(StatusCode::OK, "ok");
    }
    let mut told = String::new();
    for (name, ok) in &checks {
        let line = match ok {
            true => format!("[+]{name} ok\n"),
            false => format!("[-]{name} failed: reason withheld\n"),
        };
        told.push_str(&line);
    }
    let outcome = if healthy { "passed" } else { "failed" };
    told.push_str(&format!("{endpoint} check {outcome}\n"));
    let code = match healthy {
        true => StatusCode::OK,
        false => StatusCode::INTERNAL_SERVER_ERROR,
    };
    text(code, told)
}
