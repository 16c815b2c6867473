//! What a client asks and its answer on its way: the request runs until the last of it is handed over, and a stream
//! of HTTP/2 whose client opens no window ends.

use std::{
    cell::Cell,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, rt::Executor};

use super::{
    seats::{Running, Seat},
    socket::Stall,
};

/// What of a body is handed over at once over HTTP/2, where the next piece is asked for only
/// when the client has opened a window for this one: so it shows that the client reads.
const PIECE: usize = 16 * 1024;

thread_local! {
    /// What the body did in the present poll of its stream; `None`: it was not asked.
    static BODY: Cell<Option<Asked>> = const { Cell::new(None) };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// It handed something over, which a client has to make room for.
    Handed,
    /// It has nothing to hand over yet.
    Waits,
}

/// The body of a request. While somebody holds it, the request runs, answered or not: its
/// connection cannot turn to the next one.
#[derive(Debug)]
pub struct RequestBody {
    body: Incoming,
    running: Option<Running>,
}

/// More of a body than this is not read for the sake of the next request on its connection.
const REST: u64 = 64 * 1024;

impl RequestBody {
    pub(super) fn new(body: Incoming, seat: &Arc<Seat>) -> Self {
        let running = (!body.is_end_stream()).then(|| seat.run());
        Self { body, running }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(running) = &self.running
            && !self.body.is_end_stream()
            && self.body.size_hint().upper().is_none_or(|rest| rest > REST)
        {
            running.leaves_unread();
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Answer<B> {
    body: B,
    /// What a piece has left over.
    rest: Bytes,
    in_pieces: bool,
    _running: Running,
}

impl<B> Answer<B> {
    pub(super) fn new(body: B, in_pieces: bool, running: Running) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            in_pieces,
            _running: running,
        }
    }

    fn piece(&mut self, mut data: Bytes) -> Frame<Bytes> {
        if self.in_pieces && data.len() > PIECE {
            self.rest = data.split_off(PIECE);
        }
        Frame::data(data)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if !self.rest.is_empty() {
            BODY.set(Some(Asked::Handed));
            let rest = std::mem::take(&mut self.rest);
            return Poll::Ready(Some(Ok(self.piece(rest))));
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if !self.in_pieces {
            return frame;
        }
        BODY.set(Some(match &frame {
            Poll::Pending => Asked::Waits,
            Poll::Ready(_) => Asked::Handed,
        }));
        Poll::Ready(match ready!(frame) {
            Some(Ok(frame)) => Some(Ok(match frame.into_data() {
                Ok(data) => self.piece(data),
                Err(trailers) => trailers,
            })),
            end => end,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() {
            return self.body.size_hint();
        }
        // Asked for only before the first piece by those who write lengths.
        SizeHint::default()
    }
}

/// Runs the streams of HTTP/2 as tasks; one whose client makes no room for what its answer
/// has handed over ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams {
    pub(super) write_timeout: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let stalls = Stall::new(self.write_timeout);
        tokio::spawn(async move {
            let mut stream = std::pin::pin!(stream);
            let (mut stalls, mut handed) = (stalls, false);
            std::future::poll_fn(|context| {
                BODY.set(None);
                if stream.as_mut().poll(context).is_ready() {
                    return Poll::Ready(());
                }
                match BODY.take() {
                    Some(Asked::Waits) => {
                        handed = false;
                        stalls.progresses();
                    }
                    Some(Asked::Handed) => {
                        handed = true;
                        stalls.progresses();
                    }
                    None => {}
                }
                if !handed {
                    return Poll::Pending;
                }
                ready!(stalls.poll_too_long(context));
                tracing::debug!("a client opens no window for its answer; its stream ends");
                Poll::Ready(())
            })
            .await;
        });
    }
}
