//! An answer on its way to the client: of one call, or of several that run side by side,
//! one for each choice, where Google does not give several candidates at once.

use std::{future::Future, pin::Pin};

use bytes::Bytes;
use futures_util::future::{select_all, try_join_all};
use translate::{
    chat::reply::{self, Settings},
    gemini::usage::Usage,
};

use super::{
    open::Opened,
    relay::{Relay, Step},
};
use crate::error::Error;

/// A call that is being answered.
pub type Opening = Pin<Box<dyn Future<Output = Result<Opened, Error>> + Send>>;

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
    /// Waits for the next piece. May be dropped and begun anew.
    pub async fn step(&mut self) -> Told {
        match self {
            Self::One(relay) => match relay.step().await {
                Step::Output(piece) => Told::Piece(piece),
                Step::Done { output, .. } => Told::Last(output),
                Step::Broken { output, failure } => Told::Broken(output, failure.error),
            },
            Self::Several(several) => several.step().await,
        }
    }
}

/// The choices of a stream, each of a call of its own.
#[derive(Debug)]
pub struct Several {
    settings: Settings,
    running: Vec<Part>,
    usage: Usage,
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
    /// The choices that `openings` will have.
    #[must_use]
    pub fn new(settings: Settings, openings: Vec<Opening>) -> Self {
        Self {
            settings,
            running: openings.into_iter().map(Part::Opening).collect(),
            usage: Usage::default(),
        }
    }

    /// Waits until there is something of any choice.
    ///
    /// # Errors
    /// What went wrong with one of them before that.
    pub async fn begin(mut self) -> Result<Begun, Error> {
        match self.step().await {
            Told::Piece(first) => Ok(Begun {
                first,
                rest: Some(Running::Several(self)),
            }),
            Told::Last(first) => Ok(Begun { first, rest: None }),
            Told::Broken(_, error) => Err(error),
        }
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
            Ok((piece, Some(usage))) => {
                self.usage += usage;
                drop(self.running.swap_remove(at));
                if !self.running.is_empty() {
                    return Told::Piece(piece);
                }
                let end = reply::assemble(&self.settings, &[], Some(self.usage));
                Told::Last([&piece[..], &end].concat().into())
            }
            Err((piece, error)) => Told::Broken(piece, error),
        }
    }
}

impl Part {
    /// The next piece, and with the last one the counts.
    async fn step(&mut self) -> Result<(Bytes, Option<Usage>), (Bytes, Error)> {
        match self {
            Self::Opening(opening) => match opening.await {
                Ok(Opened { first, rest, usage }) => match rest {
                    Some(relay) => {
                        *self = Self::Relaying(relay);
                        Ok((first, None))
                    }
                    None => Ok((first, Some(usage.unwrap_or_default()))),
                },
                Err(error) => Err((Bytes::new(), error)),
            },
            Self::Relaying(relay) => match relay.step().await {
                Step::Output(piece) => Ok((piece, None)),
                Step::Done { output, usage, .. } => Ok((output, Some(usage.unwrap_or_default()))),
                Step::Broken { output, failure } => Err((output, failure.error)),
            },
        }
    }
}

/// The whole answer whose choices `openings` will have.
///
/// # Errors
/// What went wrong with one of them: half of the choices are no answer.
pub async fn gathered(settings: &Settings, openings: Vec<Opening>) -> Result<Bytes, Error> {
    let mut usage = Usage::default();
    let mut choices = Vec::with_capacity(openings.len());
    for opened in try_join_all(openings).await? {
        usage += opened.usage.unwrap_or_default();
        choices.push(opened.first);
    }
    Ok(reply::assemble(settings, &choices, Some(usage)).into())
}
