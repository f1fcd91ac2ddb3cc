//! A request that failed: the API's error, from whichever stage it comes.
//!
//! Never decides whether something is an error, only how one is told.

use api::status::ApiError;

/// An error of any stage; `?` makes it of the store's errors, too.
#[derive(Debug, Clone)]
pub struct Failure(pub ApiError);

/// Seconds after which a client may try again when the server was not ready for it.
const RETRY_AFTER_S: i32 = 1;

impl Failure {
    /// 504: the cache or the store has not reached a revision in time.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self(ApiError::timeout(message, RETRY_AFTER_S))
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self(ApiError::bad_request(message))
    }

    /// 415, in words of its own.
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self(ApiError {
            code: 415,
            reason: "UnsupportedMediaType",
            message: message.into(),
            details: None,
        })
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        let told = match &error {
            store::Error::Compacted { .. } => ApiError::expired(format!(
                "The resourceVersion for the provided request is too old: {error}"
            )),
            store::Error::Future { .. } => {
                ApiError::timeout(format!("Too large resource version: {error}"), RETRY_AFTER_S)
            }
            store::Error::TooLarge { limit, .. } => ApiError::too_large(*limit),
            store::Error::Full(_) | store::Error::Unavailable(_) => {
                ApiError::unavailable(error.to_string())
            }
            store::Error::TooSlow { .. }
            | store::Error::Locked(_)
            | store::Error::Corrupt(_)
            | store::Error::Invalid(_)
            | store::Error::NoLease { .. } => ApiError::internal(&error),
        };
        Self(told)
    }
}
