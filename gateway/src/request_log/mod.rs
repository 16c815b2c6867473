//! The request log, for operators who ask for it: a line of JSON for each request, with or
//! without what was asked and answered. It is written by a thread of its own; a request never
//! waits for it, and is served whatever becomes of its line.

mod entry;
mod files;

use std::{
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

pub(crate) use self::entry::{Bodies, Entry};
use self::files::Files;
use crate::request_line::RequestLine;

/// Entries that wait at most.
const WAITING: usize = 4096;
/// Bytes of bodies that wait at most. What comes beyond is dropped and counted.
const WAITING_BYTES: usize = 64 << 20;
/// How long the last entries may take when the process ends.
const LAST: Duration = Duration::from_secs(2);
/// Losses are told so often.
const TELL: Duration = Duration::from_secs(60);
/// A folder that could not be written to is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// What an operator sets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of the log's files.
    pub folder: PathBuf,
    /// Whether what was asked and answered is kept.
    pub bodies: bool,
    /// A file has at most so many bytes.
    pub file_bytes: u64,
    /// All files together have at most so many.
    pub budget: u64,
}

/// Where entries are put. Clones share it; off by default.
#[derive(Clone, Debug, Default)]
pub struct RequestLog(Option<Arc<Writing>>);

#[derive(Debug)]
struct Writing {
    bodies: bool,
    entries: SyncSender<Message>,
    waiting: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Entry(Box<Entry>),
    /// The process ends; whoever is told waits for it.
    End(SyncSender<()>),
}

impl RequestLog {
    /// Writes where `settings` say.
    #[must_use]
    pub fn start(settings: Option<&Settings>) -> Self {
        let Some(settings) = settings else {
            return Self(None);
        };
        let (entries, messages) = mpsc::sync_channel(WAITING);
        let writing = Writing {
            bodies: settings.bodies,
            entries,
            waiting: Arc::default(),
            dropped: Arc::default(),
            lost: Arc::default(),
        };
        let thread = Thread {
            files: Files::new(settings),
            messages,
            waiting: Arc::clone(&writing.waiting),
            dropped: Arc::clone(&writing.dropped),
            lost: Arc::clone(&writing.lost),
            failing: None,
            told: None,
        };
        tracing::info!(
            folder = %settings.folder.display(),
            bodies = settings.bodies,
            "requests are logged in files"
        );
        let spawned = std::thread::Builder::new()
            .name("request-log".to_owned())
            .spawn(|| thread.run());
        match spawned {
            Ok(_) => Self(Some(Arc::new(writing))),
            Err(error) => {
                tracing::error!(%error, "there is no thread for the request log; it is off");
                Self(None)
            }
        }
    }

    /// Whether requests are logged.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether what was asked and answered is kept.
    #[must_use]
    pub fn keeps_bodies(&self) -> bool {
        self.0.as_ref().is_some_and(|writing| writing.bodies)
    }

    /// Takes an entry. Never waits.
    pub(crate) fn put(&self, entry: Entry) {
        let Some(writing) = &self.0 else { return };
        let bytes = entry.bytes();
        let waiting = writing.waiting.fetch_add(bytes, Ordering::Relaxed);
        let sent = if waiting + bytes > WAITING_BYTES {
            Err(TrySendError::Full(()))
        } else {
            let message = Message::Entry(Box::new(entry));
            writing
                .entries
                .try_send(message)
                .map_err(|error| match error {
                    TrySendError::Full(_) => TrySendError::Full(()),
                    TrySendError::Disconnected(_) => TrySendError::Disconnected(()),
                })
        };
        if sent.is_err() {
            writing.waiting.fetch_sub(bytes, Ordering::Relaxed);
            writing.dropped.fetch_add(1, Ordering::Relaxed);
            writing.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many entries are in no file, since the start.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let lost = self.0.as_ref().map(|writing| &writing.lost);
        lost.map_or(0, |lost| lost.load(Ordering::Relaxed))
    }

    /// Waits until what was put is written, for two seconds at most.
    pub async fn end(&self) {
        let Some(writing) = self.0.clone() else {
            return;
        };
        let wait = move || {
            let (done, ended) = mpsc::sync_channel(1);
            let begun = Instant::now();
            while writing
                .entries
                .try_send(Message::End(done.clone()))
                .is_err()
            {
                if begun.elapsed() > LAST {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = ended.recv_timeout(LAST.saturating_sub(begun.elapsed()));
        };
        // An error says that the process ends faster than it should.
        let _ = tokio::task::spawn_blocking(wait).await;
    }
}

struct Thread {
    files: Files,
    messages: Receiver<Message>,
    waiting: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
    /// Entries that are in no file, for whatever reason.
    lost: Arc<AtomicU64>,
    /// Since when it cannot be written, and how many entries that has cost.
    failing: Option<(Instant, u64)>,
    /// When it was told that too many wait.
    told: Option<Instant>,
}

impl Thread {
    fn run(mut self) {
        // Told at the start, and not with the first request.
        if let Err(error) = self.files.ready() {
            self.failed(&error, 0);
        }
        loop {
            match self.messages.recv_timeout(TELL) {
                Ok(Message::Entry(entry)) => {
                    self.waiting.fetch_sub(entry.bytes(), Ordering::Relaxed);
                    self.write(&entry);
                }
                Ok(Message::End(done)) => {
                    self.tell(true);
                    let _ = done.send(());
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.tell(false);
        }
    }

    fn write(&mut self, entry: &Entry) {
        if let Some((at, lost)) = &mut self.failing
            && at.elapsed() < AGAIN
        {
            *lost += 1;
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut line = Vec::with_capacity(1024 + entry.bytes());
        entry.write(&mut line, true);
        if line.len() as u64 > self.files.most() {
            line.clear();
            entry.write(&mut line, false);
        }
        if line.len() as u64 > self.files.most() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        match self.files.append(&line) {
            Ok(()) => {
                if let Some((_, lost)) = self.failing.take() {
                    tracing::info!(lost, "the request log is written again");
                }
            }
            Err(error) => self.failed(&error, 1),
        }
    }

    fn failed(&mut self, error: &std::io::Error, cost: u64) {
        let lost = match self.failing {
            Some((_, lost)) => lost,
            None => {
                tracing::error!(
                    %error,
                    folder = %self.files.folder().display(),
                    "the request log cannot be written (REQUEST_LOG); requests are served all the \
                     same, and what is lost is told when it can be"
                );
                0
            }
        };
        self.lost.fetch_add(cost, Ordering::Relaxed);
        self.failing = Some((Instant::now(), lost + cost));
    }

    /// Tells what was dropped, once a minute.
    fn tell(&mut self, last: bool) {
        let due = last || self.told.is_none_or(|at| at.elapsed() >= TELL);
        if due {
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                tracing::warn!(
                    dropped,
                    "the request log is not written as fast as requests end"
                );
                self.told = Some(Instant::now());
            }
        }
        if last && let Some((_, lost @ 1..)) = self.failing {
            tracing::warn!(lost, "the request log could not be written to the end");
        }
    }
}

/// An answer on its way to the client, whose pieces are kept for the log.
pub(crate) struct Kept {
    answer: Body,
    line: RequestLine,
}

impl Kept {
    pub(crate) fn new(answer: Body, line: RequestLine) -> Self {
        Self { answer, line }
    }
}

impl http_body::Body for Kept {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.answer).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(piece) = frame.data_ref()
        {
            self.line.told(piece);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.answer.size_hint()
    }
}
