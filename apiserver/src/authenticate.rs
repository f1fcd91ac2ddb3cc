//! Who sends a request: client certificate, bearer token, or nobody.
//!
//! Never decides what a user may do, and never logs a token.

use std::{collections::HashMap, path::Path, sync::Arc};

use anyhow::Context;
use http::{HeaderMap, header::AUTHORIZATION};

use api::status::ApiError;

use crate::{
    failure::Failure,
    identity::{Identity, Peer},
};

/// Paths that are answered without a credential: health checks and the version.
const OPEN_PATHS: &[&str] = &["/livez", "/readyz", "/healthz", "/version"];

/// The bearer tokens of a static file.
#[derive(Default)]
pub struct Tokens(HashMap<String, Arc<Identity>>);

impl Tokens {
    /// Reads `token,user,uid,"group1,group2"` lines.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("reading --token-auth-file {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in --token-auth-file {}", path.display()))
    }

    /// Parses the content of a token file. Errors name the line, never its content.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut tokens = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut parts = line.splitn(4, ',').map(|part| part.trim().trim_matches('"'));
            let token = parts.next().filter(|token| !token.is_empty());
            let user = parts.next().filter(|user| !user.is_empty());
            let (Some(token), Some(user)) = (token, user) else {
                anyhow::bail!(
                    "line {} is not of the form token,user,uid,\"group1,group2\"",
                    at + 1
                );
            };
            let groups = parts.nth(1).unwrap_or_default().split(',');
            let groups = groups.map(|g| g.trim().to_owned()).filter(|g| !g.is_empty());
            tokens.insert(token.to_owned(), Arc::new(Identity::new(user, groups)));
        }
        Ok(Self(tokens))
    }
}

/// Finds out who sends a request. A credential that is wrong is a 401 even where none is
/// needed, but a token may make good for a certificate.
pub fn authenticate(
    path: &str,
    headers: &HeaderMap,
    peer: &Peer,
    tokens: &Tokens,
) -> Result<Arc<Identity>, Failure> {
    if let Peer::Known(identity) = peer {
        return Ok(identity.clone());
    }
    if let Some(header) = headers.get(AUTHORIZATION) {
        let token = header.to_str().ok().and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let known = token.and_then(|token| tokens.0.get(token));
        return known.cloned().ok_or_else(|| ApiError::unauthorized().into());
    }
    let open = OPEN_PATHS.iter().any(|open| {
        path.strip_prefix(open).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    if open && !matches!(peer, Peer::Wrong) {
        Ok(Arc::new(Identity::anonymous()))
    } else {
        Err(ApiError::unauthorized().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(path: &str, header: Option<&str>) -> String {
        let tokens =
            Tokens::parse("s3cret,jane,1,\"dev,ops\"\n# comment\n\nother,joe,2\n").unwrap();
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(AUTHORIZATION, header.parse().unwrap());
        }
        match authenticate(path, &headers, &Peer::Unknown, &tokens) {
            Ok(identity) => format!("{} {}", identity.user, identity.groups.join(",")),
            Err(failure) => failure.0.code.to_string(),
        }
    }

    #[test]
    fn only_health_and_version_are_open() {
        for (path, header, want) in [
            ("/api", None, "401"),
            ("/livez", None, "system:anonymous system:unauthenticated"),
            ("/livez/ping", None, "system:anonymous system:unauthenticated"),
            ("/livezz", None, "401"),
            ("/livez", Some("Bearer wrong"), "401"),
            ("/api", Some("Bearer s3cret"), "jane dev,ops,system:authenticated"),
            ("/api", Some("bearer other"), "joe system:authenticated"),
            ("/api", Some("Basic s3cret"), "401"),
        ] {
            assert_eq!(who(path, header), want, "{path} {header:?}");
        }
    }

    #[test]
    fn a_bad_token_file_names_the_line_and_no_secret() {
        let error = Tokens::parse("ok,u,1\nsecret\n").err().unwrap().to_string();
        assert!(error.contains("line 2") && !error.contains("secret"), "{error}");
    }
}
