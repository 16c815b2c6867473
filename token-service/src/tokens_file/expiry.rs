//! The many ways in which tokens files write a time.

use std::borrow::Cow;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde_json::value::RawValue;

use super::fields::Kind;

/// The value is no time.
pub(super) struct Unreadable;

/// Reads Unix seconds (a number or numeric text), RFC 3339, or Python's `isoformat`
/// without an offset, which is taken as UTC. Null and empty text are no time at all.
pub(super) fn read(value: &RawValue) -> Result<Option<Timestamp>, Unreadable> {
    match Kind::of(value) {
        Kind::Null => Ok(None),
        Kind::Number => seconds(value.get()).map(Some),
        Kind::Text => {
            let text: String = serde_json::from_str(value.get()).map_err(|_| Unreadable)?;
            match text.trim() {
                "" => Ok(None),
                text => from_text(text).map(Some),
            }
        }
        Kind::Boolean | Kind::List | Kind::Object => Err(Unreadable),
    }
}

fn from_text(text: &str) -> Result<Timestamp, Unreadable> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(time) = text.parse::<DateTime>() {
        return TimeZone::UTC.to_timestamp(time).map_err(|_| Unreadable);
    }
    seconds(text)
}

fn seconds(text: &str) -> Result<Timestamp, Unreadable> {
    // Zero stands for a constant of Python's that is no number, or for no time.
    let seconds: f64 = text.parse().map_err(|_| Unreadable)?;
    if !seconds.is_finite() || seconds <= 0.0 {
        return Err(Unreadable);
    }
    let duration = jiff::SignedDuration::try_from_secs_f64(seconds).map_err(|_| Unreadable)?;
    Timestamp::from_duration(duration).map_err(|_| Unreadable)
}

/// Python writes `NaN` and `Infinity` into JSON, which are none: they become zeros of
/// the same length, so that lines and columns stay.
pub(super) fn without_python_constants(text: &str) -> Cow<'_, str> {
    const CONSTANTS: [(&str, &str); 2] = [("NaN", "0.0"), ("Infinity", "0.000000")];
    if !CONSTANTS.iter().any(|(name, _)| text.contains(name)) {
        return Cow::Borrowed(text);
    }
    let mut mended = String::with_capacity(text.len());
    let mut rest = text;
    let (mut in_text, mut escaped) = (false, false);
    while let Some(next) = rest.chars().next() {
        let constant = CONSTANTS
            .iter()
            .find(|(name, _)| !in_text && rest.starts_with(name));
        if let Some((name, zero)) = constant {
            mended.push_str(zero);
            rest = &rest[name.len()..];
            continue;
        }
        match next {
            '"' if !escaped => in_text = !in_text,
            _ => {}
        }
        escaped = in_text && next == '\\' && !escaped;
        mended.push(next);
        rest = &rest[next.len_utf8()..];
    }
    Cow::Owned(mended)
}
