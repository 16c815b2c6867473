//! An answer on its way to the client: of one call, or of several that run side by side, one
//! for each choice that Google does not give as a candidate of the first.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::{select_all, try_join_all};
use translate::chat::reply::{self, Settings, Share};

use super::{
    open::Opened,
    relay::{Relay, Step},
};
use crate::error::Error;

/// A call that is being answered.
pub type Opening = Pin<Box<dyn Future<Output = Result<Opened, Error>> + Send>>;

/// Asks for the choice of an index alone.
pub type Ask = Arc<dyn Fn(u32) -> Opening + Send + Sync>;

/// An answer that is being told.
#[derive(Debug)]
pub enum Running {
    /// Of one call.
    One(Box<Relay>),
    /// Of several.
    Several(Several),
}

/// What an answer comes to.
#[derive(Debug)]
pub enum Told {
    /// A piece for the client.
    Piece(Bytes),
    /// The last piece: the answer is whole.
    Last(Bytes),
    /// What had come before the answer broke, and how it did.
    Broken(Bytes, Error),
}

/// An answer that has begun.
#[derive(Debug)]
pub struct Begun {
    /// What the client is told first; the whole answer when `rest` is `None`.
    pub first: Bytes,
    /// Where the rest comes from.
    pub rest: Option<Running>,
}

impl From<Opened> for Begun {
    fn from(opened: Opened) -> Self {
        Self {
            first: opened.first,
            rest: opened.rest.map(Running::One),
        }
    }
}

impl Running {
    /// The next piece.
    pub fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Told> {
        match self {
            Self::One(relay) => relay.poll_step(context).map(|step| match step {
                Step::Output(piece) => Told::Piece(piece),
                Step::Done { output, .. } => Told::Last(output),
                Step::Broken {
                    output, failure, ..
                } => Told::Broken(output, failure.error),
            }),
            // What is dropped on the way loses nothing.
            Self::Several(several) => pin!(several.step()).poll(context),
        }
    }
}

/// What is wanted of several choices, and how one is asked for.
#[derive(Clone)]
pub struct Wanted {
    /// What the whole is told with.
    pub settings: Settings,
    /// How many there are.
    pub choices: u32,
    /// Asks for one.
    pub ask: Ask,
}

impl std::fmt::Debug for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wanted")
            .field("choices", &self.choices)
            .finish_non_exhaustive()
    }
}

impl Wanted {
    /// Goes on with a call that was asked for all of them, or, when there is none, asks for
    /// each.
    ///
    /// # Errors
    /// What went wrong with one of them before there was something to tell: half of the
    /// choices are no answer.
    pub async fn begin(self, all: Option<Opened>, stream: bool) -> Result<Begun, Error> {
        if stream {
            return match all {
                Some(opened) => Several::going_on(self, opened),
                None => Several::one_by_one(self).begin().await,
            };
        }
        let mut shares: Vec<Share> = all.and_then(|opened| opened.share).into_iter().collect();
        let missing: Vec<u32> = match shares.first() {
            Some(share) => share.missing(self.choices).collect(),
            None => (0..self.choices).collect(),
        };
        let opened = try_join_all(missing.into_iter().map(|index| (self.ask)(index))).await?;
        shares.extend(opened.into_iter().filter_map(|opened| opened.share));
        let first = reply::assemble(&self.settings, shares).into();
        Ok(Begun { first, rest: None })
    }
}

/// The choices of a stream, of several calls.
#[derive(Debug)]
pub struct Several {
    wanted: Wanted,
    /// The call that was asked for all of them goes on; at its end it is known what lacks.
    all: bool,
    running: Vec<Part>,
    shares: Vec<Share>,
}

enum Part {
    Opening(Opening),
    Relaying(Box<Relay>),
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Opening(_) => "Opening",
            Self::Relaying(_) => "Relaying",
        })
    }
}

impl Several {
    fn one_by_one(wanted: Wanted) -> Self {
        let openings = (0..wanted.choices).map(|index| Part::Opening((wanted.ask)(index)));
        Self {
            all: false,
            running: openings.collect(),
            shares: Vec::new(),
            wanted,
        }
    }

    fn going_on(wanted: Wanted, opened: Opened) -> Result<Begun, Error> {
        let mut several = Self {
            wanted,
            all: true,
            running: opened.rest.into_iter().map(Part::Relaying).collect(),
            shares: Vec::new(),
        };
        let first = match opened.share {
            Some(share) => several.ended(&opened.first, share),
            None => Told::Piece(opened.first),
        };
        several.begun(first)
    }

    /// Waits until there is something of any choice.
    async fn begin(mut self) -> Result<Begun, Error> {
        let first = self.step().await;
        self.begun(first)
    }

    fn begun(self, first: Told) -> Result<Begun, Error> {
        let (first, rest) = match first {
            Told::Piece(first) => (first, Some(Running::Several(self))),
            Told::Last(first) => (first, None),
            Told::Broken(_, error) => return Err(error),
        };
        Ok(Begun { first, rest })
    }

    /// Waits for the next piece of any choice. What is dropped on the way loses nothing:
    /// what a call has read is its own.
    async fn step(&mut self) -> Told {
        let steps = self.running.iter_mut().map(|part| Box::pin(part.step()));
        let (piece, at, _) = select_all(steps).await;
        // Each in turn is asked first.
        let at = (at + self.running.len() - 1) % self.running.len();
        self.running.rotate_left(1);
        match piece {
            Ok((piece, None)) => Told::Piece(piece),
            Ok((piece, Some(share))) => {
                drop(self.running.swap_remove(at));
                self.ended(&piece, share)
            }
            Err((piece, error)) => Told::Broken(piece, error),
        }
    }

    /// A call ended with this piece.
    fn ended(&mut self, piece: &Bytes, share: Share) -> Told {
        if std::mem::take(&mut self.all) {
            let missing = share.missing(self.wanted.choices);
            let openings = missing.map(|index| Part::Opening((self.wanted.ask)(index)));
            self.running.extend(openings);
        }
        self.shares.push(share);
        if !self.running.is_empty() {
            return Told::Piece(piece.clone());
        }
        let shares = std::mem::take(&mut self.shares);
        let end = reply::assemble(&self.wanted.settings, shares);
        Told::Last([&piece[..], &end].concat().into())
    }
}

impl Part {
    /// The next piece, and with the last one what the call came to.
    async fn step(&mut self) -> Result<(Bytes, Option<Share>), (Bytes, Error)> {
        match self {
            Self::Opening(opening) => match opening.await {
                Ok(Opened { first, rest, share }) => {
                    if let Some(relay) = rest {
                        *self = Self::Relaying(relay);
                    }
                    Ok((first, share))
                }
                Err(error) => Err((Bytes::new(), error)),
            },
            Self::Relaying(relay) => match relay.step().await {
                Step::Output(piece) => Ok((piece, None)),
                Step::Done { output, share, .. } => Ok((output, Some(share))),
                Step::Broken {
                    output, failure, ..
                } => Err((output, failure.error)),
            },
        }
    }
}
