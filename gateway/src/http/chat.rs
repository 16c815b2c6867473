//! `POST /v1/chat/completions`: reads, opens, relays.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use antigravity_runtime::clock::{Alarm, Clock};
use axum::{
    body::Body,
    extract::{Extension, State},
    http::{HeaderMap, HeaderValue, Response},
};
use bytes::Bytes;
use http_body::Frame;
use tokio_util::sync::WaitForCancellationFutureOwned;
use translate::{
    chat::{
        reply::{AskedFor, Settings, Shape},
        request,
    },
    gemini::{
        model::{Dialect, Generation},
        request::Fetched,
    },
};

use super::{
    Gateway, auth, body,
    respond::{self, IGNORED_PARAMS, RequestId},
};
use crate::{
    error::Error,
    limits,
    metrics::InFlight,
    new_id,
    request_line::RequestLine,
    tokens::Conversation,
    upstream::{
        About, Call,
        drain::{Asking, Drain, Rest},
        relay::Relay,
        running::{Begun, Opening, Running, Told, Wanted},
    },
};

pub(super) async fn create(
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
    Extension(line): Extension<RequestLine>,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    let (api_key_name, running) = match admit(&gateway, &line, &headers) {
        Ok(admitted) => admitted,
        Err(error) => return respond::error(&error, &id),
    };
    let standing = running.standing;
    let result = match read(&gateway, headers, body).await {
        Ok(body) => {
            line.asked(&body);
            answer(gateway, &id, line, api_key_name, running, body).await
        }
        Err(error) => Err(error),
    };
    let mut response = result.unwrap_or_else(|error| respond::error(&error, &id));
    if let Some(standing) = standing {
        respond::standing(response.headers_mut(), standing);
    }
    response
}

/// Whose request it is, and its place among those that run.
fn admit(
    gateway: &Gateway,
    line: &RequestLine,
    headers: &HeaderMap,
) -> Result<(Arc<str>, limits::Running), Error> {
    let api_key_name = auth::key_name(headers, &gateway.config.api_keys)?;
    line.asked_by(&api_key_name);
    let running = gateway.limits.begin(&api_key_name)?;
    Ok((api_key_name, running))
}

/// The body. The headers end here: they are in one buffer with the beginning of the body, which
/// the connection reads into again when nobody holds it.
async fn read(gateway: &Gateway, headers: HeaderMap, body: Body) -> Result<Bytes, Error> {
    let config = &gateway.config;
    body::read(&headers, body, config.max_body_bytes, config.timeouts.body).await
}

async fn answer(
    gateway: Arc<Gateway>,
    id: &RequestId,
    line: RequestLine,
    api_key_name: Arc<str>,
    running: limits::Running,
    body: Bytes,
) -> Result<Response<Body>, Error> {
    let config = &gateway.config;
    let text = simdutf8::basic::from_utf8(&body).map_err(|_| Error::InvalidUtf8)?;
    let document = request::document(text)?;
    let request = request::parse(&document, &config.requests)?;
    let ignored = ignored_params(&request.ignored);
    let stream = request.stream;
    let media: Arc<[Fetched]> = match &gateway.media {
        Some(fetcher) if !request.wanted.is_empty() => {
            let wanted = Instant::now();
            let fetched = tokio::select! {
                fetched = Box::pin(fetcher.fetch(&request.wanted)) => fetched,
                () = gateway.shutdown.abort.cancelled() => return Err(Error::ShuttingDown),
            };
            gateway.metrics.media_after(wanted.elapsed());
            fetched?.into()
        }
        _ => Arc::default(),
    };
    let asked = asked(
        &gateway,
        line,
        id,
        api_key_name,
        request,
        body.clone(),
        &media,
    );
    // Not held for as long as the answer takes.
    drop(document);
    drop(body);
    let about = asked.all.about.clone();
    // Apart from this, which lives as long as a connection has an answer to send.
    let beginning = Box::pin({
        let gateway = Arc::clone(&gateway);
        async move { asked.begin(&gateway).await }
    });
    let asking = Asking::new(beginning, gateway.drain.clone(), about.line.clone());
    let response = if stream {
        streamed(&gateway, about, running, asking).await
    } else {
        tokio::select! {
            begun = asking => begun.map(|begun| respond::json(begun.first)),
            () = gateway.shutdown.abort.cancelled() => Err(Error::ShuttingDown),
        }
    };
    let mut response = response.unwrap_or_else(|error| respond::error(&error, id));
    if let Some(ignored) = ignored {
        response.headers_mut().insert(IGNORED_PARAMS, ignored);
    }
    Ok(response)
}

/// The calls that a request may take. What was read of it ends here: it borrows from the body,
/// and is not kept for as long as the answer takes.
fn asked<'r>(
    gateway: &Gateway,
    line: RequestLine,
    id: &RequestId,
    api_key_name: Arc<str>,
    mut request: request::Request<'r>,
    body: Bytes,
    media: &'r Arc<[Fetched]>,
) -> Asked {
    let choices = request.choices();
    request.gemini.supply(media);
    let dialect = gateway.upstream.usual_dialect();
    let mut written = Vec::with_capacity(body.len() + 1024);
    request.write(dialect, &mut written);
    let rendered = Rendered {
        options: gateway.config.requests,
        body: apart(body),
        media: Arc::clone(media),
        written: Some((dialect, written.into())),
    };
    Asked {
        one: once(rendered.clone().render(true)),
        all: call(
            gateway,
            line,
            id,
            api_key_name,
            &request,
            rendered.render(false),
        ),
        choices,
    }
}

/// A small body is kept apart from the buffer that it was read into, which is larger.
fn apart(body: Bytes) -> Bytes {
    const SMALL: usize = 4 << 10;
    if body.len() <= SMALL {
        Bytes::copy_from_slice(&body)
    } else {
        body
    }
}

/// What a client asked for, as the calls that it may take.
struct Asked {
    /// For all of its choices.
    all: Call,
    /// Writes the request for one choice.
    one: Render,
    choices: u32,
}

impl Asked {
    async fn begin(self, gateway: &Arc<Gateway>) -> Result<Begun, Error> {
        if self.choices == 1 {
            return gateway.upstream.open(&self.all).await.map(Begun::from);
        }
        let upstream = &gateway.upstream;
        let (stream, model) = (self.all.about.stream, &self.all.about.model);
        // Claude and GPT-OSS pass over the number of candidates.
        let one_by_one = matches!(
            Generation::of(model),
            Generation::Claude | Generation::GptOss
        ) || upstream.refuses_candidates(model).await;
        let all = if one_by_one {
            None
        } else {
            match upstream.open(&self.all).await {
                Err(error) if error.refuses_candidates() => None,
                opened => Some(opened?),
            }
        };
        self.wanted(gateway).begin(all, stream).await
    }

    fn wanted(self, gateway: &Arc<Gateway>) -> Wanted {
        let Self { all, one, choices } = self;
        let settings = all.reply.clone();
        let gateway = Arc::clone(gateway);
        let ask = move |choice| -> Opening {
            let mut call = all.clone();
            call.render = Arc::clone(&one);
            call.reply.choice = Some(AskedFor::One(choice));
            let gateway = Arc::clone(&gateway);
            Box::pin(async move { gateway.upstream.open(&call).await })
        };
        Wanted {
            settings,
            choices,
            ask: Arc::new(ask),
        }
    }
}

fn call(
    gateway: &Gateway,
    line: RequestLine,
    id: &RequestId,
    api_key_name: Arc<str>,
    request: &request::Request<'_>,
    render: Render,
) -> Call {
    let config = &gateway.config;
    let shape = if request.stream {
        Shape::Stream {
            include_usage: request.include_usage,
        }
    } else {
        Shape::Object
    };
    let conversation = config.affinity.then(|| {
        // A key of the client's own choice says enough.
        let client = request
            .prompt_cache_key
            .is_none()
            .then_some(api_key_name.as_bytes());
        let texts = request.conversation().map(str::as_bytes);
        Conversation::of(client.into_iter().chain(texts))
    });
    let model: Arc<str> = request.upstream_model().into();
    line.asks_for(&model, request.stream);
    Call {
        about: About {
            request_id: Arc::clone(&id.0),
            api_key_name,
            surface: "chat",
            stream: request.stream,
            model,
            conversation,
            line,
        },
        reply: Settings {
            id: format!("chatcmpl-{}", new_id().simple()),
            created: config.clock.now().as_second(),
            model: request.model.clone().into_owned(),
            shape,
            first_call_only: request.first_call_only,
            signature_id_limit: config.signature_id_limit,
            audio: request.audio,
            choice: (request.choices() > 1).then_some(AskedFor::All),
            legacy_functions: request.legacy_functions,
            names: request.names.clone(),
            wrapped: false,
        },
        render,
    }
}

type Render = Arc<dyn Fn(Dialect) -> Bytes + Send + Sync>;

/// Writes for each dialect only once, however many calls send it: a request may hold many
/// megabytes of media.
fn once(render: Render) -> Render {
    let written = Mutex::new(HashMap::new());
    Arc::new(move |dialect| {
        // Nothing is half done in a map whose writer panicked.
        let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
        let written: &mut Bytes = written.entry(dialect).or_insert_with(|| render(dialect));
        written.clone()
    })
}

/// A client's request as Gemini's, written for the dialect that it will most likely be sent in.
/// For others the body is read again, as what was read of it borrows from it and cannot wait for
/// an upstream to be chosen.
#[derive(Clone)]
struct Rendered {
    options: request::Options,
    body: Bytes,
    media: Arc<[Fetched]>,
    written: Option<(Dialect, Bytes)>,
}

impl Rendered {
    /// Writes it for a dialect, maybe for one choice of several.
    fn render(self, one: bool) -> Render {
        Arc::new(move |dialect| {
            match &self.written {
                Some((for_dialect, written)) if *for_dialect == dialect && !one => {
                    return written.clone();
                }
                _ => {}
            }
            let mut out = Vec::with_capacity(self.body.len() + 1024);
            let text = std::str::from_utf8(&self.body).unwrap_or_default();
            // It was read before, so it can be read now.
            if let Ok(document) = request::document(text)
                && let Ok(mut request) = request::parse(&document, &self.options)
            {
                if one {
                    request.ask_for_one();
                }
                request.gemini.supply(&self.media);
                request.write(dialect, &mut out);
            }
            out.into()
        })
    }
}

/// The header's value; names that no header can carry are left out.
fn ignored_params(names: &[String]) -> Option<HeaderValue> {
    const MAX: usize = 4096;
    let mut list = String::new();
    for name in names
        .iter()
        .filter(|name| name.len() <= 128 && name.chars().all(|c| c.is_ascii_graphic() && c != ','))
    {
        if list.len() + name.len() > MAX {
            break;
        }
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(name);
    }
    (!list.is_empty())
        .then(|| HeaderValue::from_str(&list).ok())
        .flatten()
}

/// A stream: its status is committed with its first piece, or with the first comment
/// that a silent upstream makes necessary.
async fn streamed(
    gateway: &Gateway,
    about: About,
    running: limits::Running,
    mut asking: Asking,
) -> Result<Response<Body>, Error> {
    let keepalive = gateway.config.timeouts.keepalive;
    let (clock, abort) = (gateway.config.clock.clone(), gateway.shutdown.abort.clone());
    let told = clock.instant();
    let state = tokio::select! {
        begun = &mut asking => Stage::begun(begun?),
        () = clock.sleep(keepalive) => Stage::Asking(asking),
        () = abort.cancelled() => return Err(Error::ShuttingDown),
    };
    let events = Events {
        stage: state,
        told,
        keepalive,
        alarm: Alarm::new(clock.clone()),
        request_id: about.request_id,
        line: about.line,
        drain: gateway.drain.clone(),
        _running: running,
        _in_flight: gateway.metrics.stream(),
        clock,
        abort: Box::pin(abort.cancelled_owned()),
    };
    Ok(respond::event_stream(Body::new(events)))
}

/// The events of one answer, as the client reads them.
struct Events {
    stage: Stage,
    /// When the client was last told something.
    told: Instant,
    keepalive: Duration,
    alarm: Alarm,
    request_id: Arc<str>,
    line: RequestLine,
    /// Where its rest goes when the client hangs up.
    drain: Drain,
    /// Its place among the requests that run.
    _running: limits::Running,
    _in_flight: InFlight,
    clock: Clock,
    /// The process ends, and its patience is over.
    abort: Pin<Box<WaitForCancellationFutureOwned>>,
}

enum Stage {
    /// Nothing has come; comments keep the connection.
    Asking(Asking),
    /// A piece is there to be told.
    Piece(Bytes, Option<Running>),
    Running(Running),
    Over,
}

impl Stage {
    fn begun(begun: Begun) -> Self {
        Self::Piece(begun.first, begun.rest)
    }
}

const COMMENT: Bytes = Bytes::from_static(b": keep-alive\n\n");

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = std::task::ready!(self.poll_piece(context));
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }
}

impl Events {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let piece = match self.poll_told(context) {
            Poll::Ready(Some(piece)) => piece,
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending if self.abort.as_mut().poll(context).is_ready() => {
                self.stage = Stage::Over;
                self.failed(&Error::ShuttingDown)
            }
            Poll::Pending => {
                std::task::ready!(self.alarm.poll(self.told + self.keepalive, context));
                COMMENT
            }
        };
        self.told = self.clock.instant();
        Poll::Ready(Some(piece))
    }

    /// The next piece of the answer itself.
    fn poll_told(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Stage::Asking(asking) = &mut self.stage {
            self.stage = match std::task::ready!(Pin::new(asking).poll(context)) {
                Ok(begun) => Stage::begun(begun),
                Err(error) => Stage::Piece(self.failed(&error), None),
            };
        }
        let told = match &mut self.stage {
            Stage::Running(running) => std::task::ready!(running.poll_step(context)),
            stage => match std::mem::replace(stage, Stage::Over) {
                Stage::Piece(piece, rest) => {
                    *stage = rest.map_or(Stage::Over, Stage::Running);
                    self.line.first_piece();
                    return Poll::Ready(Some(piece));
                }
                _ => return Poll::Ready(None),
            },
        };
        let piece = match told {
            Told::Piece(piece) => return Poll::Ready(Some(piece)),
            Told::Last(piece) => piece,
            Told::Broken(output, error) => [output, self.failed(&error)].concat().into(),
        };
        self.stage = Stage::Over;
        Poll::Ready(Some(piece))
    }

    fn failed(&self, error: &Error) -> Bytes {
        tracing::warn!(
            request_id = &*self.request_id,
            code = error.code(),
            error = error.for_logs(),
            "stream broke"
        );
        self.line.failed(error.name());
        Relay::error_event(error, &self.request_id)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Running(rest) | Stage::Piece(_, Some(rest)) => {
                self.drain.read_on(Rest::Running(rest), &self.line);
            }
            Stage::Piece(_, None) => self.line.cancelled(),
            // The first sees to itself.
            Stage::Asking(_) | Stage::Over => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn calls_share_what_is_written_for_them() {
        let times = Arc::new(AtomicUsize::new(0));
        let render = once({
            let times = Arc::clone(&times);
            Arc::new(move |dialect| {
                times.fetch_add(1, Ordering::Relaxed);
                format!("{dialect:?}").into()
            })
        });
        let first = render(Dialect::CodeAssist);
        assert_eq!(render(Dialect::CodeAssist).as_ptr(), first.as_ptr());
        assert_ne!(render(Dialect::Vertex), first);
        assert_eq!(times.load(Ordering::Relaxed), 2);
    }
}
