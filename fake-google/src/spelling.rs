//! How Google spells points in time and spans of it, which is not the same everywhere.

use std::time::Duration;

use jiff::Timestamp;

/// `2026-04-20T09:19:49Z`
pub(crate) fn whole_seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `581981.300432511s`
pub(crate) fn seconds(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}.{:09}s", duration.as_secs(), duration.subsec_nanos())
    }
}

/// `161h39m41.300432511s`
pub(crate) fn go_duration(duration: Duration) -> String {
    let nanos = duration.subsec_nanos();
    let whole = whole_go_duration(duration);
    match whole.strip_suffix('s') {
        Some(start) if nanos > 0 => format!("{start}.{nanos:09}s"),
        _ => whole,
    }
}

/// `161h39m41s`
pub(crate) fn whole_go_duration(duration: Duration) -> String {
    let (hours, minutes, seconds) = (
        duration.as_secs() / 3600,
        duration.as_secs() / 60 % 60,
        duration.as_secs() % 60,
    );
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}
