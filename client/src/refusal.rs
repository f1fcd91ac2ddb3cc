//! What an API server's refusal means to a controller.
//!
//! Never decides what to do about it.

/// Whether the API server refused with that HTTP status.
pub fn is_status<T>(answer: &kube::Result<T>, code: u16) -> bool {
    matches!(answer, Err(kube::Error::Api(status)) if status.code == code)
}

/// Whether a creation failed because the namespace is on its way out: retrying is no use.
pub fn is_namespace_terminating(error: &anyhow::Error) -> bool {
    let Some(kube::Error::Api(status)) = error.downcast_ref::<kube::Error>() else {
        return false;
    };
    let mut causes = status.details.iter().flat_map(|details| details.causes.iter());
    status.code == 403 && causes.any(|cause| cause.reason == "NamespaceTerminating")
}
