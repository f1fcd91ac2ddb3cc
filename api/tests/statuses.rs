//! Errors in, the JSON that clients read out.
//!
//! Never sends anything.

use api::{field::FieldError, kinds, status::ApiError};
use serde_json::{Value, json};

#[track_caller]
fn check(error: &ApiError, expected: Value) {
    let mut body: Value = serde_json::from_slice(&error.to_json()).expect("JSON");
    let fields = body.as_object_mut().expect("an object");
    for (field, value) in [("apiVersion", "v1"), ("kind", "Status"), ("status", "Failure")] {
        assert_eq!(fields.remove(field), Some(json!(value)));
    }
    fields.remove("metadata");
    assert_eq!(body, expected);
}

#[test]
fn errors_about_objects() {
    let pods = kinds::find("", "v1", "pods").expect("a kind").names();
    let deployments = kinds::find("apps", "v1", "deployments").expect("a kind").names();
    check(
        &ApiError::not_found(pods, "web"),
        json!({"code": 404, "reason": "NotFound", "message": "pods \"web\" not found",
            "details": {"name": "web", "kind": "pods"}}),
    );
    check(
        &ApiError::already_exists(deployments, "web"),
        json!({"code": 409, "reason": "AlreadyExists", "message": "deployments.apps \"web\" already exists",
            "details": {"name": "web", "group": "apps", "kind": "deployments"}}),
    );
    check(
        &ApiError::modified(deployments, "web"),
        json!({"code": 409, "reason": "Conflict",
            "message": "Operation cannot be fulfilled on deployments.apps \"web\": the object has been \
                modified; please apply your changes to the latest version and try again",
            "details": {"name": "web", "group": "apps", "kind": "deployments"}}),
    );
    check(
        &ApiError::forbidden(pods, "", "User \"u\" cannot list them"),
        json!({"code": 403, "reason": "Forbidden", "message": "pods is forbidden: User \"u\" cannot list them",
            "details": {"kind": "pods"}}),
    );
}

#[test]
fn every_violated_rule_is_a_cause() {
    let names = kinds::find("apps", "v1", "deployments").expect("a kind").names();
    let required = FieldError::required("spec.selector", "");
    let negative = FieldError::invalid("spec.replicas", &-1, "must be greater than or equal to 0");
    let cause = |field: &str, message: &str, reason: &str| json!({"field": field, "message": message, "reason": reason});
    check(
        &ApiError::invalid(names, "web", std::slice::from_ref(&required)),
        json!({"code": 422, "reason": "Invalid",
            "message": "Deployment.apps \"web\" is invalid: spec.selector: Required value",
            "details": {"name": "web", "group": "apps", "kind": "Deployment",
                "causes": [cause("spec.selector", "Required value", "FieldValueRequired")]}}),
    );
    check(
        &ApiError::invalid(names, "web", &[required, negative]),
        json!({"code": 422, "reason": "Invalid",
        "message": "Deployment.apps \"web\" is invalid: [spec.selector: Required value, \
            spec.replicas: Invalid value: -1: must be greater than or equal to 0]",
        "details": {"name": "web", "group": "apps", "kind": "Deployment", "causes": [
            cause("spec.selector", "Required value", "FieldValueRequired"),
            cause("spec.replicas", "Invalid value: -1: must be greater than or equal to 0", "FieldValueInvalid"),
        ]}}),
    );
}

#[test]
fn errors_about_requests() {
    for (error, code, reason, message) in [
        (ApiError::bad_request("no"), 400, "BadRequest", "no"),
        (ApiError::unauthorized(), 401, "Unauthorized", "Unauthorized"),
        (ApiError::expired("too old"), 410, "Expired", "too old"),
        (
            ApiError::too_large(9),
            413,
            "RequestEntityTooLarge",
            "Request entity too large: limit is 9",
        ),
        (
            ApiError::unsupported_media_type(&["application/json", "application/yaml"]),
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: \
             application/json, application/yaml",
        ),
        (ApiError::internal("disk"), 500, "InternalError", "Internal error occurred: disk"),
        (ApiError::unavailable("later"), 503, "ServiceUnavailable", "later"),
    ] {
        check(&error, json!({"code": code, "reason": reason, "message": message}));
    }
    check(
        &ApiError::too_many_requests("slow down", 2),
        json!({"code": 429, "reason": "TooManyRequests", "message": "slow down",
            "details": {"retryAfterSeconds": 2}}),
    );
}
