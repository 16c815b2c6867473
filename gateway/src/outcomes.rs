//! Reports what Google answered to the token-service: queued without waiting, sent at
//! least every second, never on a request's path.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use antigravity_proto::v1::{OutcomeReport, ReportOutcomesRequest};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::tokens::Client;

/// Reports that wait at most; what comes beyond is dropped and counted.
const QUEUE: usize = 16_384;
/// Reports in one call, as the contract limits it.
const BATCH: usize = 500;
const INTERVAL: Duration = Duration::from_secs(1);
/// After being asked to end, for so long.
const LAST_CALL: Duration = Duration::from_secs(5);

/// Where reports are handed in.
#[derive(Clone, Debug)]
pub struct Outcomes {
    queue: mpsc::Sender<OutcomeReport>,
    dropped: Arc<AtomicU64>,
}

impl Outcomes {
    /// The queue, and its other end for [`run`].
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<OutcomeReport>) {
        let (queue, reports) = mpsc::channel(QUEUE);
        let outcomes = Self {
            queue,
            dropped: Arc::default(),
        };
        (outcomes, reports)
    }

    /// Hands a report in. Never waits.
    pub fn report(&self, report: OutcomeReport) {
        if self.queue.try_send(report).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
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
pub async fn run(
    client: Client,
    mut reports: mpsc::Receiver<OutcomeReport>,
    ended: CancellationToken,
) {
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
            () = ended.cancelled() => break,
        }
        if !batch.is_empty() && !send(&client, &mut batch).await {
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
            if !send(&client, &mut batch).await {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    };
    if tokio::time::timeout(LAST_CALL, last).await.is_err() {
        tracing::warn!("the token-service did not take the last reports of outcomes");
    }
}

/// Whether the batch was taken; it is kept when it was not.
async fn send(client: &Client, batch: &mut Vec<OutcomeReport>) -> bool {
    let request = ReportOutcomesRequest {
        reports: batch.clone(),
        ..Default::default()
    };
    match client.report(request).await {
        Ok(()) => {
            batch.clear();
            true
        }
        Err(status) if status.code() == Code::InvalidArgument => {
            // It will not be taken the next time either.
            tracing::error!(
                message = status.message(),
                "the token-service refuses reports"
            );
            batch.clear();
            true
        }
        Err(status) => {
            tracing::debug!(code = %status.code(), "reports of outcomes wait");
            false
        }
    }
}
