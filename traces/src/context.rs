//! Which trace something belongs to, as W3C's Trace Context carries it from process to process.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderValue};

/// The header that names trace and parent.
pub const TRACEPARENT: &str = "traceparent";
/// The header of other tracing systems, passed on as it came.
pub const TRACESTATE: &str = "tracestate";
/// A longer `tracestate` is left behind, as W3C lets one do.
const LONGEST_STATE: usize = 512;
const SAMPLED: u8 = 1;

/// The id of a trace, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub(crate) [u8; 16]);

impl TraceId {
    /// The id of these bytes.
    #[must_use]
    pub fn of(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A place in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: [u8; 8],
    /// Whether the trace is recorded.
    pub(crate) sampled: bool,
    pub(crate) state: Option<Arc<str>>,
}

impl Context {
    /// The place of whoever sent a request; `None` when it names none, or not as W3C wants it.
    #[must_use]
    pub fn of_headers(headers: &HeaderMap) -> Option<Self> {
        // Who sends two has not made up its mind.
        let mut given = headers.get_all(TRACEPARENT).iter();
        let (Some(parent), None) = (given.next(), given.next()) else {
            return None;
        };
        let mut this = Self::parse(parent.to_str().ok()?)?;
        let state: Vec<&str> = headers
            .get_all(TRACESTATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .filter(|text| !text.trim().is_empty())
            .collect();
        let state = state.join(",");
        if !state.is_empty() && state.len() <= LONGEST_STATE && is_state(&state) {
            this.state = Some(state.into());
        }
        Some(this)
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut parts = text.split('-');
        let version = lower_hex::<1>(parts.next()?)?[0];
        let trace_id = lower_hex::<16>(parts.next()?)?;
        let span_id = lower_hex::<8>(parts.next()?)?;
        let flags = lower_hex::<1>(parts.next()?)?[0];
        // A later version may say more behind what this one says; 255 is none.
        let whole = parts.next().is_none() || (1..255).contains(&version);
        (version < 255 && whole && trace_id != [0; 16] && span_id != [0; 8]).then_some(Self {
            trace_id: TraceId(trace_id),
            span_id,
            sampled: flags & SAMPLED != 0,
            state: None,
        })
    }

    /// The trace's id.
    #[must_use]
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// Whether the trace is recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// As `traceparent` has it.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let span = u64::from_be_bytes(self.span_id);
        format!(
            "00-{}-{span:016x}-{:02x}",
            self.trace_id,
            u8::from(self.sampled)
        )
    }

    /// Names this place, and nothing else, to whom a request with these headers is sent.
    pub fn write_parent(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::try_from(self.traceparent()) {
            headers.insert(TRACEPARENT, value);
        }
    }

    /// The same, and what other tracing systems have noted.
    pub fn write(&self, headers: &mut HeaderMap) {
        self.write_parent(headers);
        if let Some(Ok(value)) = self.state.as_deref().map(HeaderValue::from_str) {
            headers.insert(TRACESTATE, value);
        }
    }
}

/// Whether a text is a list of `key=value` as W3C writes it. One that is not is left behind.
fn is_state(text: &str) -> bool {
    const MEMBERS: usize = 32;
    let members: Vec<&str> = text.split(',').map(str::trim).collect();
    let is_member = |member: &&str| {
        let Some((key, value)) = member.split_once('=') else {
            return member.is_empty();
        };
        let in_key = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte)
        };
        let in_value = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
        (1..=256).contains(&key.len())
            && key.bytes().all(in_key)
            && (1..=256).contains(&value.len())
            && value.bytes().all(in_value)
    };
    members.len() <= MEMBERS && members.iter().all(is_member)
}

fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn what_comes_in_goes_out() {
        let came = headers(&[
            (TRACEPARENT, GOOD),
            (TRACESTATE, "rojo=00f067aa0ba902b7"),
            (TRACESTATE, "congo=t61rcWkgMzE"),
        ]);
        let context = Context::of_headers(&came).unwrap();
        assert_eq!(
            context.trace_id().to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert!(context.is_sampled());
        let mut went = HeaderMap::new();
        context.write(&mut went);
        assert_eq!(went[TRACEPARENT], GOOD);
        assert_eq!(went[TRACESTATE], "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE");
    }

    #[test]
    fn what_is_not_as_w3c_wants_it_is_no_context() {
        for wrong in [
            "",
            "x",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        ] {
            assert_eq!(
                Context::of_headers(&headers(&[(TRACEPARENT, wrong)])),
                None,
                "{wrong}"
            );
        }
        let two = headers(&[(TRACEPARENT, GOOD), (TRACEPARENT, GOOD)]);
        assert_eq!(Context::of_headers(&two), None);
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02-more";
        let later = Context::of_headers(&headers(&[(TRACEPARENT, later)])).unwrap();
        assert!(!later.is_sampled());
    }

    #[test]
    fn a_tracestate_that_is_none_is_left_behind() {
        let long = format!("a={}", "x".repeat(600));
        for wrong in ["novalue", "A=b", "a=b=c", "=b", "a=", &long] {
            let context =
                Context::of_headers(&headers(&[(TRACEPARENT, GOOD), (TRACESTATE, wrong)]));
            assert_eq!(context.unwrap().state, None, "{wrong}");
        }
    }
}
