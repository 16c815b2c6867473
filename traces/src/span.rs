//! Something that takes time, as a trace tells it.

use std::{
    borrow::Cow,
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use antigravity_runtime::random;

use crate::{
    Tracer,
    context::{Context, TraceId},
    otlp::{
        common::v1::{AnyValue, ArrayValue, KeyValue, any_value},
        trace::v1::{Span as Recorded, SpanFlags, Status, span::SpanKind, status::StatusCode},
    },
};

/// Bytes of a text that are told. Names come from clients.
const LONGEST: usize = 256;

/// What part a span has in a conversation between processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It answers another process.
    Server,
    /// It asks another process.
    Client,
    /// Neither.
    Internal,
}

/// What an attribute is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// Several.
    Texts(Vec<String>),
    /// A whole number.
    Whole(i64),
    /// A number.
    Part(f64),
    /// Yes or no.
    Flag(bool),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text[..text.floor_char_boundary(LONGEST)].to_owned())
    }
}
impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Whole(i64::try_from(number).unwrap_or(i64::MAX))
    }
}
impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Whole(number.into())
    }
}
impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Whole(number.into())
    }
}
impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}
impl From<Duration> for Value {
    /// In seconds.
    fn from(time: Duration) -> Self {
        Self::Part(time.as_secs_f64())
    }
}
impl From<Vec<String>> for Value {
    fn from(texts: Vec<String>) -> Self {
        Self::Texts(texts)
    }
}

impl From<Value> for AnyValue {
    fn from(value: Value) -> Self {
        use any_value::Value as Any;
        let value = match value {
            Value::Text(text) => Any::StringValue(text),
            Value::Texts(texts) => {
                let texts = texts.into_iter().map(|text| Value::Text(text).into());
                Any::ArrayValue(ArrayValue {
                    values: texts.collect(),
                })
            }
            Value::Whole(number) => Any::IntValue(number),
            Value::Part(number) => Any::DoubleValue(number),
            Value::Flag(flag) => Any::BoolValue(flag),
        };
        Self { value: Some(value) }
    }
}

/// As OpenTelemetry writes an attribute.
pub(crate) fn attribute(name: &str, value: impl Into<Value>) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(value.into().into()),
        ..Default::default()
    }
}

/// A span, from where it was begun to where it is dropped. While nothing is traced, nothing is
/// kept.
#[derive(Default)]
pub struct Span(Option<Box<Running>>);

struct Running {
    tracer: Arc<Tracer>,
    context: Context,
    /// `None`: this trace is not recorded, which whoever is asked is told.
    recorded: Option<(Recorded, Instant)>,
}

impl Span {
    pub(crate) fn begin(
        tracer: &Arc<Tracer>,
        kind: Kind,
        name: impl FnOnce() -> Cow<'static, str>,
        parent: Option<&Context>,
        remote: bool,
    ) -> Self {
        let trace_id = parent.map_or_else(random::id_bytes, |parent| parent.trace_id.0);
        let sampled = match parent {
            // Within a process all of a trace is recorded, or nothing.
            Some(parent) if !remote => parent.sampled,
            _ => tracer
                .sampler
                .samples(trace_id, parent.map(|parent| parent.sampled)),
        };
        let context = Context {
            trace_id: TraceId(trace_id),
            span_id: span_id(),
            sampled,
            state: parent.and_then(|parent| parent.state.clone()),
        };
        let recorded = sampled.then(|| {
            let kind = match kind {
                Kind::Server => SpanKind::Server,
                Kind::Client => SpanKind::Client,
                Kind::Internal => SpanKind::Internal,
            };
            let is_remote = if remote && parent.is_some() {
                SpanFlags::ContextIsRemoteMask as u32
            } else {
                0
            };
            let recorded = Recorded {
                trace_id: trace_id.to_vec(),
                span_id: context.span_id.to_vec(),
                trace_state: context.state.as_deref().unwrap_or_default().to_owned(),
                parent_span_id: parent.map_or_else(Vec::new, |parent| parent.span_id.to_vec()),
                // 1: the trace is recorded.
                flags: 1 | SpanFlags::ContextHasIsRemoteMask as u32 | is_remote,
                name: name().into_owned(),
                kind: kind.into(),
                start_time_unix_nano: nanos(SystemTime::now()),
                ..Default::default()
            };
            (recorded, Instant::now())
        });
        Self(Some(Box::new(Running {
            tracer: Arc::clone(tracer),
            context,
            recorded,
        })))
    }

    pub(crate) fn unrecorded(tracer: &Arc<Tracer>) -> Self {
        let context = Context {
            trace_id: TraceId(random::id_bytes()),
            span_id: span_id(),
            sampled: false,
            state: None,
        };
        Self(Some(Box::new(Running {
            tracer: Arc::clone(tracer),
            context,
            recorded: None,
        })))
    }

    /// A span within this one, begun now.
    #[must_use]
    pub fn child(&self, kind: Kind, name: impl FnOnce() -> Cow<'static, str>) -> Self {
        match &self.0 {
            Some(running) => {
                Self::begin(&running.tracer, kind, name, Some(&running.context), false)
            }
            None => Self(None),
        }
    }

    /// Its place in its trace; `None` while nothing is traced.
    #[must_use]
    pub fn context(&self) -> Option<&Context> {
        self.0.as_ref().map(|running| &running.context)
    }

    /// The id of its trace, if that is recorded.
    #[must_use]
    pub fn trace_id(&self) -> Option<TraceId> {
        let context = self.context().filter(|context| context.sampled)?;
        Some(context.trace_id)
    }

    /// Whether what is set here is kept: for what takes work to find out.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.recorded().is_some()
    }

    fn recorded(&self) -> Option<&Recorded> {
        let (recorded, _) = self.0.as_ref()?.recorded.as_ref()?;
        Some(recorded)
    }

    fn recorded_mut(&mut self) -> Option<&mut Recorded> {
        let (recorded, _) = self.0.as_mut()?.recorded.as_mut()?;
        Some(recorded)
    }

    /// Says something about it.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(recorded) = self.recorded_mut() {
            recorded.attributes.push(attribute(name, value));
        }
    }

    /// It is not worth keeping.
    pub fn discard(&mut self) {
        if let Some(running) = &mut self.0 {
            running.recorded = None;
        }
    }

    /// It went wrong, in a way that has this name.
    pub fn failed(&mut self, kind: &str) {
        self.set("error.type", kind);
        if let Some(recorded) = self.recorded_mut() {
            recorded.status = Some(Status {
                code: StatusCode::Error.into(),
                ..Default::default()
            });
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some((mut recorded, began)) = self.recorded.take() {
            // Not the time of day: that may have been set meanwhile.
            let passed = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            recorded.end_time_unix_nano = recorded.start_time_unix_nano.saturating_add(passed);
            self.tracer.queue.put(recorded);
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span")
            .field(&self.recorded().map(|recorded| &recorded.name))
            .finish()
    }
}

fn span_id() -> [u8; 8] {
    let mut id = [0; 8];
    id.copy_from_slice(&random::id_bytes()[..8]);
    id
}

fn nanos(at: SystemTime) -> u64 {
    let passed = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX)
}
