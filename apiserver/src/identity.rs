//! Users: who a request is made by, and who is at the other end of a connection.

use std::sync::Arc;

/// Upstream's name of a user without a credential.
const ANONYMOUS: &str = "system:anonymous";

/// A user and the groups they are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Such as `system:node:worker-1`.
    pub user: String,
    /// Such as `system:nodes`; `system:authenticated` among them.
    pub groups: Vec<String>,
}

impl Identity {
    /// An authenticated user.
    pub fn new(user: impl Into<String>, groups: impl IntoIterator<Item = String>) -> Self {
        let mut groups: Vec<String> = groups.into_iter().collect();
        groups.push("system:authenticated".to_owned());
        Self { user: user.into(), groups }
    }

    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self { user: ANONYMOUS.to_owned(), groups: vec!["system:unauthenticated".to_owned()] }
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub enum Peer {
    /// No certificate was shown.
    Unknown,
    /// The certificate is of the client CA.
    Known(Arc<Identity>),
    /// The certificate is of another CA, or has expired, or is not for clients.
    Wrong,
}
