//! From method, path and query to what is asked for: verb, group, version, resource,
//! namespace, name, subresource.
//!
//! Never looks at whether the resource exists or the user may.

use std::borrow::Cow;

use http::Method;

/// Upstream's names of what a request does with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read a collection.
    List,
    /// Follow a collection or one object.
    Watch,
    /// Add an object.
    Create,
    /// Replace an object.
    Update,
    /// Change parts of an object.
    Patch,
    /// Remove one object.
    Delete,
    /// Remove a collection.
    DeleteCollection,
}

impl Verb {
    /// Lower case, as in rules and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

/// A path below `/api/v1` or `/apis/GROUP/VERSION`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourcePath {
    /// API group; empty for the core group.
    pub group: String,
    /// Such as `v1`.
    pub version: String,
    /// The namespace, where the path has one.
    pub namespace: Option<String>,
    /// Lower-case plural.
    pub plural: String,
    /// The object, where the path names one.
    pub name: Option<String>,
    /// Such as `status`; empty for the object itself.
    pub subresource: String,
    /// The path is of the historic form `/api/v1/watch/…`.
    pub legacy_watch: bool,
}

impl ResourcePath {
    /// Takes a path apart. `None`: not the path of a resource.
    pub fn parse(path: &str) -> Option<Self> {
        let parts: Vec<Cow<'_, str>> =
            path.trim_matches('/').split('/').map(decode_percent).collect();
        let (group, version, mut rest) = match parts.first()?.as_ref() {
            "api" => (String::new(), parts.get(1)?.to_string(), parts.get(2..)?),
            "apis" => (parts.get(1)?.to_string(), parts.get(2)?.to_string(), parts.get(3..)?),
            _ => return None,
        };
        if rest.iter().any(|part| part.is_empty()) {
            return None;
        }
        let legacy_watch = rest.first().is_some_and(|p| p == "watch") && rest.len() > 1;
        if legacy_watch {
            rest = &rest[1..];
        }
        let mut namespace = None;
        // `namespaces/NAME` and its own subresources are the Namespace object itself.
        if rest.first().is_some_and(|p| p == "namespaces") && rest.len() > 2 {
            let own = rest.len() == 3 && matches!(rest[2].as_ref(), "status" | "finalize");
            if !own {
                namespace = Some(rest[1].to_string());
                rest = &rest[2..];
            }
        }
        let plural = rest.first()?.to_string();
        let name = rest.get(1).map(ToString::to_string);
        let subresource = rest.get(2).map(ToString::to_string).unwrap_or_default();
        if rest.len() > 3 {
            return None;
        }
        Some(Self { group, version, namespace, plural, name, subresource, legacy_watch })
    }

    /// The verb that the method stands for here.
    pub fn verb(&self, method: &Method, query: &Query) -> Option<Verb> {
        let verb = match (method, self.name.is_some()) {
            (&Method::GET, _) if self.legacy_watch => Verb::Watch,
            (&Method::GET, false) if query.flag("watch") => Verb::Watch,
            (&Method::GET, true) if self.subresource.is_empty() && query.flag("watch") => {
                Verb::Watch
            }
            (&Method::GET, false) => Verb::List,
            (&Method::GET | &Method::HEAD, true) => Verb::Get,
            (&Method::POST, _) => Verb::Create,
            (&Method::PUT, true) => Verb::Update,
            (&Method::PATCH, true) => Verb::Patch,
            (&Method::DELETE, true) => Verb::Delete,
            (&Method::DELETE, false) => Verb::DeleteCollection,
            _ => return None,
        };
        Some(verb)
    }
}

/// Query parameters, in the order given; a name may come more than once.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes `a=b&c=d`.
    pub fn parse(query: Option<&str>) -> Self {
        let Some(query) = query else {
            return Self::default();
        };
        let pairs = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode_form(name), decode_form(value))
            })
            .collect();
        Self(pairs)
    }

    /// The first value of a parameter; an empty one counts as unset.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    /// Every value of a parameter, empty ones too (`command=` is an argument).
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect()
    }

    /// Whether a boolean parameter is set: `true`, `1`, or present without a value.
    pub fn flag(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|(n, v)| n == name && matches!(v.as_str(), "" | "1" | "t" | "T" | "true" | "True"))
    }
}

fn decode_form(text: &str) -> String {
    decode_percent(&text.replace('+', " ")).into_owned()
}

/// Percent-decoding; what is no valid escape or UTF-8 is kept as it came.
fn decode_percent(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes.get(at + 1..at + 3).and_then(|hex| {
            let hex = std::str::from_utf8(hex).ok()?;
            u8::from_str_radix(hex, 16).ok()
        });
        match (bytes[at], escape) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
            }
            (byte, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    match String::from_utf8(decoded) {
        Ok(decoded) => Cow::Owned(decoded),
        Err(_) => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> String {
        match ResourcePath::parse(path) {
            None => "none".to_owned(),
            Some(p) => format!(
                "{}/{} ns={} {} name={} sub={}",
                p.group,
                p.version,
                p.namespace.as_deref().unwrap_or("-"),
                p.plural,
                p.name.as_deref().unwrap_or("-"),
                p.subresource
            ),
        }
    }

    #[test]
    fn paths_are_taken_apart_as_upstream_does() {
        for (path, want) in [
            ("/api/v1/pods", "/v1 ns=- pods name=- sub="),
            ("/api/v1/namespaces", "/v1 ns=- namespaces name=- sub="),
            ("/api/v1/namespaces/a", "/v1 ns=- namespaces name=a sub="),
            ("/api/v1/namespaces/a/finalize", "/v1 ns=- namespaces name=a sub=finalize"),
            ("/api/v1/namespaces/a/pods", "/v1 ns=a pods name=- sub="),
            ("/api/v1/namespaces/a/pods/b/log", "/v1 ns=a pods name=b sub=log"),
            (
                "/apis/apps/v1/namespaces/a/deployments/b/scale",
                "apps/v1 ns=a deployments name=b sub=scale",
            ),
            ("/api/v1/nodes/n%2e1", "/v1 ns=- nodes name=n.1 sub="),
            ("/api/v1", "none"),
            ("/apis/apps", "none"),
            ("/version", "none"),
            ("/api/v1/pods//x", "none"),
        ] {
            assert_eq!(parse(path), want, "{path}");
        }
    }

    #[test]
    fn query_values_are_decoded() {
        let query = Query::parse(Some("command=sh&command=&a=b%20c+d&watch=1&flag"));
        assert_eq!(query.all("command"), ["sh", ""]);
        assert_eq!(query.get("a"), Some("b c d"));
        assert!(query.flag("watch") && query.flag("flag") && !query.flag("a"));
    }
}
