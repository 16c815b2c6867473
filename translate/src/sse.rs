//! Cuts what an upstream sends into events, however its bytes are split.

use bytes::{Bytes, BytesMut};
use memchr::memchr_iter;

/// How an upstream frames its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events: `data: {…}` and a blank line. Google ends lines with CRLF;
    /// LF is taken as well.
    Sse,
    /// One JSON document: the whole body is one event.
    Json,
}

/// Bytes that arrived and are not an event yet.
#[derive(Debug)]
pub struct EventBuffer {
    framing: Framing,
    bytes: BytesMut,
    /// How far the bytes were searched for an end, so that a large event is searched once.
    searched: usize,
}

impl EventBuffer {
    /// An empty one.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            bytes: BytesMut::new(),
            searched: 0,
        }
    }

    /// Takes bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// How the answer is framed.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// How many bytes wait for the end of their event.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.bytes.len()
    }

    /// The next whole event without the blank line behind it; `None` until there is one.
    pub fn next_event(&mut self) -> Option<Bytes> {
        if self.framing == Framing::Json {
            return None;
        }
        loop {
            let found = memchr_iter(b'\n', &self.bytes[self.searched..]).find_map(|at| {
                let end = self.searched + at;
                match &self.bytes[end + 1..] {
                    [b'\n', ..] => Some((end, end + 2)),
                    [b'\r', b'\n', ..] => Some((end, end + 3)),
                    _ => None,
                }
            });
            let Some((end, next)) = found else {
                // The blank line may straddle two reads.
                self.searched = self.bytes.len().saturating_sub(2);
                return None;
            };
            self.searched = 0;
            let mut event = self.bytes.split_to(next).freeze();
            event.truncate(end);
            if !event.trim_ascii().is_empty() {
                return Some(event);
            }
        }
    }

    /// What is left when the upstream has ended: an event whose blank line never
    /// came, or the whole JSON document.
    pub fn last_event(&mut self) -> Option<Bytes> {
        self.searched = 0;
        let rest = self.bytes.split().freeze();
        (!rest.trim_ascii().is_empty()).then_some(rest)
    }
}

/// What an event holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Payload {
    /// The text of its `data:` lines, joined by line feeds.
    Data(Bytes),
    /// Something without a `data:` line: Google sends errors in mid-stream as bare JSON.
    Bare(Bytes),
    /// Comments and fields that carry nothing.
    Nothing,
}

/// Takes the `data:` lines out of an event.
#[must_use]
pub fn payload(event: &Bytes) -> Payload {
    let mut lines = event
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .map(strip_bom);
    let is_field = |line: &[u8]| {
        line.is_empty()
            || line.starts_with(b":")
            || [&b"event:"[..], b"id:", b"retry:"]
                .iter()
                .any(|name| line.starts_with(name))
    };
    let mut data: Option<Bytes> = None;
    let mut joined: Option<BytesMut> = None;
    let mut bare = false;
    for line in &mut lines {
        let Some(value) = line.strip_prefix(b"data:") else {
            bare |= !is_field(line);
            continue;
        };
        let value = event.slice_ref(value.strip_prefix(b" ").unwrap_or(value));
        match (&mut data, &mut joined) {
            (None, _) => data = Some(value),
            (Some(first), None) => {
                let mut all = BytesMut::from(&first[..]);
                all.extend_from_slice(b"\n");
                all.extend_from_slice(&value);
                joined = Some(all);
            }
            (Some(_), Some(all)) => {
                all.extend_from_slice(b"\n");
                all.extend_from_slice(&value);
            }
        }
    }
    match (data, joined) {
        (_, Some(all)) => Payload::Data(all.freeze()),
        (Some(one), None) => Payload::Data(one),
        (None, None) if bare => Payload::Bare(event.clone()),
        (None, None) => Payload::Nothing,
    }
}

fn strip_bom(line: &[u8]) -> &[u8] {
    line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<Payload> {
        let mut buffer = EventBuffer::new(Framing::Sse);
        let mut events = Vec::new();
        for piece in pieces {
            buffer.push(piece);
            while let Some(event) = buffer.next_event() {
                events.push(payload(&event));
            }
        }
        events.extend(buffer.last_event().map(|event| payload(&event)));
        events
    }

    fn data(text: &'static str) -> Payload {
        Payload::Data(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn any_split_gives_the_same_events() {
        let body = "\u{feff}data: 1\r\n\r\n: hi\r\n\r\ndata: two\r\ndata: lines\r\n\r\n\r\n\r\ndata:3\n\nevent: x\ndata: 4\n\n{\r\n  \"error\": {}\r\n}\r\n\r\ndata: cut";
        let whole = events(&[body.as_bytes()]);
        assert_eq!(
            whole,
            [
                data("1"),
                Payload::Nothing,
                data("two\nlines"),
                data("3"),
                data("4"),
                Payload::Bare(Bytes::from_static(b"{\r\n  \"error\": {}\r\n}\r")),
                data("cut"),
            ]
        );
        for at in 0..=body.len() {
            let (a, b) = body.as_bytes().split_at(at);
            assert_eq!(events(&[a, b]), whole, "split at {at}");
        }
        let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
        assert_eq!(events(&bytes), whole);
    }

    #[test]
    fn a_json_body_is_one_event() {
        let mut buffer = EventBuffer::new(Framing::Json);
        buffer.push(b"{\n\n");
        assert_eq!(buffer.next_event(), None);
        buffer.push(b"}\n");
        assert_eq!(buffer.last_event(), Some(Bytes::from_static(b"{\n\n}\n")));
        assert_eq!(buffer.last_event(), None);
    }
}
