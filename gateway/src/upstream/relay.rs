//! The one loop from Google to the client: bytes to events to OpenAI's words, for
//! streams and whole answers alike.
//!
//! What has arrived from upstream, all its whole events, one client write. Nothing is spawned
//! and nothing queued: back-pressure and cancellation come from polling, and dropping this
//! closes the upstream request.

use std::{
    borrow::Cow,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use antigravity_runtime::clock::{Alarm, Clock};
use bytes::Bytes;
use http_body::Body as _;
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
/// An event that is worth a look at the memory it takes.
const LARGE_EVENT_BYTES: usize = 1 << 20;
/// A piece of so many bytes is told without looking for more.
const ENOUGH: usize = 16 << 10;
/// Two reads that are no further apart are of one burst.
const BURST: Duration = Duration::from_millis(1);
/// So many looks for more in a row may find nothing, before reads that are further apart than a
/// burst's are told at once: on a busy machine what has arrived may take longer to be handed on.
const IN_VAIN: u8 = 3;

/// An answer on its way.
#[derive(Debug)]
pub struct Relay {
    upstream: Upstream,
    input: EventBuffer,
    /// For the client, not told yet.
    output: Vec<u8>,
    /// Whether the connection had its turn to hand on what it has read.
    looked_again: bool,
    /// Whether the last read came right after the one before.
    in_burst: bool,
    /// Looks in a row that found nothing more.
    in_vain: u8,
    reply: Reply,
    attempt: Option<Attempt>,
    /// An upstream that sends nothing for so long is given up.
    patience: Duration,
    /// When the answer has to be there.
    deadline: Option<Instant>,
    /// When it last sent something.
    heard: Instant,
    alarm: Alarm,
    /// Whether an event has come.
    begun: bool,
    clock: Clock,
}

#[derive(Debug)]
struct Upstream {
    body: reqwest::Body,
    /// Held until the answer is over.
    place: Place,
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
                body: http::Response::from(response).into_body(),
                place,
            },
            input: EventBuffer::new(framing),
            output: Vec::new(),
            looked_again: false,
            in_burst: false,
            in_vain: 0,
            reply,
            attempt: Some(attempt),
            // Until the answer begins, the deadline is what counts.
            patience: Duration::MAX,
            deadline: Some(deadline),
            heard: clock.instant(),
            alarm: Alarm::new(clock.clone()),
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

    /// Reads on until there is something for the client, or the answer is over. May be dropped
    /// and begun anew.
    pub async fn step(&mut self) -> Step {
        poll_fn(|context| self.poll_step(context)).await
    }

    /// As [`Relay::step`].
    pub fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Step> {
        while self.output.len() < ENOUGH {
            let Poll::Ready(read) = Pin::new(&mut self.upstream.body).poll_frame(context) else {
                return self.poll_waiting(context);
            };
            let frame = match read {
                None => return Poll::Ready(self.end()),
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    let fault = is_nobodys_fault(&error) && !self.begun;
                    return Poll::Ready(self.broken(Failure::of_transport(fault)));
                }
            };
            if let Ok(bytes) = frame.into_data()
                && let Err(failure) = self.read(&bytes)
            {
                return Poll::Ready(self.broken(*failure));
            }
        }
        Poll::Ready(self.piece())
    }

    /// Nothing more has come: tells what there is, or waits.
    fn poll_waiting(&mut self, context: &mut Context<'_>) -> Poll<Step> {
        if !self.output.is_empty() {
            if self.looked_again {
                self.in_vain = self.in_vain.saturating_add(1);
            } else if self.in_burst || self.in_vain < IN_VAIN {
                // The connection hands on one chunk at a time, however many it has read. One
                // turn for it, with nothing waited for, and many become one write.
                self.looked_again = true;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(self.piece());
        }
        let patience = self.heard.checked_add(self.patience);
        let Some(due) = [patience, self.deadline].into_iter().flatten().min() else {
            return Poll::Pending;
        };
        match self.alarm.poll(due, context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(self.broken(Failure::of_silence())),
        }
    }

    fn piece(&mut self) -> Step {
        self.looked_again = false;
        Step::Output(std::mem::take(&mut self.output).into())
    }

    fn read(&mut self, bytes: &Bytes) -> Result<(), Box<Failure>> {
        let now = self.clock.instant();
        self.in_burst = now.duration_since(self.heard) < BURST;
        if std::mem::take(&mut self.looked_again) {
            self.in_vain = 0;
        }
        self.heard = now;
        self.upstream.place.heard();
        // Until something of it is told.
        if self.deadline.is_some()
            && let Some(attempt) = &self.attempt
        {
            attempt.heard();
        }
        self.input.push(bytes);
        if self.input.waiting() > MAX_EVENT_BYTES {
            let message = "Google sent an event without an end.".to_owned();
            return Err(Failure::of_invalid_answer(message).into());
        }
        while let Some(event) = self.input.next_event() {
            self.event(&event)?;
        }
        Ok(())
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

    fn event(&mut self, event: &Bytes) -> Result<(), Box<Failure>> {
        if event.len() >= LARGE_EVENT_BYTES {
            // In OpenAI's words it is about as long; to grow to that would take twice the room.
            self.output.reserve(event.len() + event.len() / 8);
        }
        for document in documents(event) {
            self.document(&document)?;
        }
        Ok(())
    }

    fn document(&mut self, document: &[u8]) -> Result<(), Box<Failure>> {
        // Nearly always it is UTF-8, and then nothing has to be looked at twice.
        let document = match simdutf8::basic::from_utf8(document) {
            Ok(document) => Cow::Borrowed(document),
            Err(_) => String::from_utf8_lossy(document),
        };
        let read = self.reply.document(&document, &mut self.output);
        match read {
            Ok(()) => {
                if let Some(attempt) = &mut self.attempt {
                    attempt.event(self.heard);
                    attempt.usage(self.reply.usage());
                }
                self.begun = true;
                Ok(())
            }
            Err(NotAnAnswer::Error(inner)) => {
                let token = self.attempt.as_ref().map(Attempt::token);
                let error = GoogleError::parse_inner(&inner);
                let error = error.without(token.map_or("", |token| token.secret()));
                let status = match error.code {
                    code @ 400..=599 => code,
                    _ => 500,
                };
                let now = self.clock.now();
                let mut failure = Failure::of_answer(status, &error, None, now);
                if token.is_some_and(|token| token.is_api_key()) {
                    failure.concerns_api_key(&error);
                }
                Err(failure.into())
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

    fn end(&mut self) -> Step {
        if let Some(last) = self.input.last_event() {
            let read = match self.input.framing() {
                Framing::Sse => self.event(&last),
                Framing::Json => self.document(&last),
            };
            if let Err(failure) = read {
                return self.broken(*failure);
            }
        }
        let framed = self.input.framing() == Framing::Json;
        let verdict = self.reply.verdict(framed);
        let message = match verdict {
            Verdict::Whole | Verdict::Empty => {
                self.reply.finish(&mut self.output);
                if let Some(attempt) = self.attempt.take() {
                    attempt.succeeded(|| self.reply.finish_reasons());
                }
                return Step::Done {
                    output: std::mem::take(&mut self.output).into(),
                    empty: verdict == Verdict::Empty,
                    share: self.reply.share(),
                };
            }
            Verdict::Unfinished => {
                "Google ended its answer without saying that it was finished.".to_owned()
            }
            Verdict::NoCandidate => "Google sent no candidate.".to_owned(),
            Verdict::Malformed { reason, message } => {
                return self.broken(Failure::of_malformed(reason, message));
            }
        };
        self.broken(Failure::of_invalid_answer(message))
    }

    fn broken(&mut self, failure: Failure) -> Step {
        let mut attempt = self.attempt.take().map(Box::new);
        if self.deadline.is_none()
            && let Some(mut attempt) = attempt.take()
        {
            attempt.over(failure.outcome, failure.http_status);
            if failure.next == super::outcome::Next::Repeat {
                attempt.forget();
            } else {
                attempt.failed(&failure);
            }
        }
        Step::Broken {
            output: std::mem::take(&mut self.output).into(),
            failure,
            attempt,
        }
    }
}
