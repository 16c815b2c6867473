//! The time before the database is there: calls are answered that it is not, probes too, and the
//! database is looked for.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use antigravity_runtime::{
    listener::{self, Limits, RequestBody},
    shutdown::Shutdown,
    tls,
};
use http::{Request, Response};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tonic::{Status, body::Body};
use tower::Service;

use crate::{Error, pool::Pool, store::StoreError};

/// A database that is away is looked for again after this, then after twice as long.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));
/// Who calls while the database is being opened, or ends the service, waits no longer.
const ANSWERED: Duration = Duration::from_secs(5);

/// What there is once the database is there, and until then why it is not.
#[derive(Default)]
pub(crate) struct Door {
    pool: OnceLock<Arc<Pool>>,
    why: Mutex<String>,
}

impl Door {
    pub(crate) fn open(&self, pool: &Arc<Pool>) {
        // Once, by `serve`.
        let _ = self.pool.set(Arc::clone(pool));
    }

    /// Who waits is told why.
    pub(crate) fn pool(&self) -> Result<&Arc<Pool>, String> {
        self.pool.get().ok_or_else(|| self.why.lock().clone())
    }
}

/// Tries to `open` until that does not fail by what goes by itself. `None`: `shutdown` came first.
///
/// # Errors
/// What does not pass.
pub(crate) async fn until_open<T, F>(
    mut open: impl FnMut() -> F,
    door: &Arc<Door>,
    listener: &TcpListener,
    acceptor: Option<Arc<tls::Acceptor>>,
    shutdown: &Shutdown,
) -> Result<Option<T>, Error>
where
    F: Future<Output = Result<T, StoreError>>,
{
    "it is being opened".clone_into(&mut door.why.lock());
    let mut first = Box::pin(open());
    let pending = tokio::select! {
        opened = &mut first => match opened {
            Ok(opened) => return Ok(Some(opened)),
            Err(error) if !error.is_passing() => return Err(error.into()),
            Err(error) => {
                tell_away(door, &error);
                None
            }
        },
        () = tokio::time::sleep(ANSWERED) => {
            tracing::warn!("the database takes long to open, as when another service migrates it");
            Some(first)
        }
    };
    // The same socket: no caller finds the port closed meanwhile.
    let answering = answering(listener, acceptor, Arc::clone(door), shutdown).await?;
    let looking = Box::pin(look_until_open(pending, open, door));
    let opened = tokio::select! {
        opened = looking => opened.map(Some),
        () = shutdown.drain.cancelled() => Ok(None),
    };
    answering.end().await;
    if matches!(opened, Ok(Some(_))) {
        tracing::info!("the database is there");
    }
    opened
}

/// Waits for the first try to end, which may have failed already, and tries again and again.
async fn look_until_open<T, F>(
    first: Option<Pin<Box<F>>>,
    mut open: impl FnMut() -> F,
    door: &Door,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, StoreError>>,
{
    if let Some(first) = first {
        match first.await {
            Ok(opened) => return Ok(opened),
            Err(error) if !error.is_passing() => return Err(error.into()),
            Err(error) => tell_away(door, &error),
        }
    }
    let (mut pause, longest) = LOOK_AGAIN;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
        match open().await {
            Ok(opened) => return Ok(opened),
            Err(error) if !error.is_passing() => return Err(error.into()),
            Err(error) => {
                tracing::debug!(%error, "the database is still away");
                *door.why.lock() = error.to_string();
            }
        }
    }
}

fn tell_away(door: &Door, error: &StoreError) {
    tracing::error!(%error, "cannot start without the database; it is looked for");
    *door.why.lock() = error.to_string();
}

struct Answering {
    task: tokio::task::JoinHandle<()>,
    shutdown: Shutdown,
}

impl Answering {
    async fn end(self) {
        self.shutdown.drain.cancel();
        self.shutdown.abort.cancel();
        // It has nothing to lose.
        let _ = self.task.await;
    }
}

async fn answering(
    listener: &TcpListener,
    acceptor: Option<Arc<tls::Acceptor>>,
    door: Arc<Door>,
    shutdown: &Shutdown,
) -> Result<Answering, Error> {
    use std::os::fd::AsFd as _;
    let socket = listener.as_fd().try_clone_to_owned();
    let socket = socket.map_err(Error::Listener)?;
    let listener = TcpListener::from_std(socket.into()).map_err(Error::Listener)?;
    let ends = Shutdown {
        drain: shutdown.drain.child_token(),
        abort: shutdown.abort.child_token(),
    };
    let its = ends.clone();
    let task = tokio::spawn(async move {
        let limits = Limits {
            drain_grace: Duration::ZERO,
            ..Limits::default()
        };
        if let Err(error) = listener::serve(listener, acceptor, Away(door), limits, its).await {
            tracing::error!(%error, "cannot answer that the database is away");
        }
    });
    Ok(Answering {
        task,
        shutdown: ends,
    })
}

/// Answers every call that the database is away. Without details, so that gateways go on to the
/// next replica.
#[derive(Clone)]
struct Away(Arc<Door>);

impl Service<Request<RequestBody>> for Away {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<RequestBody>) -> Self::Future {
        let why = self.0.why.lock().clone();
        let status = Status::unavailable(format!("the service waits for its database: {why}"));
        ready(Ok(status.into_http()))
    }
}
