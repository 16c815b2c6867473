//! Spans that wait for the collector: a bounded queue, and the one task that empties it. Whoever
//! ends a span never waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    collector::{Collector, Refusal},
    otlp::trace::v1::Span,
};

/// Spans that wait at most; what comes beyond is dropped and counted.
const WAITING: usize = 4096;
/// Spans in one message.
const BATCH: usize = 512;
/// How long spans gather.
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector may take for one message.
const PATIENCE: Duration = Duration::from_secs(10);
/// A message that was not taken is sent again after this, then after twice as long.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(16);
/// How often a message is sent until it is given up.
const TRIES: u32 = 6;
/// How long the last spans may take when the process ends.
const LAST: Duration = Duration::from_secs(2);
/// Losses are told so often.
const TELL: Duration = Duration::from_secs(60);

/// Where spans are put.
#[derive(Debug)]
pub(crate) struct Queue {
    spans: mpsc::Sender<Span>,
    dropped: AtomicU64,
    /// All that has not got to the collector.
    lost: Arc<AtomicU64>,
}

/// The other end, for [`Exporting::run`](Exporting::run).
#[derive(Debug)]
pub(crate) struct Exporting {
    spans: mpsc::Receiver<Span>,
    collector: Collector,
    losses: Losses,
}

/// What did not get to the collector, and when that was told last.
#[derive(Debug, Default)]
struct Losses {
    /// Since it was told.
    lost: u64,
    in_all: Arc<AtomicU64>,
    told: Option<Instant>,
    why: String,
    /// Whether the collector took the last message.
    away: bool,
}

impl Queue {
    pub(crate) fn new(collector: Collector) -> (Self, Exporting) {
        let (sender, spans) = mpsc::channel(WAITING);
        let queue = Self {
            spans: sender,
            dropped: AtomicU64::new(0),
            lost: Arc::default(),
        };
        let exporting = Exporting {
            spans,
            collector,
            losses: Losses {
                in_all: Arc::clone(&queue.lost),
                ..Losses::default()
            },
        };
        (queue, exporting)
    }

    pub(crate) fn put(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many spans have not got to the collector, since the start.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed) + self.dropped.load(Ordering::Relaxed)
    }

    fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

impl Exporting {
    /// Sends spans until `ended`, and then, for a short time, what is left.
    pub(crate) async fn run(mut self, queue: Arc<crate::Tracer>, ended: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        while !ended.is_cancelled() {
            tokio::select! {
                () = self.gather(&mut batch) => {}
                () = ended.cancelled() => break,
            }
            let mut tries = 0;
            while !batch.is_empty() {
                tokio::select! {
                    () = self.send(&mut batch, tries) => {}
                    () = ended.cancelled() => break,
                }
                tries += 1;
                let pause = (PAUSE * 2_u32.pow(tries.min(8) - 1)).min(LONGEST_PAUSE);
                self.losses.add(
                    queue.queue.take_dropped(),
                    "too many wait for the collector",
                );
                self.losses.tell(&self.collector, false);
                if !batch.is_empty() {
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = ended.cancelled() => break,
                    }
                }
            }
        }
        let last = async {
            loop {
                while batch.len() < BATCH
                    && let Ok(span) = self.spans.try_recv()
                {
                    batch.push(span);
                }
                if batch.is_empty() {
                    return;
                }
                self.send(&mut batch, TRIES).await;
            }
        };
        let in_time = tokio::time::timeout(LAST, last).await.is_ok();
        if !in_time {
            let left = batch.len() + self.spans.len();
            self.losses.add(
                left as u64,
                "the collector did not take the last spans in time",
            );
        }
        self.losses.add(
            queue.queue.take_dropped(),
            "too many wait for the collector",
        );
        self.losses.tell(&self.collector, true);
    }

    /// Waits for spans, and a little for more of them.
    async fn gather(&mut self, batch: &mut Vec<Span>) {
        if self.spans.recv_many(batch, BATCH).await == 0 {
            // Nobody is left to put any; the end comes soon.
            std::future::pending::<()>().await;
        }
        let more = async {
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                if self.spans.recv_many(batch, room).await == 0 {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(GATHER, more).await;
    }

    /// Sends a batch, which is empty afterwards when it was taken or given up.
    async fn send(&mut self, batch: &mut Vec<Span>, tries: u32) {
        let count = batch.len() as u64;
        let sent = tokio::time::timeout(PATIENCE, self.collector.send(batch)).await;
        match sent {
            Ok(Ok(rejected)) => {
                batch.clear();
                self.losses.taken();
                if rejected > 0 {
                    self.losses.add(rejected, "the collector rejects them");
                }
            }
            Ok(Err(Refusal::Final(why))) => {
                batch.clear();
                self.losses.away = true;
                self.losses.add(count, &why);
            }
            Ok(Err(Refusal::Passing(why))) => self.not_now(batch, tries, &why),
            Err(_) => self.not_now(batch, tries, "it does not answer"),
        }
    }

    fn not_now(&mut self, batch: &mut Vec<Span>, tries: u32, why: &str) {
        self.losses.away = true;
        why.clone_into(&mut self.losses.why);
        if tries + 1 >= TRIES {
            let count = batch.len() as u64;
            batch.clear();
            self.losses.add(count, why);
        }
    }
}

impl Losses {
    fn add(&mut self, spans: u64, why: &str) {
        if spans > 0 {
            self.lost += spans;
            self.in_all.fetch_add(spans, Ordering::Relaxed);
            // What the collector says tells more than that the queue is full.
            if !self.away || self.why.is_empty() {
                why.clone_into(&mut self.why);
            }
        }
    }

    fn taken(&mut self) {
        if std::mem::take(&mut self.away) {
            self.why.clear();
            if self.told.is_some() {
                tracing::info!("the collector takes spans again");
            }
        }
    }

    fn tell(&mut self, collector: &Collector, last: bool) {
        let due = self.told.is_none_or(|at| at.elapsed() >= TELL);
        if self.lost == 0 && !(self.away && self.told.is_none()) || !(due || last) {
            return;
        }
        tracing::warn!(
            collector = collector.endpoint(),
            lost = std::mem::take(&mut self.lost),
            why = self.why,
            "spans do not get to the collector (OTEL_EXPORTER_OTLP_ENDPOINT); requests are served \
             all the same"
        );
        self.told = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use antigravity_runtime::config::Environment;
    use parking_lot::Mutex;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{Kind, Settings, Traces};

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is lost to a collector that takes connections and says nothing.
    #[tokio::test]
    async fn a_full_queue_makes_nobody_wait_and_what_is_lost_is_told_once() {
        let log = Log::default();
        let writer = log.clone();
        let lines = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        let _lines = tracing::subscriber::set_default(lines);
        let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = hanging.local_addr().unwrap();
        let environment = Environment::of([
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}")),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "authorization=planted".to_owned(),
            ),
        ]);
        let settings = Settings::from_environment(&environment).unwrap();
        let traces = Traces::start(settings.as_ref(), "test").unwrap();
        let began = Instant::now();
        for _ in 0..WAITING + 1000 {
            drop(traces.begin(Kind::Internal, || "x".into(), None));
        }
        assert!(began.elapsed() < Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let began = Instant::now();
        traces.end().await;
        assert!(began.elapsed() < LAST + Duration::from_millis(500));
        let log = String::from_utf8(log.0.lock().clone()).unwrap();
        assert_eq!(
            log.matches("do not get to the collector").count(),
            1,
            "{log}"
        );
        assert!(log.contains(&format!("lost={}", WAITING + 1000)), "{log}");
        assert!(!log.contains("planted"), "{log}");
        assert_eq!(traces.lost(), WAITING as u64 + 1000);
    }
}
