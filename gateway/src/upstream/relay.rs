//! The one loop from Google to the client: bytes to events to OpenAI's words, for
//! streams and whole answers alike.
//!
//! One upstream read, all its whole events, one client write. Nothing is spawned and
//! nothing queued: back-pressure and cancellation come from polling, and dropping this
//! closes the upstream request.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use antigravity_runtime::clock::Clock;
use bytes::Bytes;
use translate::{
    chat::reply::{Reply, Share, Verdict},
    gemini::response::NotAnAnswer,
    sse::{EventBuffer, Framing, documents},
};

use super::{
    attempt::Attempt,
    client::{Place, is_nobodys_fault},
    google_error::GoogleError,
    outcome::Failure,
};

/// The largest event that is waited for. Images make events of some megabytes.
const MAX_EVENT_BYTES: usize = 128 << 20;

/// An answer on its way.
#[derive(Debug)]
pub struct Relay {
    upstream: Upstream,
    input: EventBuffer,
    reply: Reply,
    attempt: Option<Attempt>,
    /// An upstream that sends nothing for so long is given up.
    patience: Duration,
    /// When the answer has to be there.
    deadline: Option<Instant>,
    /// When it last sent something. Kept here, since a step may be dropped and begun anew.
    heard: Instant,
    /// Whether an event has come.
    begun: bool,
    clock: Clock,
}

#[derive(Debug)]
struct Upstream {
    response: reqwest::Response,
    /// Held until the answer is over.
    _place: Place,
}

/// What came of a step.
#[derive(Debug)]
pub enum Step {
    /// For the client.
    Output(Bytes),
    /// The last for the client: the answer is whole.
    Done {
        /// Its end.
        output: Bytes,
        /// It holds nothing.
        empty: bool,
        /// What it came to, for an answer that several calls make.
        share: Share,
    },
    /// The answer broke.
    Broken {
        /// What had come before, for the client.
        output: Bytes,
        /// How.
        failure: Failure,
        /// Still to be reported, when nothing of the answer has reached the client: what the
        /// failure means is then not known yet.
        attempt: Option<Box<Attempt>>,
    },
}

impl Relay {
    pub(super) fn new(
        response: reqwest::Response,
        place: Place,
        framing: Framing,
        reply: Reply,
        attempt: Attempt,
        deadline: Instant,
        clock: Clock,
    ) -> Self {
        Self {
            upstream: Upstream {
                response,
                _place: place,
            },
            input: EventBuffer::new(framing),
            reply,
            attempt: Some(attempt),
            // Until the answer begins, the deadline is what counts.
            patience: Duration::MAX,
            deadline: Some(deadline),
            heard: clock.instant(),
            begun: false,
            clock,
        }
    }

    /// The answer has begun: from now on the upstream has `patience` between two reads, and
    /// no deadline for the whole.
    pub(super) fn goes_on(&mut self, patience: Duration) {
        self.patience = patience;
        self.deadline = None;
    }

    /// Reads on until there is something for the client, or the answer is over.
    pub async fn step(&mut self) -> Step {
        let mut output = Vec::new();
        loop {
            let now = self.clock.instant();
            let silent = now.duration_since(self.heard);
            let whole = self.deadline.map_or(Duration::MAX, |deadline| {
                deadline.saturating_duration_since(now)
            });
            let left = self.patience.saturating_sub(silent).min(whole);
            match tokio::time::timeout(left, self.upstream.response.chunk()).await {
                Ok(Ok(Some(bytes))) => {
                    self.heard = self.clock.instant();
                    self.input.push(&bytes);
                    if self.input.waiting() > MAX_EVENT_BYTES {
                        let message = "Google sent an event without an end.".to_owned();
                        return self.broken(output, Failure::of_invalid_answer(message));
                    }
                    while let Some(event) = self.input.next_event() {
                        if let Err(failure) = self.event(&event, &mut output) {
                            return self.broken(output, *failure);
                        }
                    }
                }
                Ok(Ok(None)) => return self.end(output),
                Ok(Err(error)) => {
                    let fault = is_nobodys_fault(&error) && !self.begun;
                    return self.broken(output, Failure::of_transport(fault));
                }
                Err(_) => return self.broken(output, Failure::of_silence()),
            }
            if !output.is_empty() {
                return Step::Output(output.into());
            }
        }
    }

    /// Appends an error as the last event of a stream. No `[DONE]` follows: that is for
    /// success alone.
    #[must_use]
    pub fn error_event(error: &crate::error::Error, request_id: &str) -> Bytes {
        let mut event = b"data: ".to_vec();
        event.extend(error.body(request_id));
        event.extend_from_slice(b"\n\n");
        event.into()
    }

    fn event(&mut self, event: &Bytes, output: &mut Vec<u8>) -> Result<(), Box<Failure>> {
        for document in documents(event) {
            self.document(&document, output)?;
        }
        Ok(())
    }

    fn document(&mut self, document: &[u8], output: &mut Vec<u8>) -> Result<(), Box<Failure>> {
        // Nearly always it is UTF-8, and then nothing has to be looked at twice.
        let document = match simdutf8::basic::from_utf8(document) {
            Ok(document) => Cow::Borrowed(document),
            Err(_) => String::from_utf8_lossy(document),
        };
        let read = self.reply.document(&document, output);
        match read {
            Ok(()) => {
                if let Some(attempt) = &mut self.attempt {
                    if !self.begun {
                        attempt.first_event();
                    }
                    attempt.usage(self.reply.usage());
                }
                self.begun = true;
                Ok(())
            }
            Err(NotAnAnswer::Error(inner)) => {
                let error = GoogleError::parse_inner(&inner);
                let status = match error.code {
                    code @ 400..=599 => code,
                    _ => 500,
                };
                let now = self.clock.now();
                Err(Failure::of_answer(status, &error, None, now).into())
            }
            Err(NotAnAnswer::ClientUnsupported(said)) => {
                let error = GoogleError::parse(&said);
                Err(Failure::of_answer(400, &error, None, self.clock.now()).into())
            }
            Err(NotAnAnswer::Unreadable(why)) => {
                tracing::debug!(why, "unreadable answer");
                let message = "Google sent something that is no answer.".to_owned();
                Err(Failure::of_invalid_answer(message).into())
            }
        }
    }

    fn end(&mut self, mut output: Vec<u8>) -> Step {
        if let Some(last) = self.input.last_event() {
            let read = match self.input.framing() {
                Framing::Sse => self.event(&last, &mut output),
                Framing::Json => self.document(&last, &mut output),
            };
            if let Err(failure) = read {
                return self.broken(output, *failure);
            }
        }
        let framed = self.input.framing() == Framing::Json;
        let verdict = self.reply.verdict(framed);
        let message = match verdict {
            Verdict::Whole | Verdict::Empty => {
                self.reply.finish(&mut output);
                if let Some(attempt) = self.attempt.take() {
                    attempt.succeeded();
                }
                return Step::Done {
                    output: output.into(),
                    empty: verdict == Verdict::Empty,
                    share: self.reply.share(),
                };
            }
            Verdict::Unfinished => {
                "Google ended its answer without saying that it was finished.".to_owned()
            }
            Verdict::NoCandidate => "Google sent no candidate.".to_owned(),
            Verdict::Malformed { reason, message } => {
                return self.broken(output, Failure::of_malformed(reason, message));
            }
        };
        self.broken(output, Failure::of_invalid_answer(message))
    }

    fn broken(&mut self, output: Vec<u8>, failure: Failure) -> Step {
        let mut attempt = self.attempt.take().map(Box::new);
        if self.deadline.is_none()
            && let Some(attempt) = attempt.take()
        {
            if failure.next == super::outcome::Next::Repeat {
                attempt.forget();
            } else {
                attempt.failed(&failure);
            }
        }
        Step::Broken {
            output: output.into(),
            failure,
            attempt,
        }
    }
}
