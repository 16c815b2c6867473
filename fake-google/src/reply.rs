//! Response bodies: whole documents, and streams that are played step by step with pauses, stalls and cuts.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::connection::Connection;
use crate::fake::Watch;
use crate::json::Json;
use crate::named::Rendered;
use crate::status::Status;

/// The body of every answer. Its error resets an HTTP/2 stream and closes an HTTP/1.1 connection.
pub(crate) type Body = UnsyncBoxBody<Bytes, h2::Error>;

pub(crate) const JSON: &str = "application/json; charset=UTF-8";
pub(crate) const EVENT_STREAM: &str = "text/event-stream";
const HTML: &str = "text/html; charset=UTF-8";

/// Time for what was written to leave before a connection is cut.
const FLUSH: Duration = Duration::from_millis(10);

/// One step of a streamed body.
#[derive(Debug)]
pub(crate) enum Step {
    Send(Bytes),
    Wait(Duration),
    /// Nothing more, for as long as the client likes.
    Stall,
    Cut(Cut),
}

/// How an answer is broken off.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    Reset,
    Close,
    Stream,
}

/// A whole body.
pub(crate) fn whole(
    status: u16,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    response(
        status,
        content_type,
        Full::new(body.into())
            .map_err(|never| match never {})
            .boxed_unsync(),
    )
}

/// A JSON document over several lines.
pub(crate) fn json(status: u16, document: &Json) -> Response<Body> {
    whole(status, JSON, document.to_pretty() + "\n")
}

/// An error of Google's.
pub(crate) fn error(status: &Status) -> Response<Body> {
    let mut response = json(status.code, &status.to_json());
    if status.code == 401 {
        let challenge = HeaderValue::from_static(
            r#"Bearer realm="https://accounts.google.com/", error="invalid_token""#,
        );
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// An error as a script names it.
pub(crate) fn rendered(rendered: &Rendered) -> Response<Body> {
    match rendered {
        Rendered::Status(status) => error(status),
        Rendered::Document(status, document) => json(*status, document),
        Rendered::Html(status, page) => whole(*status, HTML, *page),
        Rendered::Empty(status) => whole(*status, JSON, Bytes::new()),
    }
}

/// A page for people.
pub(crate) fn html(status: u16, page: &'static str) -> Response<Body> {
    whole(status, HTML, page)
}

/// A page for people that is made for them.
pub(crate) fn page(status: u16, page: String) -> Response<Body> {
    whole(status, HTML, page)
}

/// 302
pub(crate) fn redirect(location: &str) -> Response<Body> {
    let mut response = whole(302, HTML, Bytes::new());
    // A location that cannot be a header was not one that a browser could follow either.
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// A body that is played.
pub(crate) fn steps(
    content_type: &'static str,
    steps: Vec<Step>,
    connection: Arc<Connection>,
) -> Response<Body> {
    let played = stream::unfold(
        (VecDeque::from(steps), connection),
        |(mut steps, connection)| async move {
            loop {
                match steps.pop_front()? {
                    Step::Send(bytes) => {
                        return Some((Ok(Frame::data(bytes)), (steps, connection)));
                    }
                    Step::Wait(time) => tokio::time::sleep(time).await,
                    Step::Stall => std::future::pending().await,
                    Step::Cut(cut) => {
                        tokio::time::sleep(FLUSH).await;
                        match cut {
                            Cut::Reset => connection.reset(),
                            Cut::Close => connection.close(),
                            Cut::Stream => {
                                let reset = h2::Error::from(h2::Reason::INTERNAL_ERROR);
                                return Some((Err(reset), (steps, connection)));
                            }
                        }
                        return std::future::pending().await;
                    }
                }
            }
        },
    );
    stream(content_type, BodyExt::boxed_unsync(StreamBody::new(played)))
}

/// A body of pieces.
pub(crate) fn stream(content_type: &'static str, body: Body) -> Response<Body> {
    response(200, content_type, body)
}

fn response(status: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A body under watch: notes when all of it has been taken.
pub(crate) struct Watched {
    body: Body,
    watch: Option<Watch>,
}

impl Watched {
    pub(crate) fn new(body: Body, watch: Watch) -> Self {
        Self {
            body,
            watch: Some(watch),
        }
    }

    /// A body that is nobody's business.
    pub(crate) fn unwatched(body: Body) -> Self {
        Self { body, watch: None }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let over = matches!(polled, Poll::Ready(None | Some(Err(_)))) || self.body.is_end_stream();
        if over && let Some(watch) = &mut self.watch {
            watch.over();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
