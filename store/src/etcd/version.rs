//! Whether every member reports a watch's progress truthfully.
//!
//! Before 3.4.31 and 3.5.13 a requested progress could be ahead of events still on their
//! way, so such a server is asked in another way (`watch`). The members are asked again and again, since
//! they may be replaced while this runs. A member that does not answer counts as too old.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use tokio::{task::JoinHandle, time};

use crate::etcd::options::Connector;

/// How often the members are asked for their version.
const PERIOD: Duration = Duration::from_secs(30);
/// How long a member has to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What is known of the members' versions.
pub(super) struct Versions {
    truthful: Arc<AtomicBool>,
    asking: JoinHandle<()>,
}

impl Versions {
    /// Asks once, then keeps asking until it is dropped.
    pub async fn follow(connector: Connector) -> Self {
        let truthful = Arc::new(AtomicBool::new(ask(&connector).await));
        let known = truthful.clone();
        let asking = tokio::spawn(async move {
            loop {
                time::sleep(PERIOD).await;
                known.store(ask(&connector).await, Ordering::Relaxed);
            }
        });
        Self { truthful, asking }
    }

    /// Whether a requested progress can be believed.
    pub fn truthful(&self) -> Arc<AtomicBool> {
        self.truthful.clone()
    }
}

impl Drop for Versions {
    fn drop(&mut self) {
        self.asking.abort();
    }
}

async fn ask(connector: &Connector) -> bool {
    let asked = connector
        .endpoints
        .iter()
        .map(|endpoint| time::timeout(TIMEOUT, version_of(connector, endpoint)));
    let versions = join_all(asked).await;
    versions
        .into_iter()
        .all(|version| matches!(version, Ok(Some(version)) if is_truthful(&version)))
}

async fn version_of(connector: &Connector, endpoint: &String) -> Option<String> {
    let client = connector.client_of(std::slice::from_ref(endpoint)).await;
    let status = client.ok()?.status().await.ok()?;
    Some(status.version().to_owned())
}

/// Whether this version's progress follows its events.
fn is_truthful(version: &str) -> bool {
    let mut parts = version.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    let (Some(major), Some(minor), Some(patch)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    match (major, minor) {
        (3, 4) => patch >= 31,
        (3, 5) => patch >= 13,
        newer => newer > (3, 5),
    }
}

#[cfg(test)]
mod tests {
    use super::is_truthful;

    #[test]
    fn versions_before_the_repair_are_not_believed() {
        for (version, expected) in [
            ("3.3.27", false),
            ("3.4.23", false),
            ("3.4.30", false),
            ("3.4.31", true),
            ("3.5.0", false),
            ("3.5.12", false),
            ("3.5.13", true),
            ("3.5.21-rc.0", true),
            ("3.6.0", true),
            ("4.0.0", true),
            ("", false),
            ("3.5", false),
            ("unknown", false),
        ] {
            assert_eq!(is_truthful(version), expected, "{version}");
        }
    }
}
