//! One log line for each request of a client: who asked for what, who answered, how long it
//! took and what it cost; but for floods of requests without a key. Never a secret, never a prompt.

use std::{fmt, sync::Arc, time::Instant};

use parking_lot::Mutex;
use translate::gemini::usage::Usage;

use crate::strangers::Strangers;

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
    began: Instant,
    strangers: Arc<Strangers>,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    quiet: bool,
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
}

impl RequestLine {
    /// A request begins.
    #[must_use]
    pub fn begin(
        request_id: Arc<str>,
        method: http::Method,
        path: &str,
        strangers: Arc<Strangers>,
    ) -> Self {
        Self(Arc::new(Line {
            request_id,
            method,
            path: shortened(path).into(),
            began: Instant::now(),
            strangers,
            told: Mutex::default(),
        }))
    }

    /// No line is written for it.
    pub fn keep_quiet(&self) {
        self.0.told.lock().quiet = true;
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
    pub fn attempt(&self, project: &Arc<str>) {
        let mut told = self.0.told.lock();
        told.attempts += 1;
        told.project = Some(Arc::clone(project));
    }

    /// What an attempt cost; an answer may take several.
    pub fn used(&self, usage: Usage) {
        *self.0.told.lock().usage.get_or_insert_default() += usage;
    }

    /// The head of the answer is there.
    pub fn head(&self, status: http::StatusCode) {
        let passed = self.0.passed_ms();
        let mut told = self.0.told.lock();
        told.status = Some(status.as_u16());
        told.head_ms = Some(passed);
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
        let total_ms = self.passed_ms();
        let told = self.told.get_mut();
        if told.quiet || told.key.is_none() && !self.strangers.refused() {
            return;
        }
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
