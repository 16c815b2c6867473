//! Traces: spans, where they are in a trace (W3C), and their way to an OpenTelemetry collector.
//! Nothing here knows OpenAI, Google or tokens.
//!
//! In reading order: [`settings`], [`context`], [`span`], `queue` where spans wait, `collector`
//! where they are sent, [`grpc`] for calls between our processes, [`otlp`] the messages.

mod collector;
pub mod context;
pub mod grpc;
pub mod otlp;
mod queue;
pub mod settings;
pub mod span;

use std::{borrow::Cow, sync::Arc};

use antigravity_runtime::{random, tls};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{collector::Collector, queue::Queue, settings::Sampler};
pub use self::{
    collector::CollectorError,
    context::{Context, TraceId},
    settings::Settings,
    span::{Kind, Span, Value},
};

/// What begins spans. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Tracer>>);

#[derive(Debug)]
pub(crate) struct Tracer {
    sampler: Sampler,
    queue: Queue,
    ended: CancellationToken,
    exporting: TaskTracker,
}

impl Traces {
    /// Nothing is traced, and no span kept.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// Sends spans where `settings` say, in the name of `service` unless they have one. To be
    /// called within the runtime.
    ///
    /// # Errors
    /// Files or an address that cannot be used.
    pub fn start(
        settings: Option<&Settings>,
        service: &'static str,
    ) -> Result<Self, CollectorError> {
        let Some(settings) = settings else {
            return Ok(Self(None));
        };
        tls::install_crypto_provider();
        let instance = format!("{:032x}", u128::from_be_bytes(random::id_bytes()));
        let collector = Collector::new(settings, service, &instance)?;
        tracing::info!(collector = collector.endpoint(), "traces are on");
        let (queue, exporting) = Queue::new(collector);
        let tracer = Arc::new(Tracer {
            sampler: settings.sampler,
            queue,
            ended: CancellationToken::new(),
            exporting: TaskTracker::new(),
        });
        let run = exporting.run(Arc::clone(&tracer), tracer.ended.clone());
        tracer.exporting.spawn(run);
        Ok(Self(Some(tracer)))
    }

    /// Whether nothing is traced.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a caller who says which trace it is in decides about recording it. Others' ids
    /// are then not to be taken: whether a trace is recorded goes by its id.
    #[must_use]
    pub fn asks_callers(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|tracer| tracer.sampler.parent_based)
    }

    /// How many spans have not got to the collector, since the start.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.as_ref().map_or(0, |tracer| tracer.queue.lost())
    }

    /// Begins a span, within one of this process or, without one, in a trace of its own.
    pub fn begin(
        &self,
        kind: Kind,
        name: impl FnOnce() -> Cow<'static, str>,
        parent: Option<&Context>,
    ) -> Span {
        match &self.0 {
            Some(tracer) => Span::begin(tracer, kind, name, parent, false),
            None => Span::default(),
        }
    }

    /// A span that is not recorded, of which whoever is asked within it is told as much.
    #[must_use]
    pub fn unrecorded(&self) -> Span {
        match &self.0 {
            Some(tracer) => Span::unrecorded(tracer),
            None => Span::default(),
        }
    }

    /// Begins a span for what another process asks, which may have said in which trace it is.
    pub fn begin_remote(
        &self,
        kind: Kind,
        name: impl FnOnce() -> Cow<'static, str>,
        parent: Option<&Context>,
    ) -> Span {
        match &self.0 {
            Some(tracer) => Span::begin(tracer, kind, name, parent, true),
            None => Span::default(),
        }
    }

    /// Sends what is left, for two seconds at most.
    pub async fn end(&self) {
        if let Some(tracer) = &self.0 {
            tracer.ended.cancel();
            tracer.exporting.close();
            tracer.exporting.wait().await;
        }
    }
}
