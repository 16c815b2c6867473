//! Answers that are made once and then only sent, so that load tests measure who is in front of this and not this.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::answer::{Ask, Origin, Piece, Rendering, speak};
use crate::catalogue::{Model, Upstream};
use crate::config::Config;
use crate::endpoint::{Endpoint, Route};
use crate::framing;
use crate::json::{Json, object};
use crate::reply::{self, Body, Watched};

/// The model that every prepared answer says it is from.
const MODEL: &str = "gemini-2.5-flash";
/// The answers of each upstream.
#[derive(Debug)]
pub(crate) struct Prepared {
    first_event_delay: Duration,
    event_delay: Duration,
    text_chunks: usize,
    made: Mutex<HashMap<Upstream, Answers>>,
}

/// One answer, in the forms that it can be asked for in. Cloning shares the bytes.
#[derive(Clone, Debug)]
struct Answers {
    document: Bytes,
    events: Vec<Bytes>,
    array: Vec<Bytes>,
}

impl Prepared {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            first_event_delay: config.first_event_delay,
            event_delay: config.event_delay,
            text_chunks: config.text_chunks.max(1),
            made: Mutex::default(),
        }
    }

    /// Reads the request to its end and answers it, whatever it says.
    pub(crate) async fn answer(
        &self,
        route: &Route,
        request: Request<Incoming>,
    ) -> Response<Watched> {
        let sse = request
            .uri()
            .query()
            .is_some_and(|query| query.contains("alt=sse"));
        let mut body = request.into_body();
        // An answer before the end would let clients off that a real server makes send all of it.
        while !body.is_end_stream() {
            match body.frame().await {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            }
        }
        let answers = self.answers(route.upstream.unwrap_or(Upstream::CodeAssist));
        let response = match (route.endpoint, sse) {
            (Endpoint::StreamGenerateContent, true) => {
                self.stream(reply::EVENT_STREAM, answers.events)
            }
            (Endpoint::StreamGenerateContent, false) => self.stream(reply::JSON, answers.array),
            _ => {
                if !self.first_event_delay.is_zero() {
                    tokio::time::sleep(self.first_event_delay).await;
                }
                reply::whole(200, reply::JSON, answers.document)
            }
        };
        response.map(Watched::unwatched)
    }

    fn answers(&self, upstream: Upstream) -> Answers {
        let mut made = self.made.lock();
        made.entry(upstream)
            .or_insert_with(|| Answers::make(upstream, self.text_chunks))
            .clone()
    }

    /// Event `n` goes out at a time that does not depend on how late the one before was: delays do not add up.
    fn stream(&self, content_type: &'static str, events: Vec<Bytes>) -> Response<Body> {
        let first = Instant::now() + self.first_event_delay;
        let delay = self.event_delay;
        let timed = stream::unfold(
            events.into_iter().zip(0_u32..),
            move |mut left| async move {
                let (event, nth) = left.next()?;
                let due = first + delay * nth;
                if due > Instant::now() {
                    tokio::time::sleep_until(due).await;
                }
                Some((Ok(Frame::data(event)), left))
            },
        );
        reply::stream(content_type, BodyExt::boxed_unsync(StreamBody::new(timed)))
    }
}

impl Answers {
    fn make(upstream: Upstream, text_chunks: usize) -> Self {
        let model = Model::unlisted(MODEL);
        let request = object! {
            "contents": [object! { "role": "user", "parts": [object! { "text": "Events or sockets?" }] }],
        };
        let ask = Ask::new(&request);
        let mut candidate = speak(&ask, &model, upstream, 0);
        candidate.pieces = sentences(text_chunks).map(Piece::Text).collect();
        let origin = Origin {
            upstream,
            response_id: "PreparedAnswer000000000".to_owned(),
            create_time: "2026-01-01T00:00:00.000000Z".to_owned(),
        };
        let mut rendering = Rendering::new(&ask, &model, origin, vec![candidate]);
        let envelope = |response: Json| match upstream {
            Upstream::CodeAssist => {
                object! { "response": response, "traceId": "0123456789abcdef", "metadata": object! {} }
            }
            Upstream::Gemini | Upstream::Vertex => response,
        };
        // Each sentence is an event of its own already.
        let events: Vec<Json> = rendering.events(1).into_iter().map(envelope).collect();
        let mut array: Vec<Bytes> = events
            .iter()
            .enumerate()
            .map(|(nth, event)| framing::array_item(event, nth))
            .collect();
        array.push(Bytes::from_static(b"\n]"));
        let said: String = sentences(text_chunks).collect();
        for candidate in &mut rendering.candidates {
            candidate.says(&said);
        }
        Self {
            document: Bytes::from(envelope(rendering.unary()).to_pretty() + "\n"),
            events: events.iter().map(framing::frame).collect(),
            array,
        }
    }
}

/// About twenty tokens for each event, numbered, so that readers can tell that none is missing.
fn sentences(events: usize) -> impl Iterator<Item = String> {
    (1..=events).map(move |nth| {
        format!("Line {nth} of {events} travels one way, and whoever reads it needs no library for that. ")
    })
}
