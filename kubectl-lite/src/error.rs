//! What went wrong in kubectl's words, and the exit codes.

use serde_json::Value;

/// A failure of a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server said no: its `Status`, and what was being done with which file.
    #[error("{}", status_text(status, doing.as_deref()))]
    Status {
        /// The `Status` object.
        status: Value,
        /// As in `error when creating "web.yaml"`.
        doing: Option<String>,
    },
    /// Wrong input, or anything found out on this side.
    #[error("error: {0}")]
    Message(String),
    /// A text that stands alone, without `error:`.
    #[error("{0}")]
    Plain(String),
    /// Several, each on a line of its own.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<Error>),
    /// Everything is said already; leave with this code.
    #[error("")]
    Exit(i32),
    /// The reader of our output has gone.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

/// What commands return.
pub type Result<T = ()> = std::result::Result<T, Error>;

impl Error {
    /// An `error: …` with this text.
    pub fn message(text: impl Into<String>) -> Self {
        Self::Message(text.into())
    }

    /// HTTP status of a server's answer; 0 for everything else.
    pub fn code(&self) -> u64 {
        match self {
            Self::Status { status, .. } => status["code"].as_u64().unwrap_or(0),
            _ => 0,
        }
    }

    /// Whether the server knows no such object.
    pub fn is_not_found(&self) -> bool {
        self.code() == 404
    }

    /// Says what was being done, for errors of the server.
    pub fn doing(self, text: impl Into<String>) -> Self {
        match self {
            Self::Status { status, .. } => Self::Status { status, doing: Some(text.into()) },
            other => other,
        }
    }

    /// Says it on standard error, and gives the exit code: a command's own for `Exit`, else 1.
    pub fn report(&self) -> i32 {
        match self {
            Self::Exit(code) => *code,
            // Whoever read our output has seen enough.
            Self::Output(_) => 1,
            error => {
                eprintln!("{error}");
                1
            }
        }
    }

    /// Does something for each item and goes on after errors, but not when the output's reader is
    /// gone. All errors are one at the end, after those from before.
    pub async fn for_each<T>(
        items: impl IntoIterator<Item = T>,
        mut errors: Vec<Self>,
        act: impl AsyncFn(&T) -> Result,
    ) -> Result {
        for item in items {
            match act(&item).await {
                Err(error @ Self::Output(_)) => return Err(error),
                done => errors.extend(done.err()),
            }
        }
        Self::collect(errors)
    }

    /// One error of many, or success of none.
    pub fn collect(mut errors: Vec<Self>) -> Result {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }
}

fn status_text(status: &Value, doing: Option<&str>) -> String {
    let reason = status["reason"].as_str().unwrap_or_default();
    let message = status["message"].as_str().unwrap_or("unknown");
    if reason == "Invalid" && status["details"].is_object() {
        return invalid_text(&status["details"], message);
    }
    if reason == "Unauthorized" {
        return format!("error: You must be logged in to the server ({message})");
    }
    let message = match doing {
        Some(doing) => format!("{doing}: {message}"),
        None => message.to_owned(),
    };
    if reason.is_empty() {
        return format!("Error from server: {message}");
    }
    format!("Error from server ({reason}): {message}")
}

/// `The Service "x" is invalid: …`, with a line for each cause where there are several.
fn invalid_text(details: &Value, message: &str) -> String {
    let kind = details["kind"].as_str().unwrap_or_default();
    let name = details["name"].as_str().unwrap_or_default();
    let what = if kind.is_empty() && name.is_empty() {
        return format!("The request is invalid: {message}");
    } else if name.is_empty() {
        format!("The {kind} is invalid")
    } else {
        format!("The {kind} {name:?} is invalid")
    };
    let causes = details["causes"].as_array().into_iter().flatten();
    let mut causes: Vec<_> = causes
        .map(|cause| {
            let message = cause["message"].as_str().unwrap_or_default();
            match cause["field"].as_str().unwrap_or_default() {
                "" => message.to_owned(),
                field => format!("{field}: {message}"),
            }
        })
        .collect();
    match causes.len() {
        0 => what,
        1 => format!("{what}: {}", causes.remove(0)),
        _ => {
            let lines: Vec<_> = causes.iter().map(|cause| format!("* {cause}")).collect();
            format!("{what}: \n{}", lines.join("\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(status: Value) -> String {
        Error::Status { status, doing: None }.to_string()
    }

    #[test]
    fn errors_read_as_kubectl_prints_them() {
        let missing = json!({"reason": "NotFound", "message": "pods \"x\" not found", "code": 404});
        assert_eq!(text(missing.clone()), "Error from server (NotFound): pods \"x\" not found");
        let status = missing;
        let error = Error::Status { status, doing: None }.doing("error when creating \"f\"");
        let expected =
            "Error from server (NotFound): error when creating \"f\": pods \"x\" not found";
        assert_eq!(error.to_string(), expected);
        let cause = json!({"field": "spec.ports[0].nodePort", "message": "Invalid value: 1: bad"});
        let invalid = |causes: Value| {
            text(json!({"reason": "Invalid", "message": "m",
                "details": {"kind": "Service", "name": "x", "causes": causes}}))
        };
        let one = "The Service \"x\" is invalid: spec.ports[0].nodePort: Invalid value: 1: bad";
        assert_eq!(invalid(json!([cause])), one);
        let line = "* spec.ports[0].nodePort: Invalid value: 1: bad";
        let two = format!("The Service \"x\" is invalid: \n{line}\n{line}");
        assert_eq!(invalid(json!([cause, cause])), two);
    }
}
