//! One log line for each request of a client: who asked for what, who answered, how long it
//! took and what it cost, but for floods of requests without a key; and the same in figures. Never
//! a secret, never a prompt.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use antigravity_proto::v1::Upstream;
use parking_lot::Mutex;
use translate::gemini::usage::Usage;

use crate::{
    metrics::{Ended, Metrics, Series, Served, TraceId},
    strangers::Strangers,
};

/// Models are named by clients; of a longer name this much is told.
const LONGEST: usize = 128;

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
    attempts: u32,
    project: Option<Arc<str>>,
    usage: Option<Usage>,
    /// The metrics of its model at the upstream that was asked last.
    series: Option<Arc<Series>>,
    /// When all of the request was there, until it is sent on.
    read: Option<Instant>,
    /// When that came from Google which its answer begins with, until the client is told.
    heard: Option<Instant>,
    first_piece: Option<Duration>,
    trace: Option<TraceId>,
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
        metrics: Metrics,
        strangers: Arc<Strangers>,
    ) -> Self {
        if surface.is_some() {
            metrics.request_begins();
        }
        Self(Arc::new(Line {
            request_id,
            method,
            path: shortened(path).into(),
            surface,
            began: Instant::now(),
            metrics,
            strangers,
            told: Mutex::default(),
        }))
    }

    /// It belongs to a trace.
    pub fn traced(&self, trace: TraceId) {
        self.0.told.lock().trace = Some(trace);
    }

    /// The trace that it belongs to.
    #[must_use]
    pub fn trace(&self) -> Option<TraceId> {
        self.0.told.lock().trace
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// All of it has come.
    pub fn read(&self) {
        self.0.told.lock().read = Some(Instant::now());
    }

    /// It is sent to Google; what counts is the first time.
    pub fn sent(&self) {
        let read = self.0.told.lock().read.take();
        if let Some(read) = read {
            self.0.metrics.sent_after(read.elapsed());
        }
    }

    /// Something has come that may be what the client is told first.
    pub fn heard(&self) {
        self.0.told.lock().heard = Some(Instant::now());
    }

    /// The client is told the first piece of a stream.
    pub fn told(&self) {
        let heard = {
            let mut told = self.0.told.lock();
            told.first_piece = Some(self.0.began.elapsed());
            told.heard.take()
        };
        if let Some(heard) = heard {
            self.0.metrics.told_after(heard.elapsed());
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

    /// A project is asked.
    pub fn attempt(&self, project: &Arc<str>, series: &Arc<Series>) {
        let mut told = self.0.told.lock();
        told.attempts += 1;
        told.project = Some(Arc::clone(project));
        told.series = Some(Arc::clone(series));
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
        if let Some(model) = &told.model {
            let unasked = || self.metrics.model(model, Upstream::Unspecified);
            let series = told.series.take().unwrap_or_else(unasked);
            let served = Served {
                duration,
                first_piece: told.first_piece,
                error: (outcome != "ok").then_some(outcome),
                usage,
            };
            series.served(&served, told.trace);
        }
        if told.key.is_none() && !self.strangers.refused() {
            return;
        }
        tracing::info!(
            request_id = &*self.request_id,
            key = told.key.as_deref(),
            method = self.method.as_str(),
            path = &*self.path,
            model,
            stream = told.stream,
            status,
            outcome,
            project = told.project.as_deref(),
            attempts = told.attempts,
            head_ms = told.head_ms,
            total_ms,
            prompt_tokens = usage.map(|usage| usage.prompt_tokens()),
            cached_tokens = usage.map(|usage| usage.cached),
            completion_tokens = usage.map(|usage| usage.completion_tokens()),
            reasoning_tokens = usage.map(|usage| usage.thoughts),
            "request"
        );
    }
}
