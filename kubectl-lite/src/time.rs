//! Ages and dates as kubectl writes them.

use jiff::{Timestamp, tz::TimeZone};

/// Seconds as `5s`, `3m20s`, `2h5m`, `3d4h`, `400d`, `2y10d`: coarser the longer.
pub fn human(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let years = days / 365;
    let pair = |big: i64, unit: char, small: i64, sub: char| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{sub}"),
    };
    match seconds {
        ..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => pair(years, 'y', days % 365, 'd'),
        _ => format!("{years}y"),
    }
}

/// Time since then, `<unknown>` without one.
pub fn since(time: Option<Timestamp>) -> String {
    match time {
        Some(time) => human(Timestamp::now().as_second() - time.as_second()),
        None => "<unknown>".to_owned(),
    }
}

/// `Sat, 21 Nov 2026 06:00:00 +0000` in the local zone, as `describe` shows it.
pub fn date(time: Option<Timestamp>) -> String {
    match time.map(|it| it.to_zoned(TimeZone::system())) {
        Some(zoned) => zoned.strftime("%a, %d %b %Y %H:%M:%S %z").to_string(),
        None => "<unset>".to_owned(),
    }
}

/// Reads `30s`, `1m30s`, `500ms`; a bare number is seconds.
pub fn duration(text: &str) -> std::result::Result<std::time::Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(std::time::Duration::from_secs(seconds));
    }
    let wrong = || format!("{text:?} is no duration: use 30s, 5m or 1h30m");
    let mut total_ms = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|it: char| it.is_ascii_alphabetic()).ok_or_else(wrong)?;
        let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
        let unit_end = rest[end..].find(|it: char| !it.is_ascii_alphabetic());
        let unit_end = unit_end.map_or(rest.len(), |it| end + it);
        total_ms += number
            * match &rest[end..unit_end] {
                "ms" => 1.0,
                "s" => 1e3,
                "m" => 6e4,
                "h" => 3.6e6,
                _ => return Err(wrong()),
            };
        rest = &rest[unit_end..];
    }
    std::time::Duration::try_from_secs_f64(total_ms / 1e3).map_err(|_| wrong())
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
