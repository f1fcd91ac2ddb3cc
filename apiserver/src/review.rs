//! Reviews: kinds that are only asked, never stored. Who am I, may I do this, what may I do?
//!
//! Never decides anything: `authenticate` and `authorize` do.

use std::sync::LazyLock;

use api::{kind::Names, status::ApiError};
use axum::body::Body;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::{
    authorize::{Attributes, authorize, rules},
    decode::{self, read_body},
    encode::json_value,
    failure::Failure,
    identity::Identity,
    request::{ResourcePath, Verb},
};

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

/// The reviews, for discovery.
pub static ALL: LazyLock<[Names; 3]> = LazyLock::new(|| {
    [
        names(AUTHENTICATION, "SelfSubjectReview", "selfsubjectreviews"),
        names(AUTHORIZATION, "SelfSubjectAccessReview", "selfsubjectaccessreviews"),
        names(AUTHORIZATION, "SelfSubjectRulesReview", "selfsubjectrulesreviews"),
    ]
});

fn names(group: &str, kind: &str, plural: &str) -> Names {
    let verbs = vec!["create"];
    Names { singular: String::new(), verbs, ..Names::cluster(group, "v1", kind, plural) }
}

/// The review that a path names.
pub fn find(path: &ResourcePath) -> Option<&'static Names> {
    let asked = (path.group.as_str(), path.version.as_str(), path.plural.as_str());
    let mut reviews = ALL.iter();
    reviews.find(|names| (&*names.group, &*names.version, &*names.plural) == asked)
}

/// Answers a review: the body again, with its `status`.
pub async fn answer(
    names: &Names,
    identity: &Identity,
    path: &ResourcePath,
    verb: Verb,
    request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    if path.namespace.is_some() || path.name.is_some() {
        return Err(ApiError::no_such_path().into());
    }
    if verb != Verb::Create {
        return Err(ApiError::method_not_allowed(names, verb.name()).into());
    }
    let (parts, body) = request.into_parts();
    let mut review = decode::value(&parts.headers, &read_body(body).await?)?;
    if !review.is_object() {
        return Err(Failure::bad_request(format!("{} must be an object", names.kind)));
    }
    let spec = review["spec"].take();
    let status = match names.kind.as_str() {
        "SelfSubjectReview" => json!({ "userInfo": {
            "username": identity.user, "groups": identity.groups,
        } }),
        "SelfSubjectRulesReview" => rules(identity, text(&spec, "namespace")),
        _ => access(identity, &spec)?,
    };
    let mut answer = json!({
        "kind": names.kind,
        "apiVersion": names.api_version(),
        "metadata": review["metadata"].take(),
        "status": status,
    });
    if answer["metadata"].is_null() {
        answer["metadata"] = json!({ "creationTimestamp": null });
    }
    if spec.is_object() {
        answer["spec"] = spec;
    }
    Ok(json_value(StatusCode::CREATED, &answer))
}

fn access(identity: &Identity, spec: &Value) -> Result<Value, Failure> {
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let path;
    let attributes = match (resource.is_object(), other.is_object()) {
        (true, false) => {
            path = resource_path(resource);
            Attributes::Resource(text(resource, "verb"), &path)
        }
        (false, true) => Attributes::Path(text(other, "path")),
        _ => {
            return Err(Failure::bad_request(
                "spec: exactly one of resourceAttributes and nonResourceAttributes must be set",
            ));
        }
    };
    Ok(match authorize(identity, attributes) {
        Ok(()) => json!({ "allowed": true }),
        Err(Failure(error)) => json!({ "allowed": false, "reason": error.message }),
    })
}

fn resource_path(attributes: &Value) -> ResourcePath {
    let own = |field| text(attributes, field).to_owned();
    let some = |field| Some(own(field)).filter(|value| !value.is_empty());
    ResourcePath {
        group: own("group"),
        version: own("version"),
        namespace: some("namespace"),
        plural: own("resource"),
        name: some("name"),
        subresource: own("subresource"),
        legacy_watch: false,
    }
}

fn text<'a>(of: &'a Value, field: &str) -> &'a str {
    of[field].as_str().unwrap_or_default()
}
