//! `POST /v1/chat/completions`: reads, opens, relays.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use antigravity_runtime::clock::Clock;
use axum::{
    body::Body,
    extract::{Extension, State},
    http::{HeaderMap, HeaderValue, Response},
};
use bytes::Bytes;
use futures_util::stream;
use tokio_util::sync::CancellationToken;
use translate::{
    chat::{
        reply::{AskedFor, Settings, Shape},
        request,
    },
    gemini::{
        model::{Dialect, Generation},
        request::{Fetched, Target},
    },
};

use super::{
    Gateway, auth, body,
    respond::{self, IGNORED_PARAMS, RequestId},
};
use crate::{
    error::Error,
    tokens::Conversation,
    upstream::{
        About, Call,
        relay::Relay,
        running::{Begun, Opening, Running, Told, Wanted},
    },
};

pub(super) async fn create(
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    match answer(gateway, &id, &headers, body).await {
        Ok(response) => response,
        Err(error) => respond::error(&error, &id),
    }
}

async fn answer(
    gateway: Arc<Gateway>,
    id: &RequestId,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response<Body>, Error> {
    let config = &gateway.config;
    let api_key_name = auth::key_name(headers, &config.api_keys)?.to_owned();
    let body = body::read(headers, body, config.max_body_bytes, config.timeouts.body).await?;
    let text = simdutf8::basic::from_utf8(&body).map_err(|_| Error::InvalidUtf8)?;
    let document = request::document(text)?;
    let request = request::parse(&document, &config.requests)?;
    let ignored = ignored_params(&request.ignored);
    let stream = request.stream;
    let media: Arc<[Fetched]> = match &gateway.media {
        Some(fetcher) if !request.wanted.is_empty() => tokio::select! {
            fetched = fetcher.fetch(&request.wanted) => fetched?.into(),
            () = gateway.shutdown.abort.cancelled() => return Err(Error::ShuttingDown),
        },
        _ => Arc::default(),
    };
    let body = Rendered {
        options: config.requests,
        model: request.upstream_model().to_owned(),
        body: body.clone(),
        media,
    };
    let asked = Asked {
        all: call(
            &gateway,
            id,
            api_key_name,
            &request,
            body.clone().render(false),
        ),
        one: once(body.render(true)),
        choices: request.choices(),
    };
    let response = if stream {
        streamed(Arc::clone(&gateway), asked).await
    } else {
        tokio::select! {
            begun = asked.begin(&gateway) => begun.map(|begun| respond::json(begun.first)),
            () = gateway.shutdown.abort.cancelled() => Err(Error::ShuttingDown),
        }
    };
    let mut response = match response {
        Ok(response) => response,
        Err(error) => respond::error(&error, id),
    };
    if let Some(ignored) = ignored {
        response.headers_mut().insert(IGNORED_PARAMS, ignored);
    }
    Ok(response)
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
    id: &RequestId,
    api_key_name: String,
    request: &request::Request<'_>,
    render: Render,
) -> Call {
    let config = &gateway.config;
    let model = request.upstream_model().to_owned();
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
    Call {
        about: About {
            request_id: id.0.clone(),
            api_key_name,
            surface: "chat",
            stream: request.stream,
            model: model.clone(),
            conversation,
        },
        reply: Settings {
            id: format!("chatcmpl-{}", uuid::Uuid::new_v4().simple()),
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

/// A client's request as Gemini's. The body is read again for each, as what was read of it
/// borrows from it and cannot wait for an upstream to be chosen.
#[derive(Clone)]
struct Rendered {
    options: request::Options,
    model: String,
    body: Bytes,
    media: Arc<[Fetched]>,
}

impl Rendered {
    /// Writes it for a dialect, maybe for one choice of several.
    fn render(self, one: bool) -> Render {
        Arc::new(move |dialect| {
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
                let target = Target {
                    dialect,
                    model: &self.model,
                };
                request.gemini.write(target, &mut out);
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

type Beginning = Pin<Box<dyn Future<Output = Result<Begun, Error>> + Send>>;

/// A stream: its status is committed with its first piece, or with the first comment
/// that a silent upstream makes necessary.
async fn streamed(gateway: Arc<Gateway>, asked: Asked) -> Result<Response<Body>, Error> {
    let keepalive = gateway.config.timeouts.keepalive;
    let request_id = asked.all.about.request_id.clone();
    let (clock, abort) = (gateway.config.clock.clone(), gateway.shutdown.abort.clone());
    let mut beginning: Beginning = Box::pin({
        let gateway = Arc::clone(&gateway);
        async move { asked.begin(&gateway).await }
    });
    let state = tokio::select! {
        begun = &mut beginning => Stage::begun(begun?),
        () = clock.sleep(keepalive) => Stage::Beginning(beginning),
        () = abort.cancelled() => return Err(Error::ShuttingDown),
    };
    let events = Events {
        stage: state,
        keepalive,
        request_id,
        clock,
        abort,
    };
    let body = Body::from_stream(stream::unfold(events, Events::next));
    Ok(respond::event_stream(body))
}

/// The events of one answer, as the client reads them.
struct Events {
    stage: Stage,
    keepalive: Duration,
    request_id: String,
    clock: Clock,
    /// The process ends, and its patience is over.
    abort: CancellationToken,
}

enum Stage {
    /// Nothing has come; comments keep the connection.
    Beginning(Beginning),
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

impl Events {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        let piece = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Over => return None,
            Stage::Piece(piece, rest) => {
                self.stage = rest.map_or(Stage::Over, Stage::Running);
                piece
            }
            Stage::Beginning(mut beginning) => tokio::select! {
                begun = &mut beginning => match begun {
                    Ok(begun) => {
                        self.stage = begun.rest.map_or(Stage::Over, Stage::Running);
                        begun.first
                    }
                    Err(error) => self.failed(&error),
                },
                () = self.clock.sleep(self.keepalive) => {
                    self.stage = Stage::Beginning(beginning);
                    COMMENT
                }
                () = self.abort.cancelled() => self.failed(&Error::ShuttingDown),
            },
            Stage::Running(mut running) => {
                let told = {
                    // A step that is dropped loses nothing: what it has read is the relay's.
                    let step = std::pin::pin!(running.step());
                    tokio::select! {
                        told = step => Some(told),
                        () = self.clock.sleep(self.keepalive) => None,
                        () = self.abort.cancelled() => {
                            Some(Told::Broken(Bytes::new(), Error::ShuttingDown))
                        }
                    }
                };
                match told {
                    Some(Told::Piece(piece)) => {
                        self.stage = Stage::Running(running);
                        piece
                    }
                    Some(Told::Last(piece)) => piece,
                    Some(Told::Broken(output, error)) => {
                        [output, self.failed(&error)].concat().into()
                    }
                    None => {
                        self.stage = Stage::Running(running);
                        COMMENT
                    }
                }
            }
        };
        Some((Ok(piece), self))
    }

    fn failed(&self, error: &Error) -> Bytes {
        tracing::warn!(request_id = self.request_id, code = error.code(), %error, "stream broke");
        Relay::error_event(error, &self.request_id)
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
