//! Answers whose client has hung up. Their part at Google ends with them, unless an operator
//! wants to know what they cost: then they are read on, within bounds.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use antigravity_runtime::clock::Clock;
use tokio::{runtime::Handle, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::running::{Begun, Running, Told};
use crate::{error::Error, metrics::Metrics, request_line::RequestLine};

/// So many are read on at once; others are cut off.
const ANSWERS: usize = 64;
/// Of one answer so much is read, as it would have been told to the client.
const BYTES: usize = 16 << 20;

/// What can come of it.
const WHOLE: &str = "whole";
const BROKEN: &str = "broken";
const CUT_OFF: &str = "cut_off";

/// An answer that is still to begin.
pub type Beginning = Pin<Box<dyn Future<Output = Result<Begun, Error>> + Send>>;

/// Where answers go whose client has hung up.
#[derive(Clone, Debug)]
pub struct Drain(Option<Arc<Reading>>);

#[derive(Debug)]
struct Reading {
    within: Duration,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    ended: CancellationToken,
    /// Clients hang up wherever their answer is dropped.
    runtime: Handle,
    clock: Clock,
    metrics: Metrics,
}

/// What is left of an answer.
pub enum Rest {
    /// All of it.
    Beginning(Beginning),
    /// What comes after the first piece.
    Running(Running),
}

/// An answer that is waited for. Dropped before it has begun, its client has hung up.
pub struct Asking {
    /// `None`: it has begun.
    beginning: Option<Beginning>,
    drain: Drain,
    line: RequestLine,
}

impl Drain {
    /// Reads each answer on for so long; for no time at all: cuts them off. To be made
    /// within the runtime.
    #[must_use]
    pub fn new(within: Duration, clock: Clock, metrics: Metrics) -> Self {
        Self((!within.is_zero()).then(|| {
            Arc::new(Reading {
                within,
                places: Arc::new(Semaphore::new(ANSWERS)),
                tasks: TaskTracker::new(),
                ended: CancellationToken::new(),
                runtime: Handle::current(),
                clock,
                metrics,
            })
        }))
    }

    /// The client of this answer has hung up. What is not read on is dropped, which ends it
    /// at Google.
    pub fn read_on(&self, rest: Rest, line: &RequestLine) {
        line.cancelled();
        let Some(reading) = &self.0 else { return };
        let place = Arc::clone(&reading.places).try_acquire_owned().ok();
        let Some(place) = place.filter(|_| !reading.ended.is_cancelled()) else {
            return reading.metrics.drained("no_room");
        };
        let metrics = reading.metrics.clone();
        let (clock, within) = (reading.clock.clone(), reading.within);
        let ended = reading.ended.clone();
        let work = async move {
            let result = tokio::select! {
                result = rest.read() => result,
                () = clock.sleep(within) => CUT_OFF,
                () = ended.cancelled() => CUT_OFF,
            };
            metrics.drained(result);
            drop(place);
        };
        reading.tasks.spawn_on(work, &reading.runtime);
    }

    /// Cuts off what is still read on: nobody is left to wait for.
    pub async fn end(&self) {
        if let Some(reading) = &self.0 {
            reading.ended.cancel();
            reading.tasks.close();
            reading.tasks.wait().await;
        }
    }
}

impl Rest {
    /// What came of it, as it is counted.
    async fn read(self) -> &'static str {
        let mut running = match self {
            Self::Running(running) => running,
            Self::Beginning(beginning) => match beginning.await {
                Ok(Begun {
                    rest: Some(running),
                    ..
                }) => running,
                Ok(_) => return WHOLE,
                Err(_) => return BROKEN,
            },
        };
        let mut left = BYTES;
        loop {
            let piece = match poll_fn(|context| running.poll_step(context)).await {
                Told::Piece(piece) => piece,
                Told::Last(_) => return WHOLE,
                Told::Broken(..) => return BROKEN,
            };
            match left.checked_sub(piece.len()) {
                Some(rest) => left = rest,
                None => return CUT_OFF,
            }
        }
    }
}

impl Asking {
    /// Waits for this answer.
    #[must_use]
    pub fn new(beginning: Beginning, drain: Drain, line: RequestLine) -> Self {
        Self {
            beginning: Some(beginning),
            drain,
            line,
        }
    }
}

impl Future for Asking {
    type Output = Result<Begun, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(beginning) = &mut self.beginning else {
            return Poll::Pending;
        };
        let begun = ready!(beginning.as_mut().poll(context));
        self.beginning = None;
        Poll::Ready(begun)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(beginning) = self.beginning.take() {
            self.drain.read_on(Rest::Beginning(beginning), &self.line);
        }
    }
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking").finish_non_exhaustive()
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Beginning(_) => "Beginning",
            Self::Running(_) => "Running",
        })
    }
}
