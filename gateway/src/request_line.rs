//! One log line for each request of a client: who asked for what, who answered, how long it
//! took and what it cost, but for floods of requests without a key; and the same in figures. Never
//! a secret, never a prompt.

use std::{
    borrow::Cow,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use antigravity_proto::v1::Upstream;
use antigravity_traces::{Context, Kind, Span, TraceId};
use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use translate::gemini::usage::Usage;

use crate::{
    metrics::{Chat, Ended, Metrics, Series, Served},
    request_log::{Bodies, Entry, RequestLog},
    strangers::Strangers,
};

/// Models are named by clients; of a longer name this much is told.
const LONGEST: usize = 128;
const LONGEST_METHOD: usize = 32;
/// The surface whose requests have a place in the last hours.
pub(crate) const CHAT: &str = "chat";
/// As OpenTelemetry calls those that it does not know.
const OTHER_METHOD: &[u8] = b"_OTHER";

/// What is told of a request, gathered while it runs. The line is written when the last clone
/// is dropped: when the answer is over, whatever its end.
#[derive(Clone)]
pub struct RequestLine(Arc<Line>);

struct Line {
    request_id: Arc<str>,
    method: http::Method,
    path: Box<str>,
    /// `None`: it is neither told nor counted.
    surface: Option<&'static str>,
    began: Instant,
    strangers: Arc<Strangers>,
    metrics: Metrics,
    trace_id: Option<TraceId>,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    key: Option<Arc<str>>,
    model: Option<Arc<str>>,
    stream: bool,
    /// `None`: the client went away before it had one.
    status: Option<u16>,
    /// What the client was told instead of an answer, or of its rest.
    error: Option<&'static str>,
    cancelled: bool,
    /// Milliseconds until the head of the answer.
    head_ms: Option<f64>,
    tried: Vec<Tried>,
    usage: Option<Usage>,
    /// The metrics of its model at the upstream that was asked last.
    series: Option<Arc<Series>>,
    /// When all of the request was there, until it is sent on.
    read: Option<Instant>,
    /// When that came from Google which its answer begins with, until the client is told.
    heard: Option<Instant>,
    first_piece: Option<Duration>,
    span: Span,
    log: Option<Box<Logged>>,
}

/// For the request log.
struct Logged {
    log: RequestLog,
    began: Timestamp,
    forwarded_for: Option<Box<str>>,
    bodies: Option<Box<Bodies>>,
}

/// One request to Google.
#[derive(Clone, Debug)]
pub(crate) struct Tried {
    pub(crate) project: Arc<str>,
    /// What came of it; `None`: nothing has.
    pub(crate) outcome: Option<&'static str>,
    /// Google's status; 0: it has not answered.
    pub(crate) http_status: u16,
    pub(crate) began_ms: f64,
    pub(crate) ended_ms: Option<f64>,
}

impl RequestLine {
    /// A request of `surface` begins; `None`: neither a line is written for it, nor is it
    /// counted.
    #[must_use]
    pub fn begin(
        request_id: Arc<str>,
        method: http::Method,
        path: &str,
        surface: Option<&'static str>,
        (metrics, strangers): (&Metrics, &Arc<Strangers>),
        span: Span,
    ) -> Self {
        if surface.is_some() {
            metrics.request_begins();
        }
        let told = Told {
            span,
            ..Told::default()
        };
        // Clients may make methods up, of any length.
        let method = if method.as_str().len() > LONGEST_METHOD {
            http::Method::from_bytes(OTHER_METHOD).unwrap_or_default()
        } else {
            method
        };
        Self(Arc::new(Line {
            request_id,
            method,
            path: shortened(path).into(),
            surface,
            began: Instant::now(),
            metrics: metrics.clone(),
            strangers: Arc::clone(strangers),
            trace_id: told.span.trace_id(),
            told: Mutex::new(told),
        }))
    }

    /// The trace that the request is in, if that is recorded.
    #[must_use]
    pub fn trace_id(&self) -> Option<TraceId> {
        self.0.trace_id
    }

    /// Begins a span within the request's.
    pub fn span(&self, kind: Kind, name: impl FnOnce() -> Cow<'static, str>) -> Span {
        self.0.told.lock().span.child(kind, name)
    }

    /// The request's place in its trace; `None` while nothing is traced.
    #[must_use]
    pub fn context(&self) -> Option<Context> {
        self.0.told.lock().span.context().cloned()
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// It is sent to Google; what counts is the first time.
    pub fn sent(&self) {
        let read = self.0.told.lock().read.take();
        if let Some(read) = read {
            self.0.metrics.sent_after(read.elapsed());
        }
    }

    /// It has a turn, after so long. What it waits for later, when it has been sent on before, is
    /// not counted; nor is who gets none, whom errors tell of.
    pub fn turn_after(&self, waited: Duration) {
        if self.0.told.lock().read.is_some() {
            self.0.metrics.turn_after(waited);
        }
    }

    /// Something has come that may be what the client is told first.
    pub fn heard(&self) {
        self.0.told.lock().heard = Some(Instant::now());
    }

    /// The client is told the first piece of a stream.
    pub fn first_piece(&self) {
        let heard = {
            let mut told = self.0.told.lock();
            told.first_piece = Some(self.0.began.elapsed());
            told.heard.take()
        };
        if let Some(heard) = heard {
            self.0.metrics.told_after(heard.elapsed());
        }
    }

    /// The request log is to have it, and whom it says it comes from.
    pub fn keep_for(&self, log: &RequestLog, forwarded_for: Option<&str>) {
        self.0.told.lock().log = Some(Box::new(Logged {
            log: log.clone(),
            began: Timestamp::now(),
            forwarded_for: forwarded_for.map(|text| shortened(text).into()),
            bodies: log.keeps_bodies().then(Box::default),
        }));
    }

    /// What is asked, as the client wrote it: all of it has come.
    pub fn asked(&self, body: &Bytes) {
        let mut told = self.0.told.lock();
        told.read = Some(Instant::now());
        if let Some(bodies) = told.bodies() {
            bodies.asked(body);
        }
    }

    /// A piece of what the client is told.
    pub(crate) fn told(&self, piece: &Bytes) {
        if let Some(bodies) = self.0.told.lock().bodies() {
            bodies.answered(piece);
        }
    }

    /// Whose request it is.
    pub fn asked_by(&self, key: &Arc<str>) {
        self.0.told.lock().key = Some(Arc::clone(key));
    }

    /// What is asked for.
    pub fn asks_for(&self, model: &Arc<str>, stream: bool) {
        let mut told = self.0.told.lock();
        told.model = Some(Arc::clone(model));
        told.stream = stream;
    }

    /// A project is asked; the how manieth it is, from 0.
    pub fn attempt(&self, project: &Arc<str>, series: &Arc<Series>) -> usize {
        let began_ms = self.0.passed_ms();
        let mut told = self.0.told.lock();
        told.series = Some(Arc::clone(series));
        // What came of the one before is nothing that the client is told.
        told.heard = None;
        told.tried.push(Tried {
            project: Arc::clone(project),
            outcome: None,
            http_status: 0,
            began_ms,
            ended_ms: None,
        });
        told.tried.len() - 1
    }

    /// What came of the attempt of this number.
    pub fn attempt_came_to(&self, nth: usize, outcome: &'static str, http_status: u16) {
        let passed = self.0.passed_ms();
        if let Some(tried) = self.0.told.lock().tried.get_mut(nth) {
            tried.outcome = Some(outcome);
            tried.http_status = http_status;
            tried.ended_ms = Some(passed);
        }
    }

    /// What an attempt cost; an answer may take several.
    pub fn used(&self, usage: Usage) {
        *self.0.told.lock().usage.get_or_insert_default() += usage;
    }

    /// The head of the answer is there.
    pub fn head(&self, status: http::StatusCode) {
        let passed = self.0.passed_ms();
        let heard = {
            let mut told = self.0.told.lock();
            told.status = Some(status.as_u16());
            told.head_ms = Some(passed);
            // A whole answer is told with its head.
            let whole = !told.stream;
            told.heard.take_if(|_| whole)
        };
        if let Some(heard) = heard {
            self.0.metrics.told_after(heard.elapsed());
        }
    }

    /// The client is told of an error.
    pub fn failed(&self, code: &'static str) {
        self.0.told.lock().error = Some(code);
    }

    /// The client went away before the end of the answer.
    pub fn cancelled(&self) {
        self.0.told.lock().cancelled = true;
    }

    /// Whether it has.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.told.lock().cancelled
    }
}

impl Told {
    fn bodies(&mut self) -> Option<&mut Bodies> {
        self.log.as_mut()?.bodies.as_deref_mut()
    }
}

fn shortened(name: &str) -> &str {
    &name[..name.floor_char_boundary(LONGEST)]
}

impl Line {
    fn passed_ms(&self) -> f64 {
        // Whole microseconds: more digits tell nothing.
        self.began.elapsed().as_micros() as f64 / 1000.0
    }
}

impl fmt::Debug for RequestLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestLine")
            .field(&self.0.request_id)
            .finish()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Some(surface) = self.surface else {
            return;
        };
        let duration = self.began.elapsed();
        let total_ms = self.passed_ms();
        let told = self.told.get_mut();
        let model = told.model.as_deref().map(shortened);
        let outcome = match (told.error, told.status) {
            (Some(code), _) => code,
            (None, None) => "cancelled",
            (None, Some(_)) if told.cancelled => "cancelled",
            (None, Some(_)) => "ok",
        };
        // nginx's number for a client that closed its request; nobody is sent it.
        let status = told.status.unwrap_or(499);
        let usage = told.usage;
        self.metrics.request_ends(&Ended {
            surface,
            status,
            outcome,
            key: told.key.as_deref(),
        });
        if surface == CHAT && told.key.is_some() {
            let chat = Chat {
                request_id: &self.request_id,
                model,
                status,
                outcome,
                duration,
                first_piece: told.first_piece,
                usage,
            };
            self.metrics.recent().ended(&chat, Timestamp::now());
        }
        if let Some(model) = &told.model {
            let unasked = || self.metrics.model(model, Upstream::Unspecified);
            let series = told.series.take().unwrap_or_else(unasked);
            let served = Served {
                duration,
                first_piece: told.first_piece,
                error: (outcome != "ok").then_some(outcome),
                usage,
            };
            series.served(&served, self.trace_id);
        }
        let retries = retries(&told.tried);
        if let Some(key) = told.key.as_deref() {
            told.span.set("antigravity.api_key.name", key);
        }
        if outcome == "cancelled" {
            told.span.set("antigravity.cancelled", true);
        }
        if told.key.is_none() && !self.strangers.refused() {
            // A flood is not to crowd out the spans of those who have a key.
            told.span.discard();
            return;
        }
        tell_span(&mut told.span, status, told.error, model, &told.tried);
        tracing::info!(
            request_id = &*self.request_id,
            key = told.key.as_deref(),
            method = self.method.as_str(),
            path = &*self.path,
            model,
            stream = told.stream,
            status,
            outcome,
            project = told.tried.last().map(|tried| &*tried.project),
            attempts = told.tried.len(),
            retries,
            head_ms = told.head_ms,
            total_ms,
            prompt_tokens = usage.map(|usage| usage.prompt_tokens()),
            cached_tokens = usage.map(|usage| usage.cached),
            completion_tokens = usage.map(|usage| usage.completion_tokens()),
            reasoning_tokens = usage.map(|usage| usage.thoughts),
            trace_id = self.trace_id.map(tracing::field::display),
            "request"
        );
        if let Some(logged) = told.log.take() {
            let Logged {
                log,
                began,
                forwarded_for,
                bodies,
            } = *logged;
            log.put(Entry {
                began,
                request_id: Arc::clone(&self.request_id),
                trace_id: self.trace_id,
                key: told.key.take(),
                forwarded_for,
                method: self.method.clone(),
                path: std::mem::take(&mut self.path),
                model: model.map(Into::into),
                stream: told.stream,
                status,
                outcome,
                tried: std::mem::take(&mut told.tried),
                head_ms: told.head_ms,
                total_ms,
                usage,
                bodies,
            });
        }
    }
}

/// Why others were asked after the first; `None`: nobody was.
fn retries(tried: &[Tried]) -> Option<String> {
    let (_, before) = tried.split_last()?;
    let reasons: Vec<&str> = before.iter().filter_map(|tried| tried.outcome).collect();
    (!before.is_empty()).then(|| reasons.join(","))
}

fn tell_span(
    span: &mut Span,
    status: u16,
    error: Option<&'static str>,
    model: Option<&str>,
    tried: &[Tried],
) {
    if !span.is_recorded() {
        return;
    }
    span.set("http.response.status_code", status);
    if let Some(model) = model {
        span.set("gen_ai.request.model", model);
        span.set("antigravity.attempts", tried.len() as u64);
    }
    match error {
        // Who asked for what is not there is not to look for the fault here.
        Some(code) if (400..500).contains(&status) => span.set("error.type", code),
        Some(code) => span.failed(code),
        None => {}
    }
}
