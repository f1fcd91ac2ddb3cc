//! How soon a pod that failed on a node is replaced: at once, then ever later.
//!
//! Never sleeps: it says how long to wait.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

/// From one failure to the next.
const REPLACE: client::BackOff = client::BackOff::new(Duration::from_secs(1), LONGEST);
/// The longest wait. What has been quiet for twice as long begins afresh and is forgotten.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// A template on a node: the set's UID and generation, and the node.
pub type Place = (String, i64, String);

/// The failures of all sets of the last half hour.
#[derive(Debug, Default)]
pub struct BackOff {
    /// The wait after the last replacement, and when that was.
    last: HashMap<Place, (client::BackOff, Timestamp)>,
}

impl BackOff {
    /// How long the failed pod at this place must stay. Zero says that it goes now, and the
    /// next one will stay longer.
    pub fn wait(&mut self, place: Place, now: Timestamp) -> Duration {
        let age =
            |since: Timestamp| Duration::try_from(now.duration_since(since)).unwrap_or_default();
        self.last.retain(|_, (_, since)| age(*since) < 2 * LONGEST);
        let (wait, since) = self.last.entry(place).or_insert((REPLACE, now));
        let left = wait.delay().saturating_sub(age(*since));
        if left.is_zero() {
            wait.lengthen();
            *since = now;
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_waits_twice_as_long_as_the_last() {
        let mut back_off = BackOff::default();
        let mut wait = |node: &str, second: i64| {
            let at = Timestamp::from_second(second).expect("the time is in range");
            back_off.wait(("set".to_owned(), 1, node.to_owned()), at).as_secs()
        };
        assert_eq!(wait("a", 1000), 0);
        assert_eq!(wait("a", 1000), 1);
        assert_eq!(wait("b", 1000), 0);
        assert_eq!(wait("a", 1001), 0);
        assert_eq!(wait("a", 1001), 2);
        assert_eq!(wait("a", 1002), 1);
        assert_eq!(wait("a", 1003), 0);
        assert_eq!(wait("a", 1003), 4);
        // After half an hour without a failure it begins afresh.
        assert_eq!(wait("a", 3000), 0);
        assert_eq!(wait("a", 3000), 1);
    }

    #[test]
    fn no_wait_is_longer_than_a_quarter_of_an_hour() {
        let mut back_off = BackOff::default();
        let mut now = Timestamp::from_second(1000).expect("the time is in range");
        let place = || ("set".to_owned(), 1, "a".to_owned());
        for _ in 0..20 {
            assert_eq!(back_off.wait(place(), now), Duration::ZERO);
            let wait = back_off.wait(place(), now);
            assert!(wait <= LONGEST, "{wait:?}");
            now += wait;
        }
        assert_eq!(back_off.wait(place(), now), Duration::ZERO);
        assert_eq!(back_off.wait(place(), now), LONGEST);
    }
}
