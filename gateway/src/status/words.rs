//! Times and numbers as people read them.

use std::time::Duration;

use jiff::Timestamp;

/// A time in words, and as it is.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    /// For machines.
    pub(super) iso: String,
    /// To the second, by UTC.
    pub(super) whole: String,
    /// Seen from now.
    pub(super) told: String,
}

/// A time seen from now: `5 min ago`, `in 2 h 10 min`.
pub(super) fn moment(at: Timestamp, now: Timestamp) -> Moment {
    let distance = at.duration_since(now);
    let told = match span(distance.unsigned_abs()) {
        _ if distance.unsigned_abs() < Duration::from_secs(1) => "now".to_owned(),
        span if distance.is_positive() => format!("in {span}"),
        span => format!("{span} ago"),
    };
    Moment {
        iso: at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        whole: at.strftime("%F %T UTC").to_string(),
        told,
    }
}

/// A time of the contract.
pub(super) fn time(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    let time = time?;
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// A length of time in its two largest units.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: u64, unit: &str, small: u64, of: &str| match small {
        0 => format!("{large} {unit}"),
        small => format!("{large} {unit} {small} {of}"),
    };
    match () {
        () if days > 0 => two(days, "d", hours % 24, "h"),
        () if hours > 0 => two(hours, "h", minutes % 60, "min"),
        () if minutes >= 10 => format!("{minutes} min"),
        () if minutes > 0 => two(minutes, "min", seconds % 60, "s"),
        () => format!("{seconds} s"),
    }
}

/// How long something took: `820 ms`, `1.4 s`.
pub(super) fn took(seconds: f64) -> String {
    match seconds * 1000.0 {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms if ms < 10_000.0 => format!("{:.1} s", ms / 1000.0),
        ms => format!("{:.0} s", ms / 1000.0),
    }
}

/// Digits in threes: `1,234,567`.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of something: `1 report`, `2,000 reports`.
pub(super) fn counted(count: u64, one: &str) -> String {
    let many = if count == 1 { "" } else { "s" };
    format!("{} {one}{many}", grouped(count))
}

/// A number that need not be exact: `0.4`, `12`, `3.5k`, `2M`.
pub(super) fn short(value: f64) -> String {
    let scaled = |by: f64, unit: &str| {
        let text = format!("{:.1}", value / by);
        format!("{}{unit}", text.trim_end_matches(".0"))
    };
    match value {
        value if value >= 1e9 => scaled(1e9, "G"),
        value if value >= 1e6 => scaled(1e6, "M"),
        value if value >= 1e3 => scaled(1e3, "k"),
        value if value >= 10.0 => format!("{value:.0}"),
        _ => scaled(1.0, ""),
    }
}

/// Of how many, in hundredths, as far as it tells something: none and all are told of nothing else.
pub(super) fn percent(part: u64, whole: u64) -> String {
    match part as f64 * 100.0 / whole as f64 {
        _ if part == 0 || whole == 0 => "0 %".to_owned(),
        percent if percent < 0.1 => "< 0.1 %".to_owned(),
        percent if percent >= 99.5 && part < whole => "> 99 %".to_owned(),
        percent if percent < 1.0 => format!("{percent:.1} %"),
        percent => format!("{percent:.0} %"),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn times_are_seen_from_now() {
        let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        for (seconds, expected) in [
            (0, "now"),
            (-5, "5 s ago"),
            (-95, "1 min 35 s ago"),
            (-1_234, "20 min ago"),
            (7_800, "in 2 h 10 min"),
            (86_400 * 3, "in 3 d"),
            (-90_000, "1 d 1 h ago"),
        ] {
            let told = moment(now + SignedDuration::from_secs(seconds), now);
            assert_eq!(told.told, expected);
        }
        assert_eq!(moment(now, now).whole, "2026-11-26 12:00:00 UTC");
    }

    #[test]
    fn numbers_are_short() {
        for (value, expected) in [
            (0.0, "0"),
            (0.25, "0.2"),
            (12.4, "12"),
            (1_000.0, "1k"),
            (3_456.0, "3.5k"),
            (2e6, "2M"),
            (7.25e9, "7.2G"),
        ] {
            assert_eq!(short(value), expected);
        }
        for (seconds, expected) in [
            (0.001_24, "1.2 ms"),
            (0.82, "820 ms"),
            (1.44, "1.4 s"),
            (75.0, "75 s"),
        ] {
            assert_eq!(took(seconds), expected);
        }
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(
            [0, 1, 2000].map(|count| counted(count, "error")),
            ["0 errors", "1 error", "2,000 errors"]
        );
        assert_eq!(
            [
                (0, 0),
                (0, 9_004),
                (4, 9_004),
                (1, 300),
                (1, 3),
                (994, 1000),
                (996, 1000),
                (7, 7)
            ]
            .map(|(part, whole)| percent(part, whole)),
            [
                "0 %", "0 %", "< 0.1 %", "0.3 %", "33 %", "99 %", "> 99 %", "100 %"
            ]
        );
    }
}
