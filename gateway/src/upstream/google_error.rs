//! Google's errors in all their shapes: one object, an array of one, an error whose
//! message is another error, HTML, plain text, nothing.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

/// What an error says, as far as it was understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoogleError {
    /// `error.code`; 0 when there is none.
    pub code: u16,
    /// `error.status`, such as `RESOURCE_EXHAUSTED`.
    pub status: String,
    /// The innermost message.
    pub message: String,
    /// `google.rpc.ErrorInfo.reason`.
    pub reason: String,
    /// `google.rpc.ErrorInfo.metadata`.
    pub metadata: BTreeMap<String, String>,
    /// `google.rpc.RetryInfo.retryDelay`.
    pub retry_delay: Option<Duration>,
    /// `google.rpc.QuotaFailure`: the ids of the quotas.
    pub quota_ids: Vec<String>,
    /// `google.rpc.Help`: the first link.
    pub link: Option<String>,
    /// It is an HTML page: Google's front end answered, not the service.
    pub is_page: bool,
}

/// Bodies are looked at up to here; real errors have a few kilobytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// An error in an error in an error: nobody nests deeper.
const MAX_NESTING: usize = 10;
const MAX_MESSAGE: usize = 4096;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Inner {
    code: Option<serde_json::Value>,
    message: Option<serde_json::Value>,
    status: Option<String>,
    details: Option<Vec<serde_json::Value>>,
}

#[derive(Deserialize)]
struct Outer {
    error: serde_json::Value,
}

impl GoogleError {
    /// Reads the body of an error. Never fails: what is not understood is a message.
    #[must_use]
    pub fn parse(body: &str) -> Self {
        let mut this = Self::default();
        if !this.absorb(body, 0) {
            this.message = plain(body);
            this.is_page = body.trim_start().starts_with('<');
        }
        this.message = truncated(&this.message);
        this
    }

    /// Reads the inner object of `{"error": …}`.
    #[must_use]
    pub fn parse_inner(inner: &str) -> Self {
        Self::parse(&format!("{{\"error\":{inner}}}"))
    }

    /// Takes out a secret that Google repeats: it has been seen to name the API key.
    #[must_use]
    pub fn without(mut self, secret: &str) -> Self {
        if secret.is_empty() {
            return self;
        }
        let hide = |text: &mut String| {
            if text.contains(secret) {
                *text = text.replace(secret, "[secret]");
            }
        };
        hide(&mut self.status);
        hide(&mut self.message);
        hide(&mut self.reason);
        self.link.iter_mut().for_each(hide);
        self.quota_ids.iter_mut().for_each(hide);
        self.metadata.values_mut().for_each(hide);
        self
    }

    fn absorb(&mut self, text: &str, depth: usize) -> bool {
        let text = text.trim();
        let outer = if text.starts_with('[') {
            serde_json::from_str::<Vec<Outer>>(text)
                .ok()
                .and_then(|all| all.into_iter().next())
        } else {
            serde_json::from_str(text).ok()
        };
        let Some(Outer { error }) = outer else {
            return false;
        };
        if let serde_json::Value::String(message) = error {
            self.message = message;
            return true;
        }
        let Ok(inner) = serde_json::from_value::<Inner>(error) else {
            return false;
        };
        // The outermost code and status are Google's own.
        if depth == 0 {
            self.code = inner.code.as_ref().and_then(as_code).unwrap_or_default();
            self.status = inner.status.unwrap_or_default();
        }
        for detail in inner.details.iter().flatten() {
            self.detail(detail);
        }
        let message = match inner.message {
            Some(serde_json::Value::String(message)) => message,
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let nested = depth < MAX_NESTING && message.trim_start().starts_with(['{', '[']);
        if !(nested && self.absorb(&message, depth + 1)) {
            self.message = message;
        }
        true
    }

    fn detail(&mut self, detail: &serde_json::Value) {
        let text = |key: &str| detail.get(key).and_then(serde_json::Value::as_str);
        let kind = text("@type").and_then(|kind| kind.rsplit('.').next());
        match kind {
            Some("ErrorInfo") => {
                self.reason = text("reason").unwrap_or_default().to_owned();
                if let Some(serde_json::Value::Object(metadata)) = detail.get("metadata") {
                    let texts = metadata
                        .iter()
                        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
                    self.metadata.extend(texts);
                }
            }
            Some("RetryInfo") => self.retry_delay = text("retryDelay").and_then(parse_duration),
            Some("QuotaFailure") => {
                let violations = detail.get("violations").and_then(|all| all.as_array());
                let ids = violations
                    .into_iter()
                    .flatten()
                    .filter_map(|violation| Some(violation.get("quotaId")?.as_str()?.to_owned()));
                self.quota_ids.extend(ids);
            }
            Some("Help") => {
                self.link = detail
                    .pointer("/links/0/url")
                    .and_then(|url| url.as_str())
                    .map(str::to_owned);
            }
            _ => {}
        }
    }

    /// When the limit ends: the stated time, else the stated delay, else what the
    /// message says.
    #[must_use]
    pub fn reset_at(&self, now: Timestamp) -> Option<Timestamp> {
        if let Some(stamp) = self.metadata.get("quotaResetTimeStamp")
            && let Ok(at) = stamp.parse::<Timestamp>()
            // One in the past is of another clock, or was cut to the second.
            && at > now
        {
            return Some(at);
        }
        let delay = self
            .retry_delay
            .or_else(|| parse_duration(self.metadata.get("quotaResetDelay")?))
            .or_else(|| delay_in(&self.message))?;
        now.checked_add(SignedDuration::try_from(delay).ok()?).ok()
    }
}

fn as_code(code: &serde_json::Value) -> Option<u16> {
    match code {
        serde_json::Value::Number(code) => code.as_u64()?.try_into().ok(),
        serde_json::Value::String(code) => code.parse().ok(),
        _ => None,
    }
}

fn truncated(message: &str) -> String {
    match message.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

/// A body that is no JSON error, in a sentence: HTML is its title.
fn plain(body: &str) -> String {
    let body = body.trim();
    if !body.starts_with('<') {
        return body.to_owned();
    }
    let lower = body.to_ascii_lowercase();
    let title = lower
        .find("<title>")
        .and_then(|from| Some((from + 7, lower.find("</title>")?)))
        .and_then(|(from, to)| body.get(from..to));
    title.map_or_else(String::new, |title| title.trim().to_owned())
}

/// Reads `56s`, `0.5s`, `479.417ms`, `161h39m41.3s`. Nothing negative, nothing beyond a
/// hundred years.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    const MAX_SECONDS: f64 = 100.0 * 366.0 * 86_400.0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let unit = ["ms", "us", "µs", "ns", "h", "m", "s", "d"]
            .into_iter()
            .find(|unit| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        seconds += number
            * match unit {
                "d" => 86_400.0,
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                _ => 1e-9,
            };
    }
    (seconds <= MAX_SECONDS).then(|| Duration::from_secs_f64(seconds))
}

/// "… will reset after 1h43m56s", "Please retry in 56.1s", "Resets in 9h22m20s".
fn delay_in(message: &str) -> Option<Duration> {
    ["reset after ", "retry in ", "resets in ", "Resets in "]
        .into_iter()
        .find_map(|words| {
            let from = message.find(words)? + words.len();
            let word = message[from..].split_whitespace().next()?;
            parse_duration(word.trim_end_matches(['.', ',', ';']))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [
            ("56s", 56.0),
            ("0.539477544s", 0.539_477_544),
            ("479.417207ms", 0.479_417_207),
            ("161h39m41.300432511s", 581_981.300_432_511),
            ("1h43m56s", 6236.0),
        ] {
            let parsed = parse_duration(text).expect("a duration").as_secs_f64();
            assert!((parsed - seconds).abs() < 1e-6, "{text}: {parsed}");
        }
        for text in ["", "-1s", "12", "s", "1x", "9999999999999h"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn shapes() {
        let array = r#"[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}]"#;
        let nested = r#"{"error":{"code":400,"message":"{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"m\"}}","status":"INVALID_ARGUMENT"}}"#;
        for body in [array, nested] {
            let error = GoogleError::parse(body);
            assert_eq!((error.code, &*error.message), (400, "m"), "{body}");
            assert_eq!(error.status, "INVALID_ARGUMENT");
        }
        let html = "<html><head><title>Error 404 (Not Found)!!1</title></head></html>";
        assert_eq!(GoogleError::parse(html).message, "Error 404 (Not Found)!!1");
        assert_eq!(GoogleError::parse("oops").message, "oops");
        assert_eq!(GoogleError::parse(""), GoogleError::default());
    }

    #[test]
    fn resets() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let stated = r#"{"error":{"code":429,"message":"Your quota will reset after 0s.","details":[
            {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"QUOTA_EXHAUSTED","metadata":{"quotaResetDelay":"161h39m41s","quotaResetTimeStamp":"2026-01-07T00:00:00Z"}},
            {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"7s"}]}}"#;
        let stated = GoogleError::parse(stated);
        assert_eq!(
            stated.reset_at(now).map(|at| at.to_string()),
            Some("2026-01-07T00:00:00Z".into())
        );
        for (message, after) in [
            ("Please retry in 56.5s.", "2026-01-01T00:00:56.5Z"),
            ("Resets in 9h22m20s.", "2026-01-01T09:22:20Z"),
        ] {
            let error = GoogleError {
                message: message.to_owned(),
                ..GoogleError::default()
            };
            assert_eq!(
                error.reset_at(now).map(|at| at.to_string()),
                Some(after.into())
            );
        }
        assert_eq!(GoogleError::default().reset_at(now), None);
    }
}
