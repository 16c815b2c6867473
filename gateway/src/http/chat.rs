//! `POST /v1/chat/completions`: reads, opens, relays.

use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc, time::Duration};

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
        reply::{Settings, Shape},
        request,
    },
    gemini::{
        model::Dialect,
        request::{Fetched, Target},
    },
};

use super::{
    Gateway, auth, body,
    respond::{self, IGNORED_PARAMS, RequestId},
};
use crate::{
    error::Error,
    upstream::{
        About, Call, Opened,
        outcome::Failure,
        relay::{Relay, Step},
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
    let text = std::str::from_utf8(&body).map_err(|_| Error::InvalidUtf8)?;
    let request = request::parse(text, &config.requests)?;
    let ignored = ignored_params(&request.ignored);
    let stream = request.stream;
    let media = match &gateway.media {
        Some(fetcher) if !request.wanted.is_empty() => tokio::select! {
            fetched = fetcher.fetch(&request.wanted) => fetched?,
            () = gateway.shutdown.abort.cancelled() => return Err(Error::ShuttingDown),
        },
        _ => Vec::new(),
    };
    let call = call(&gateway, id, api_key_name, &request, body.clone(), media);
    let response = if stream {
        streamed(Arc::clone(&gateway), call).await
    } else {
        tokio::select! {
            opened = gateway.upstream.open(&call) => opened.map(|opened| respond::json(opened.first)),
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

fn call(
    gateway: &Gateway,
    id: &RequestId,
    api_key_name: String,
    request: &request::Request<'_>,
    body: Bytes,
    media: Vec<Fetched>,
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
    Call {
        about: About {
            request_id: id.0.clone(),
            api_key_name,
            surface: "chat",
            stream: request.stream,
            model: model.clone(),
        },
        reply: Settings {
            id: format!("chatcmpl-{}", uuid::Uuid::new_v4().simple()),
            created: config.clock.now().as_second(),
            model: request.model.clone().into_owned(),
            shape,
            first_call_only: request.first_call_only,
            signature_id_limit: config.signature_id_limit,
            audio: request.audio,
            legacy_functions: request.legacy_functions,
            names: request.names.clone(),
            wrapped: false,
        },
        render: Box::new(render(config.requests, model, body, media)),
    }
}

/// Writes the Gemini request for a dialect. The body is read again, as what was read of
/// it borrows from it and cannot wait for an upstream to be chosen.
fn render(
    options: request::Options,
    model: String,
    body: Bytes,
    media: Vec<Fetched>,
) -> impl Fn(Dialect) -> Bytes + Send + Sync {
    move |dialect| {
        let mut out = Vec::with_capacity(body.len() + 1024);
        let text = std::str::from_utf8(&body).unwrap_or_default();
        // It was read before, so it can be read now.
        if let Ok(mut request) = request::parse(text, &options) {
            request.gemini.supply(&media);
            let target = Target {
                dialect,
                model: &model,
            };
            request.gemini.write(target, &mut out);
        }
        out.into()
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

type Opening = Pin<Box<dyn Future<Output = Result<Opened, Error>> + Send>>;

/// A stream: its status is committed with its first piece, or with the first comment
/// that a silent upstream makes necessary.
async fn streamed(gateway: Arc<Gateway>, call: Call) -> Result<Response<Body>, Error> {
    let keepalive = gateway.config.timeouts.keepalive;
    let request_id = call.about.request_id.clone();
    let (clock, abort) = (gateway.config.clock.clone(), gateway.shutdown.abort.clone());
    let mut opening: Opening = Box::pin({
        let gateway = Arc::clone(&gateway);
        async move { gateway.upstream.open(&call).await }
    });
    let state = tokio::select! {
        opened = &mut opening => Stage::opened(opened?),
        () = clock.sleep(keepalive) => Stage::Opening(opening),
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
    Opening(Opening),
    /// A piece is there to be told.
    Piece(Bytes, Option<Box<Relay>>),
    Relaying(Box<Relay>),
    Over,
}

impl Stage {
    fn opened(opened: Opened) -> Self {
        Self::Piece(opened.first, opened.rest)
    }
}

const COMMENT: Bytes = Bytes::from_static(b": keep-alive\n\n");

impl Events {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        let piece = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Over => return None,
            Stage::Piece(piece, rest) => {
                self.stage = rest.map_or(Stage::Over, Stage::Relaying);
                piece
            }
            Stage::Opening(mut opening) => tokio::select! {
                opened = &mut opening => match opened {
                    Ok(opened) => {
                        self.stage = opened.rest.map_or(Stage::Over, Stage::Relaying);
                        opened.first
                    }
                    Err(error) => self.failed(&error),
                },
                () = self.clock.sleep(self.keepalive) => {
                    self.stage = Stage::Opening(opening);
                    COMMENT
                }
                () = self.abort.cancelled() => self.failed(&Error::ShuttingDown),
            },
            Stage::Relaying(mut relay) => {
                let step = {
                    // A step that is dropped loses nothing: what it has read is the relay's.
                    let step = std::pin::pin!(relay.step());
                    tokio::select! {
                        step = step => Some(step),
                        () = self.clock.sleep(self.keepalive) => None,
                        () = self.abort.cancelled() => {
                            Some(Step::Broken {
                                output: Bytes::new(),
                                failure: Failure::of_shutdown(),
                            })
                        }
                    }
                };
                match step {
                    Some(Step::Output(piece)) => {
                        self.stage = Stage::Relaying(relay);
                        piece
                    }
                    Some(Step::Done { output, .. }) => output,
                    Some(Step::Broken { output, failure }) => {
                        [output, self.failed(&failure.error)].concat().into()
                    }
                    None => {
                        self.stage = Stage::Relaying(relay);
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
