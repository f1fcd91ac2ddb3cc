//! Errors of the API as data, and the `Status` body that clients read.
//!
//! Never writes a response: a code and a body are handed to whoever does.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Status, StatusCause, StatusDetails};

use crate::{field::FieldError, kind_names::Names};

/// An error that an API request ends with.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    /// HTTP status code.
    pub code: u16,
    /// `Status.reason`, which programs look at.
    pub reason: &'static str,
    /// `Status.message`, for people.
    pub message: String,
    /// What the error is about. Boxed: most errors are passed around, few are read.
    pub details: Option<Box<StatusDetails>>,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

impl ApiError {
    fn plain(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None }
    }

    fn about(mut self, names: &Names, name: &str, kind: &str) -> Self {
        self.details = Some(Box::new(StatusDetails {
            name: text(name),
            group: text(&names.group),
            kind: text(kind),
            ..Default::default()
        }));
        self
    }

    /// 404: no object of that name.
    pub fn not_found(names: &Names, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource(names));
        Self::plain(404, "NotFound", message).about(names, name, &names.plural)
    }

    /// 404: nothing is served at that path.
    pub fn no_such_path() -> Self {
        Self::plain(404, "NotFound", "the server could not find the requested resource")
    }

    /// 409: the name is taken.
    pub fn already_exists(names: &Names, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource(names));
        Self::plain(409, "AlreadyExists", message).about(names, name, &names.plural)
    }

    /// 409: another write came first.
    pub fn modified(names: &Names, name: &str) -> Self {
        Self::conflict(
            names,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409 with a cause in words.
    pub fn conflict(names: &Names, name: &str, cause: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {cause}", resource(names));
        Self::plain(409, "Conflict", message).about(names, name, &names.plural)
    }

    /// 422: every violated rule, one cause each.
    pub fn invalid(names: &Names, name: &str, errors: &[FieldError]) -> Self {
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        let list = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let kind = qualified(&names.kind, &names.group);
        let message = format!("{kind} \"{name}\" is invalid: {list}");
        let mut error = Self::plain(422, "Invalid", message).about(names, name, &names.kind);
        if let Some(details) = &mut error.details {
            details.causes = Some(errors.iter().map(cause).collect());
        }
        error
    }

    /// 422: the request is understood and cannot be carried out. No details: with them, kubectl
    /// would print the object's name instead of the message.
    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::plain(422, "Invalid", message)
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::plain(400, "BadRequest", message)
    }

    /// 410: the resource version is too old to go on from; list again.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::plain(410, "Expired", message)
    }

    /// 410: it was here, and is not any more.
    pub fn gone(message: impl Into<String>) -> Self {
        Self::plain(410, "Gone", message)
    }

    /// 405: the resource is there, the verb is not.
    pub fn method_not_allowed(names: &Names, verb: &str) -> Self {
        let message =
            format!("{verb} is not supported on resources of kind \"{}\"", resource(names));
        Self::plain(405, "MethodNotAllowed", message).about(names, "", &names.plural)
    }

    /// 406: no media type of `Accept` can be produced.
    pub fn not_acceptable(served: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", served.join(", "));
        Self::plain(406, "NotAcceptable", message)
    }

    /// 415: the body's media type is not read here.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::plain(415, "UnsupportedMediaType", message)
    }

    /// 413: the body is over the limit.
    pub fn too_large(limit_bytes: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit_bytes}");
        Self::plain(413, "RequestEntityTooLarge", message)
    }

    /// 403: the user may not do this. `name` may be empty.
    pub fn forbidden(names: &Names, name: &str, cause: &str) -> Self {
        let resource = resource(names);
        let message = match name {
            "" => format!("{resource} is forbidden: {cause}"),
            name => format!("{resource} \"{name}\" is forbidden: {cause}"),
        };
        Self::plain(403, "Forbidden", message).about(names, name, &names.plural)
    }

    /// 401: nobody knows who asks.
    pub fn unauthorized() -> Self {
        Self::plain(401, "Unauthorized", "Unauthorized")
    }

    /// 429: try again after some seconds.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: i32) -> Self {
        Self::plain(429, "TooManyRequests", message).retry_after(retry_after_seconds)
    }

    /// 500: a fault of the server.
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self::plain(500, "InternalError", format!("Internal error occurred: {cause}"))
    }

    /// 503: not now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::plain(503, "ServiceUnavailable", message)
    }

    /// 504: it took too long, and what became of it is not known.
    pub fn timeout(message: impl Into<String>, retry_after_seconds: i32) -> Self {
        let message = format!("Timeout: {}", message.into());
        Self::plain(504, "Timeout", message).retry_after(retry_after_seconds)
    }

    fn retry_after(mut self, seconds: i32) -> Self {
        let details = StatusDetails { retry_after_seconds: Some(seconds), ..Default::default() };
        self.details = Some(Box::new(details));
        self
    }

    /// The body.
    pub fn status(&self) -> Status {
        Status {
            code: Some(i32::from(self.code)),
            details: self.details.as_deref().cloned(),
            message: Some(self.message.clone()),
            reason: Some(self.reason.to_owned()),
            status: Some("Failure".to_owned()),
            ..Default::default()
        }
    }

    /// The body as JSON, with `apiVersion` and `kind`.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.status()).expect("a Status has string keys only")
    }
}

/// `deployments.apps`, or `pods` in the core group.
pub fn resource(names: &Names) -> String {
    qualified(&names.plural, &names.group)
}

fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn cause(error: &FieldError) -> StatusCause {
    StatusCause {
        field: Some(error.field.clone()),
        message: Some(error.message.clone()),
        reason: Some(error.kind.reason().to_owned()),
    }
}
