//! When a watch that broke is begun again. Never gives up, and never hides an error that a person
//! should know of.

use std::future::ready;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{Error, Event, Result};

/// Between tries to reach the API server: from, to. Short, since what is known gets stale
/// meanwhile; there is one client of this kind a node.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// A version that is too old is an error again where it comes again within this time.
const RELIST_EVERY: Duration = Duration::from_secs(1);

/// The watch, begun again with a delay after an error, and without one where all that is needed is
/// a new list: a stock API server that has started again does not know older versions (410).
pub fn retried<K: Clone + Send + 'static>(
    events: impl Stream<Item = Result<Event<K>>> + Send,
) -> impl Stream<Item = Result<Event<K>>> + Send {
    let mut relisted: Option<Instant> = None;
    let events = events.filter(move |event| {
        let is_expired = event.as_ref().is_err_and(is_expired);
        let is_first = relisted.is_none_or(|at| at.elapsed() >= RELIST_EVERY);
        if is_expired && is_first {
            relisted = Some(Instant::now());
        }
        ready(!(is_expired && is_first))
    });
    events.backoff(Retry(RETRY.0))
}

/// Whether the version to go on from is no longer known; a list comes next by itself.
fn is_expired(error: &Error) -> bool {
    match error {
        Error::WatchError(status) => status.code == 410,
        Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 410,
        _ => false,
    }
}

/// The next delay; doubled each time, back to the first after a success.
struct Retry(Duration);

impl Iterator for Retry {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let delay = self.0;
        self.0 = (delay * 2).min(RETRY.1);
        Some(delay)
    }
}

impl Backoff for Retry {
    fn reset(&mut self) {
        self.0 = RETRY.0;
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use kube::core::Status;

    use super::*;

    fn failure(code: u16) -> Result<Event<()>> {
        Err(Error::WatchError(Box::new(Status::failure("no", "Reason").with_code(code))))
    }

    #[tokio::test(start_paused = true)]
    async fn a_version_too_old_is_no_error_and_costs_no_time() {
        let begun = tokio::time::Instant::now();
        let events = [failure(410), Ok(Event::Init), Ok(Event::InitDone)];
        let seen: Vec<_> = retried(stream::iter(events)).collect().await;
        assert!(matches!(seen[..], [Ok(Event::Init), Ok(Event::InitDone)]));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn others_and_one_that_comes_again_at_once_wait() {
        let begun = tokio::time::Instant::now();
        let events = [failure(410), failure(410), failure(500), Ok(Event::Init)];
        let seen: Vec<_> = retried(stream::iter(events)).collect().await;
        assert!(matches!(seen[..], [Err(_), Err(_), Ok(Event::Init)]));
        assert_eq!(begun.elapsed(), RETRY.0 * 3);
    }
}
