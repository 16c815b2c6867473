//! Counts each call, with how it ended and how long it took.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use antigravity_proto::v1::FILE_DESCRIPTOR_SET;
use antigravity_traces::grpc::code_name;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use prost::Message as _;
use tonic::Code;
use tower::{Layer, Service};

use crate::pool::Pool;

/// Around all services.
#[derive(Clone)]
pub(crate) struct Measured {
    pool: Arc<Pool>,
    /// The methods of the contract, by their paths. Clients may ask for any path.
    methods: Arc<HashMap<String, Arc<str>>>,
    other: Arc<str>,
}

impl Measured {
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        Self {
            pool,
            methods: Arc::new(methods()),
            other: "(other)".into(),
        }
    }

    fn begin(&self, path: &str) -> Call {
        Call {
            pool: Arc::clone(&self.pool),
            method: Arc::clone(self.methods.get(path).unwrap_or(&self.other)),
            began: Instant::now(),
            code: Code::Cancelled,
        }
    }
}

fn methods() -> HashMap<String, Arc<str>> {
    // It is our own, and reflection has read it before.
    let set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default();
    let mut methods = HashMap::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                methods.insert(path, method.name().into());
            }
        }
    }
    methods
}

impl<S> Layer<S> for Measured {
    type Service = Measuring<S>;

    fn layer(&self, inner: S) -> Measuring<S> {
        Measuring {
            inner,
            measured: self.clone(),
        }
    }
}

/// A service whose calls are counted.
#[derive(Clone)]
pub(crate) struct Measuring<S> {
    inner: S,
    measured: Measured,
}

impl<S, A, B> Service<Request<A>> for Measuring<S>
where
    S: Service<Request<A>, Response = Response<B>, Future: Send + 'static>,
{
    type Response = Response<Answer<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let mut call = self.measured.begin(request.uri().path());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let (head, body) = answer.await?.into_parts();
            // Errors are told in the head, as a rule.
            call.told(&head.headers);
            Ok(Response::from_parts(head, Answer { body, call }))
        })
    }
}

/// A call that runs. Dropped before its end is told, its client has gone away.
struct Call {
    pool: Arc<Pool>,
    method: Arc<str>,
    began: Instant,
    code: Code,
}

impl Call {
    fn told(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get("grpc-status") {
            self.code = Code::from_bytes(code.as_bytes());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let metrics = &self.pool.metrics;
        metrics.called(&self.method, code_name(self.code), self.began.elapsed());
    }
}

/// An answer whose trailers tell how the call ended.
pub(crate) struct Answer<B> {
    body: B,
    call: Call,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.call.told(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
