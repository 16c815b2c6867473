//! What the log has of one request, and how it is written.

use std::sync::Arc;

use antigravity_traces::TraceId;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use translate::gemini::usage::Usage;

use crate::request_line::Tried;

/// Bytes of one body that are kept.
const MOST: usize = 1 << 20;

/// What was asked and answered.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    asked: Text,
    answered: Text,
}

/// A body in pieces, up to where it is cut.
#[derive(Debug, Default)]
struct Text {
    pieces: Vec<Bytes>,
    kept: usize,
    /// All of it.
    bytes: u64,
}

impl Bodies {
    pub(crate) fn asked(&mut self, piece: &Bytes) {
        self.asked.add(piece);
    }

    pub(crate) fn answered(&mut self, piece: &Bytes) {
        self.answered.add(piece);
    }
}

impl Text {
    fn add(&mut self, piece: &Bytes) {
        self.bytes += piece.len() as u64;
        let room = MOST - self.kept;
        if piece.is_empty() || room == 0 {
            return;
        }
        if piece.len() <= room {
            self.pieces.push(piece.clone());
        } else {
            // Not a part of it, which would keep all of it in memory.
            self.pieces.push(Bytes::copy_from_slice(&piece[..room]));
        }
        self.kept += piece.len().min(room);
    }

    fn written(&self) -> Option<Written> {
        (self.bytes > 0).then(|| {
            let mut bytes = Vec::with_capacity(self.kept);
            self.pieces
                .iter()
                .for_each(|piece| bytes.extend_from_slice(piece));
            let cut = self.bytes > self.kept as u64;
            if cut
                && let Err(error) = std::str::from_utf8(&bytes)
                && error.error_len().is_none()
            {
                // The cut went through a character.
                bytes.truncate(error.valid_up_to());
            }
            Written {
                body: String::from_utf8_lossy(&bytes).into_owned(),
                bytes: self.bytes,
                cut,
            }
        })
    }
}

/// One request.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) began: Timestamp,
    pub(crate) request_id: Arc<str>,
    pub(crate) trace_id: Option<TraceId>,
    pub(crate) key: Option<Arc<str>>,
    pub(crate) forwarded_for: Option<Box<str>>,
    pub(crate) method: http::Method,
    pub(crate) path: Box<str>,
    pub(crate) model: Option<Box<str>>,
    pub(crate) stream: bool,
    pub(crate) status: u16,
    pub(crate) outcome: &'static str,
    pub(crate) tried: Vec<Tried>,
    pub(crate) head_ms: Option<f64>,
    pub(crate) total_ms: f64,
    pub(crate) usage: Option<Usage>,
    pub(crate) bodies: Option<Box<Bodies>>,
}

#[derive(Serialize)]
struct Line<'e> {
    time: String,
    request_id: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    key: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forwarded_for: Option<&'e str>,
    method: &'e str,
    path: &'e str,
    model: Option<&'e str>,
    stream: bool,
    status: u16,
    outcome: &'e str,
    attempts: Vec<Attempt<'e>>,
    head_ms: Option<f64>,
    total_ms: f64,
    usage: Option<Tokens>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Written>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Written>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    bodies_left_out: bool,
}

#[derive(Serialize)]
struct Attempt<'e> {
    project: &'e str,
    outcome: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<u16>,
    began_ms: f64,
    ended_ms: Option<f64>,
}

#[derive(Serialize)]
struct Tokens {
    prompt_tokens: u64,
    cached_tokens: u64,
    completion_tokens: u64,
    reasoning_tokens: u64,
}

#[derive(Serialize)]
struct Written {
    body: String,
    bytes: u64,
    cut: bool,
}

impl Entry {
    /// What its bodies take in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bodies
            .as_ref()
            .map_or(0, |bodies| bodies.asked.kept + bodies.answered.kept)
    }

    /// Writes it as a line. Bodies that would make the line longer than a file are left out.
    pub(crate) fn write(&self, out: &mut Vec<u8>, with_bodies: bool) {
        let bodies = self.bodies.as_ref().filter(|_| with_bodies);
        let line = Line {
            time: self.began.to_string(),
            request_id: &self.request_id,
            trace_id: self.trace_id.map(|id| id.to_string()),
            key: self.key.as_deref(),
            forwarded_for: self.forwarded_for.as_deref(),
            method: self.method.as_str(),
            path: &self.path,
            model: self.model.as_deref(),
            stream: self.stream,
            status: self.status,
            outcome: self.outcome,
            attempts: self.tried.iter().map(attempt).collect(),
            head_ms: self.head_ms,
            total_ms: self.total_ms,
            usage: self.usage.map(|usage| Tokens {
                prompt_tokens: usage.prompt_tokens(),
                cached_tokens: usage.cached,
                completion_tokens: usage.completion_tokens(),
                reasoning_tokens: usage.thoughts,
            }),
            request: bodies.and_then(|bodies| bodies.asked.written()),
            answer: bodies.and_then(|bodies| bodies.answered.written()),
            bodies_left_out: self.bodies.is_some() && !with_bodies,
        };
        // Texts and numbers alone always serialise.
        let _ = serde_json::to_writer(&mut *out, &line);
        out.push(b'\n');
    }
}

fn attempt(tried: &Tried) -> Attempt<'_> {
    Attempt {
        project: &tried.project,
        outcome: tried.outcome.unwrap_or("cancelled"),
        http_status: (tried.http_status > 0).then_some(tried.http_status),
        began_ms: tried.began_ms,
        ended_ms: tried.ended_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_cut_between_characters_and_its_length_told() {
        let mut text = Text::default();
        assert!(text.written().is_none());
        text.add(&Bytes::from("x".repeat(MOST - 1)));
        text.add(&Bytes::from("é and more"));
        text.add(&Bytes::from("nothing of this"));
        let written = text.written().unwrap();
        assert!(written.cut);
        assert_eq!(written.body.len(), MOST - 1);
        assert_eq!(written.bytes, (MOST - 1 + 11 + 15) as u64);
        let mut text = Text::default();
        text.add(&Bytes::from_static(b"a\xff"));
        let written = text.written().unwrap();
        assert_eq!((written.body.as_str(), written.cut), ("a\u{fffd}", false));
    }
}
