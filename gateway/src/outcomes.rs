//! Reports what Google answered to the token-service: queued without waiting, sent at
//! least every second, never on a request's path.

use std::{sync::Arc, time::Duration};

use antigravity_proto::v1::{Outcome, OutcomeReport, ReportOutcomesRequest};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::{metrics::Metrics, tokens::Client};

/// Reports that wait at most; what comes beyond is dropped and counted.
const QUEUE: usize = 16_384;
/// Reports in one call, as the contract limits it.
pub const BATCH: usize = 500;
/// Between two calls, when nothing is urgent.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// What takes a project out of the rotation is told after this: nobody else is to run
/// into it.
pub const AT_ONCE: Duration = Duration::from_millis(20);
/// After being asked to end, for so long.
const LAST_CALL: Duration = Duration::from_secs(5);

/// Where reports are handed in.
#[derive(Clone, Debug)]
pub struct Outcomes {
    queue: mpsc::Sender<OutcomeReport>,
    urgent: Arc<Notify>,
    metrics: Metrics,
}

/// The other end of the queue, for [`run`].
#[derive(Debug)]
pub struct Reports {
    queue: mpsc::Receiver<OutcomeReport>,
    urgent: Arc<Notify>,
    metrics: Metrics,
}

impl Outcomes {
    /// The queue, and its other end for [`run`].
    #[must_use]
    pub fn new(metrics: Metrics) -> (Self, Reports) {
        let (queue, reports) = mpsc::channel(QUEUE);
        let urgent = Arc::<Notify>::default();
        let reports = Reports {
            queue: reports,
            urgent: Arc::clone(&urgent),
            metrics: metrics.clone(),
        };
        let outcomes = Self {
            queue,
            urgent,
            metrics,
        };
        (outcomes, reports)
    }

    /// Hands a report in. Never waits.
    pub fn report(&self, report: OutcomeReport) {
        let outcome = report.outcome();
        self.metrics.attempt(outcome);
        let is_urgent = matches!(
            outcome,
            Outcome::RateLimited
                | Outcome::QuotaExhausted
                | Outcome::ValidationRequired
                | Outcome::Suspended
                | Outcome::PermissionDenied
        );
        if self.queue.try_send(report).is_ok() {
            if is_urgent {
                self.urgent.notify_one();
            }
        } else {
            let dropped = self.metrics.outcome_dropped();
            if dropped.is_power_of_two() {
                tracing::warn!(
                    dropped,
                    "reports of outcomes are dropped: their queue is full"
                );
            }
        }
    }
}

/// Sends reports until `ended`, and then what is left.
pub async fn run(client: Client, reports: Reports, ended: CancellationToken) {
    let Reports {
        queue: mut reports,
        urgent,
        metrics,
    } = reports;
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let collect = async {
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                if reports.recv_many(&mut batch, room).await == 0 {
                    // Nobody is left to report; the end comes soon.
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            () = collect => {}
            () = tokio::time::sleep(INTERVAL) => {}
            () = urgent.notified() => tokio::time::sleep(AT_ONCE).await,
            () = ended.cancelled() => break,
        }
        while batch.len() < BATCH
            && let Ok(report) = reports.try_recv()
        {
            batch.push(report);
        }
        metrics.outcomes_queued(batch.len() + reports.len());
        if !batch.is_empty() && !send(&client, &mut batch, &metrics).await {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = ended.cancelled() => break,
            }
        }
    }
    let last = async {
        loop {
            while batch.len() < BATCH
                && let Ok(report) = reports.try_recv()
            {
                batch.push(report);
            }
            if batch.is_empty() {
                return;
            }
            if !send(&client, &mut batch, &metrics).await {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    };
    if tokio::time::timeout(LAST_CALL, last).await.is_err() {
        let reports = batch.len() + reports.len();
        tracing::warn!(
            reports,
            "the token-service did not take the last reports of outcomes: the ledger lacks as many \
             requests"
        );
    }
}

/// Sends each report of a batch that was refused as a whole, so that only those that are at
/// fault are lost.
async fn send_singly(client: &Client, batch: &mut Vec<OutcomeReport>, metrics: &Metrics) -> bool {
    while let Some(report) = batch.pop() {
        let mut single = vec![report];
        if !Box::pin(send(client, &mut single, metrics)).await {
            batch.append(&mut single);
            return false;
        }
    }
    true
}

/// Whether the batch was taken; it is kept when it was not.
async fn send(client: &Client, batch: &mut Vec<OutcomeReport>, metrics: &Metrics) -> bool {
    let mut request = ReportOutcomesRequest {
        reports: std::mem::take(batch),
        ..Default::default()
    };
    let answer = client.report(&mut request).await;
    *batch = request.reports;
    match answer {
        Ok(()) => {
            batch.clear();
            true
        }
        Err(status) if status.code() == Code::InvalidArgument && batch.len() > 1 => {
            send_singly(client, batch, metrics).await
        }
        Err(status) if status.code() == Code::InvalidArgument => {
            // It will not be taken the next time either.
            tracing::error!(
                said = status.message(),
                "the token-service refuses a report"
            );
            metrics.outcome_dropped();
            batch.clear();
            true
        }
        Err(status) => {
            tracing::debug!(code = %status.code(), "reports of outcomes wait");
            false
        }
    }
}
