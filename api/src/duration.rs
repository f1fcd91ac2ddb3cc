//! Ages as people read them: `5s`, `3m20s`, `4d2h`, in the steps that `kubectl get` prints.
//!
//! Never reads a clock: `now` is an argument.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// A duration in seconds, coarser the longer it is. One second below zero is tolerated
/// (clocks differ between machines) and printed as `0s`; more is `<invalid>`.
pub fn human(seconds: i64) -> String {
    match seconds {
        i64::MIN..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 10 * MINUTE => two(s / MINUTE, "m", s % MINUTE, "s"),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 8 * HOUR => two(s / HOUR, "h", s % HOUR / MINUTE, "m"),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s if s < 8 * DAY => two(s / DAY, "d", s % DAY / HOUR, "h"),
        s if s < 2 * YEAR => format!("{}d", s / DAY),
        s if s < 8 * YEAR => two(s / YEAR, "y", s % YEAR / DAY, "d"),
        s => format!("{}y", s / YEAR),
    }
}

fn two(large: i64, large_unit: &str, small: i64, small_unit: &str) -> String {
    if small == 0 {
        format!("{large}{large_unit}")
    } else {
        format!("{large}{large_unit}{small}{small_unit}")
    }
}

/// The time from `time` to `now`; `<unknown>` where there is none.
pub fn since(time: Option<&Time>, now: Timestamp) -> String {
    time.map_or_else(|| "<unknown>".to_owned(), |time| between(time.0, now))
}

/// As [`since`], for times with microseconds.
pub fn since_micro(time: Option<&MicroTime>, now: Timestamp) -> String {
    time.map_or_else(|| "<unknown>".to_owned(), |time| between(time.0, now))
}

fn between(then: Timestamp, now: Timestamp) -> String {
    // Whole seconds, rounded towards zero.
    human(now.duration_since(then).as_secs())
}
