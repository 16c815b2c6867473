//! Cuts what an upstream sends into events, however its bytes are split.

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// An event, and so a buffer, that is not usual.
const LARGE: usize = 1 << 20;

/// How an upstream frames its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events: `data: {…}` and a blank line. Google ends lines with CRLF; LF
    /// and CR alone are taken as well.
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
            let (end, next) = self.blank_line()?;
            self.searched = 0;
            let mut event = self.bytes.split_to(next).freeze();
            if event.len() >= LARGE {
                // Else what follows would keep all of its room.
                self.bytes = BytesMut::from(&self.bytes[..]);
            }
            event.truncate(end);
            if !event.trim_ascii().is_empty() {
                return Some(event);
            }
        }
    }

    /// Where the first event ends, and where what comes behind its blank line begins.
    fn blank_line(&mut self) -> Option<(usize, usize)> {
        while let Some(at) = memchr2(b'\n', b'\r', &self.bytes[self.searched..]) {
            let end = self.searched + at;
            let line = match &self.bytes[end..] {
                // It may be half of a CRLF.
                [b'\r'] => break,
                [b'\r', b'\n', ..] => end + 2,
                _ => end + 1,
            };
            match &self.bytes[line..] {
                [] => break,
                [b'\r', b'\n', ..] => return Some((end, line + 2)),
                // What is left of a CRLF that is cut here is one more blank line.
                [b'\r' | b'\n', ..] => return Some((end, line + 1)),
                _ => self.searched = line,
            }
        }
        // What follows the last line's end decides what it is.
        let rest = &self.bytes[self.searched..];
        self.searched += memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        None
    }

    /// What is left when the upstream has ended: an event whose blank line never
    /// came, or the whole JSON document.
    pub fn last_event(&mut self) -> Option<Bytes> {
        self.searched = 0;
        let mut rest = self.bytes.split().freeze();
        if self.framing == Framing::Json {
            rest = rest.slice_ref(strip_bom(&rest));
        }
        (!rest.trim_ascii().is_empty()).then_some(rest)
    }
}

/// The documents that an event carries: what its `data:` lines hold, joined by line
/// feeds, and behind it what stands there without a `data:`, since Google sends errors in
/// mid-stream as bare JSON. Comments, fields that carry nothing and the `[DONE]` that some
/// proxies add are none.
pub fn documents(event: &Bytes) -> impl Iterator<Item = Bytes> {
    let mut data = Lines::default();
    let mut bare = Lines::default();
    // A CRLF has an empty line inside.
    for line in lines(event) {
        let line = strip_bom(line);
        if let Some(value) = line.strip_prefix(b"data:") {
            data.push(event.slice_ref(value.strip_prefix(b" ").unwrap_or(value)));
        } else if !carries_nothing(line) {
            bare.push(event.slice_ref(line));
        }
    }
    [data, bare].into_iter().filter_map(|lines| {
        let document = lines.joined();
        let text = document.trim_ascii();
        (!text.is_empty() && text != b"[DONE]").then_some(document)
    })
}

fn lines(event: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(event);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let end = memchr::memchr2(b'\n', b'\r', bytes);
        rest = end.map(|end| &bytes[end + 1..]);
        Some(&bytes[..end.unwrap_or(bytes.len())])
    })
}

fn carries_nothing(line: &[u8]) -> bool {
    let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
    let fields = [&b""[..], b"data", b"event", b"id", b"retry"];
    fields.contains(&name)
}

/// Lines to be joined; one alone is not copied.
#[derive(Default)]
enum Lines {
    #[default]
    None,
    One(Bytes),
    Many(BytesMut),
}

impl Lines {
    fn push(&mut self, line: Bytes) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(line),
            Self::One(first) => {
                let mut all = BytesMut::from(&first[..]);
                all.extend_from_slice(b"\n");
                all.extend_from_slice(&line);
                Self::Many(all)
            }
            Self::Many(mut all) => {
                all.extend_from_slice(b"\n");
                all.extend_from_slice(&line);
                Self::Many(all)
            }
        };
    }

    fn joined(self) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            Self::One(line) => line,
            Self::Many(all) => all.freeze(),
        }
    }
}

fn strip_bom(line: &[u8]) -> &[u8] {
    line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pieces: &[&[u8]]) -> Vec<Bytes> {
        let mut buffer = EventBuffer::new(Framing::Sse);
        let mut told = Vec::new();
        for piece in pieces {
            buffer.push(piece);
            while let Some(event) = buffer.next_event() {
                told.extend(documents(&event));
            }
        }
        told.extend(buffer.last_event().iter().flat_map(documents));
        told
    }

    #[test]
    fn a_large_event_takes_its_room_along() {
        let mut buffer = EventBuffer::new(Framing::Sse);
        for piece in [b"data: ", &[b'x'; 2 * LARGE][..], b"\n\ndata: y\n"] {
            buffer.push(piece);
        }
        assert!(buffer.next_event().is_some_and(|event| event.len() > LARGE));
        buffer.push(b"\n");
        assert_eq!(buffer.next_event().as_deref(), Some(&b"data: y"[..]));
        assert!(buffer.bytes.capacity() < LARGE);
    }

    #[test]
    fn any_split_gives_the_same_documents() {
        let body = "\u{feff}data: 1\r\n\r\n: hi\r\n\r\ndata: two\r\ndata: lines\r\n\r\n\r\n\r\ndata:3\n\nevent: x\ndata: 4\n\ndata: [DONE]\n\ndata:\n\n{\r\n  \"error\": {}\r\n}\r\n\r\ndata: 5\r\n{\r\n}\r\n\r\ndata: cut";
        let whole = told(&[body.as_bytes()]);
        assert_eq!(
            whole,
            [
                "1",
                "two\nlines",
                "3",
                "4",
                "{\n  \"error\": {}\n}",
                "5",
                "{\n}",
                "cut"
            ]
        );
        for at in 0..=body.len() {
            let (a, b) = body.as_bytes().split_at(at);
            assert_eq!(told(&[a, b]), whole, "split at {at}");
        }
        let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
        assert_eq!(told(&bytes), whole);
        // However lines end, there is the same in them.
        for end in ["\r", "\n", "\r\n"] {
            let body = body.replace("\r\n", "\n").replace('\n', end);
            for at in 0..=body.len() {
                let (a, b) = body.as_bytes().split_at(at);
                assert_eq!(told(&[a, b]), whole, "{end:?}, split at {at}");
            }
        }
    }

    #[test]
    fn an_event_is_told_as_soon_as_it_ended() {
        for end in ["\n\n", "\r\n\r\n", "\r\r", "\n\r\n", "\n\r", "\r\n\n"] {
            let mut buffer = EventBuffer::new(Framing::Sse);
            buffer.push(format!("data: 1{end}").as_bytes());
            assert_eq!(
                buffer.next_event().as_deref(),
                Some(&b"data: 1"[..]),
                "{end:?}"
            );
        }
    }

    #[test]
    fn a_json_body_is_one_event() {
        let mut buffer = EventBuffer::new(Framing::Json);
        buffer.push("\u{feff}{\n\n".as_bytes());
        assert_eq!(buffer.next_event(), None);
        buffer.push(b"}\n");
        assert_eq!(buffer.last_event(), Some(Bytes::from_static(b"{\n\n}\n")));
        assert_eq!(buffer.last_event(), None);
    }
}
