//! Spans of gRPC calls, on both of their ends.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as TaskContext, Poll},
};

use http::{HeaderMap, Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::{Context, Kind, Span, Traces};

tokio::task_local! {
    static CURRENT: Context;
}

/// The place in a trace of the call that this task answers.
#[must_use]
pub fn current() -> Option<Context> {
    CURRENT.try_with(Clone::clone).ok()
}

/// The span of a call to another process.
pub fn call(traces: &Traces, method: &'static str, parent: Option<&Context>) -> Span {
    let mut span = traces.begin(Kind::Client, || method.into(), parent);
    describe(&mut span, method);
    span
}

/// What came of a call.
pub fn came_to(span: &mut Span, code: Code) {
    let name = code_name(code);
    span.set("rpc.response.status_code", name);
    if code != Code::Ok {
        span.failed(name);
    }
}

/// Names the call's place in its trace to whom it is sent.
pub fn send_along(span: &Span, metadata: &mut tonic::metadata::MetadataMap) {
    if let Some(context) = span.context() {
        let mut headers = std::mem::take(metadata).into_headers();
        context.write(&mut headers);
        *metadata = tonic::metadata::MetadataMap::from_headers(headers);
    }
}

fn describe(span: &mut Span, method: &str) {
    span.set("rpc.system.name", "grpc");
    span.set("rpc.method", method);
}

/// A status code as gRPC's documents write it.
#[must_use]
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Puts a span around each call of the methods that a server knows.
#[derive(Clone, Debug)]
pub struct ServerLayer {
    traces: Traces,
    /// With which a method begins that is ours: callers name methods as they like.
    ours: &'static str,
}

impl ServerLayer {
    /// For the methods of packages that begin with `ours`.
    #[must_use]
    pub fn new(traces: Traces, ours: &'static str) -> Self {
        Self { traces, ours }
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced {
            inner,
            layer: self.clone(),
        }
    }
}

/// A service with spans around its calls.
#[derive(Clone, Debug)]
pub struct Traced<S> {
    inner: S,
    layer: ServerLayer,
}

impl<S, B, R> Service<Request<B>> for Traced<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Answering<S::Future, S::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(mut span) = self.layer.begin(request.uri().path(), request.headers()) else {
            return Answering::Untraced(Box::pin(self.inner.call(request)));
        };
        let answer = self.inner.call(request);
        let context = span.context().cloned();
        Answering::Traced(Box::pin(async move {
            let answer = match context {
                Some(context) => CURRENT.scope(context, answer).await,
                None => answer.await,
            };
            if let Ok(answer) = &answer {
                // An error is in the head; what is in a trailer is an answer's end.
                let said = Status::from_header_map(answer.headers());
                came_to(&mut span, said.map_or(Code::Ok, |status| status.code()));
            }
            answer
        }))
    }
}

impl ServerLayer {
    fn begin(&self, path: &str, headers: &HeaderMap) -> Option<Span> {
        if self.traces.is_off() {
            return None;
        }
        let method = path.strip_prefix('/')?;
        if !method.starts_with(self.ours) || method.len() > 128 {
            return None;
        }
        let parent = Context::of_headers(headers);
        let name = method.to_owned();
        let mut span = self
            .traces
            .begin_remote(Kind::Server, move || name.into(), parent.as_ref());
        describe(&mut span, method);
        Some(span)
    }
}

/// An answer on its way.
pub enum Answering<F, R, E> {
    /// As it comes.
    Untraced(Pin<Box<F>>),
    /// Within a span.
    Traced(Pin<Box<dyn Future<Output = Result<R, E>> + Send>>),
}

impl<F, R, E> std::fmt::Debug for Answering<F, R, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answering").finish_non_exhaustive()
    }
}

impl<F: Future<Output = Result<R, E>>, R, E> Future for Answering<F, R, E> {
    type Output = Result<R, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Untraced(answer) => answer.as_mut().poll(context),
            Self::Traced(answer) => answer.as_mut().poll(context),
        }
    }
}
