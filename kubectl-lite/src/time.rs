//! Ages and dates as kubectl writes them.

pub use api::duration::human;
use jiff::{Timestamp, tz::TimeZone};

/// Time since an RFC 3339 time, `<unknown>` without one.
pub fn since(text: &str) -> String {
    match text.parse::<Timestamp>() {
        Ok(time) => human(Timestamp::now().as_second() - time.as_second()),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// `Sat, 21 Nov 2026 06:00:00 +0000` in the local zone, as `describe` shows it.
pub fn date(text: &str) -> String {
    let zoned = text.parse::<Timestamp>().map(|it| it.to_zoned(TimeZone::system()));
    match zoned {
        Ok(zoned) => zoned.strftime("%a, %d %b %Y %H:%M:%S %z").to_string(),
        Err(_) => "<unset>".to_owned(),
    }
}

/// Reads `30s`, `1m30s`, `500ms`; a bare number is seconds.
pub fn duration(text: &str) -> std::result::Result<std::time::Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(std::time::Duration::from_secs(seconds));
    }
    ::client::duration::parse(text)
        .ok_or_else(|| format!("{text:?} is no duration: use 30s, 5m or 1h30m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_get_coarser() {
        let cases = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (11_460, "3h11m"),
            (28_800, "8h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (700_000, "8d"),
            (40_000_000, "462d"),
            (64_000_000, "2y10d"),
        ];
        for (seconds, text) in cases {
            assert_eq!(human(seconds), text);
        }
    }

    #[test]
    fn durations_are_read() {
        assert_eq!(duration("1m30s").unwrap().as_secs(), 90);
        assert_eq!(duration("7").unwrap().as_secs(), 7);
        assert!(duration("1x").is_err());
    }
}
