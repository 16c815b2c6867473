//! What gateways report: each report counts once, and changes the project that it is
//! about.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::{
    ledger::Used,
    metrics::Unstored,
    pool::Pool,
    project::{Answer, Denial, ProjectId},
    store::Restated,
};

/// Reports that are remembered, to count a repeated one once. Gateways repeat within
/// seconds.
pub(crate) const REMEMBERED: usize = 131_072;

/// Between two looks for what the ledger may forget.
const PRUNE_INTERVAL: Duration = Duration::from_secs(600);

/// A report, as far as it concerns the pool and the ledger.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) id: u128,
    pub(crate) project: String,
    pub(crate) api_key_name: String,
    pub(crate) used: Used,
    pub(crate) turn: Option<u64>,
    pub(crate) answer: Answer,
    pub(crate) model: String,
    pub(crate) started_at: Option<Timestamp>,
    /// No answer came of it, and the client had not gone away.
    pub(crate) failed: bool,
}

/// How many reports of a batch were counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) counted: u32,
    pub(crate) repeated: u32,
}

/// The ids of the latest reports, so that one that is repeated counts once.
#[derive(Debug, Default)]
pub(crate) struct SeenOutcomes {
    ids: HashSet<u128>,
    order: VecDeque<u128>,
}

impl SeenOutcomes {
    /// Remembers an id; `false` when it is remembered already.
    pub(crate) fn remember(&mut self, id: u128) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

/// The id of a report in 128 bits, the same in every process: a UUID's own, of anything else
/// the beginning of its SHA-256.
pub(crate) fn outcome_number(id: &str) -> u128 {
    uuid::Uuid::try_parse(id).map_or_else(
        |_| {
            let digest: [u8; 32] = Sha256::digest(id).into();
            let mut half = [0; 16];
            half.copy_from_slice(&digest[..16]);
            u128::from_be_bytes(half)
        },
        |id| id.as_u128(),
    )
}

impl Pool {
    /// Takes a batch of reports in, and keeps what they change before it returns.
    pub(crate) async fn report(self: &Arc<Self>, reports: Vec<Report>) -> Counted {
        let mut counted = Counted::default();
        let changed = {
            let now = self.now();
            if reports
                .iter()
                .any(|report| report.answer.is_about_project())
            {
                self.restated.notify_one();
            }
            let mut changed = HashSet::new();
            let mut state = self.state();
            for report in reports {
                if !state.seen.remember(report.id) {
                    counted.repeated += 1;
                    continue;
                }
                counted.counted += 1;
                if let Some(turn) = report.turn {
                    state.rotation.settle(turn);
                }
                let names = (
                    report.api_key_name.as_str(),
                    report.project.as_str(),
                    report.model.as_str(),
                );
                state.ledger.enter(report.id, names, report.used, now);
                if let Some(id) = state.apply(&report, now) {
                    changed.insert(id);
                }
            }
            changed
        };
        self.metrics.reported(counted.counted, counted.repeated);
        if !changed.is_empty() {
            let this = Arc::clone(self);
            let kept = self.tasks.spawn(async move {
                let _writes = this.writes.lock().await;
                for project in changed {
                    this.keep_state(&project).await;
                }
            });
            // It is kept also when this call is cancelled.
            let _ = kept.await;
        }
        // A repeated report too is acknowledged only when it is stored: the commit that it is in
        // may be on its way.
        if counted.counted + counted.repeated > 0 {
            self.keep_usage().await;
        }
        counted
    }

    /// Stores what the ledger holds. When this returns, all that had come before is in the
    /// store, or will be tried again every second.
    pub(crate) async fn keep_usage(self: &Arc<Self>) {
        let this = Arc::clone(self);
        // To its end, whether or not its caller waits for it.
        let kept = self.tasks.spawn(async move { this.store_usage().await });
        let _ = kept.await;
    }

    pub(crate) async fn store_usage(&self) {
        let _writes = self.ledger_writes.lock().await;
        let entries = self.state().ledger.take();
        if entries.is_empty() {
            return;
        }
        let stored = self.store.commit_usage(&entries, self.now()).await;
        match &stored {
            Ok(()) => entries
                .sums()
                .values()
                .for_each(|used| self.metrics.kept(used)),
            Err(_) => self.metrics.not_stored(Unstored::Ledger),
        }
        let mut state = self.state();
        let ledger = &mut state.ledger;
        match stored {
            Ok(()) if std::mem::take(&mut ledger.is_behind) => {
                tracing::info!("the ledger is in the store again");
            }
            Ok(()) => {}
            Err(error) => {
                ledger.put_back(entries);
                if !std::mem::replace(&mut ledger.is_behind, true) {
                    tracing::error!(
                        %error,
                        "cannot store who used what; it is kept in memory and tried again every \
                         second"
                    );
                }
            }
        }
    }

    /// Forgets what is older than the ledger is to go back, now and then.
    pub(crate) async fn prune_usage(self: Arc<Self>, ended: CancellationToken) {
        loop {
            // Before what may take its time, so that a clock which goes on meanwhile counts.
            let began = self.clock.instant();
            if let Err(error) = self
                .store
                .prune_usage(self.usage_retention, self.now())
                .await
            {
                tracing::warn!(%error, "the ledger's oldest hours cannot be removed");
            }
            let took = self.clock.instant().saturating_duration_since(began);
            tokio::select! {
                () = self.clock.sleep(PRUNE_INTERVAL.saturating_sub(took)) => {}
                () = ended.cancelled() => return,
            }
        }
    }

    /// Stores what is known of a project; what cannot be stored now is tried again by
    /// [`Pool::keep_states`]. The caller holds `writes`.
    pub(crate) async fn keep_state(&self, id: &ProjectId) {
        let (project, generation, restated) = {
            let mut state = self.state();
            let restated = state.pending.remove(id).unwrap_or_default();
            let Some(member) = state.projects.get(id) else {
                state.unkept.remove(id);
                return;
            };
            let record = &member.record;
            (record.project.clone(), record.generation, restated)
        };
        let stored = self
            .store
            .commit_state(&project, generation, restated, self.now())
            .await;
        let mut state = self.state();
        match stored {
            Ok(()) => {
                state.unkept.remove(id);
            }
            Err(error) => {
                self.metrics.not_stored(Unstored::States);
                state.restate(id, restated);
                if state.unkept.is_empty() {
                    tracing::error!(
                        project = &**id,
                        %error,
                        "cannot store the state of a project; it is tried again every second"
                    );
                }
                state.unkept.insert(Arc::clone(id));
            }
        }
    }

    /// Stores what could not be stored when it came.
    pub(crate) async fn keep_states(&self) {
        let unkept: Vec<_> = self.state().unkept.iter().cloned().collect();
        if unkept.is_empty() {
            return;
        }
        let _writes = self.writes.lock().await;
        for project in &unkept {
            self.keep_state(project).await;
            if self.state().unkept.contains(project) {
                // The cause has not gone away: the others would fail as well.
                return;
            }
        }
        tracing::info!(
            projects = unkept.len(),
            "stored the states of projects that could not be stored before"
        );
    }
}

impl crate::pool::State {
    /// The project, when the report changed it.
    fn apply(&mut self, report: &Report, now: Timestamp) -> Option<ProjectId> {
        let (id, _) = self.projects.get_key_value(report.project.as_str())?;
        let id = Arc::clone(id);
        let member = self.projects.get_mut(&id)?;
        let about_another = report
            .started_at
            .zip(member.credential_at)
            .is_some_and(|(started, set)| started < set);
        if about_another {
            return None;
        }
        member.last_hour.count(report.failed, now);
        match &report.answer {
            Answer::Denied { reason, url } => {
                let denial = Denial::next(member.denial.as_ref(), reason.clone(), url.clone(), now);
                member.denial = Some(denial);
                self.rotation.drop_returned(&id);
            }
            // What was sent before the denial says nothing about it.
            Answer::Ok => {
                let mended = |denial: &Denial| report.started_at.is_none_or(|at| at > denial.at);
                member.denial.take_if(|denial| mended(denial));
            }
            _ => {}
        }
        let project = &mut member.record.project;
        if !project.apply(&report.answer, &report.model, now) {
            return None;
        }
        tracing::debug!(
            project = &*id,
            model = report.model,
            answer = report.answer.name(),
            "a gateway's report changed a project"
        );
        let restated = Restated {
            status: report.answer.is_about_status(),
            ..Restated::default()
        };
        self.restate(&id, restated);
        self.rotation.drop_returned(&id);
        self.refit(&id);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_a_bounded_number() {
        let mut seen = SeenOutcomes::default();
        let first = outcome_number("a");
        assert!(seen.remember(first));
        assert!(!seen.remember(first));
        for number in 0..REMEMBERED {
            assert!(seen.remember(outcome_number(&number.to_string())));
        }
        assert!(seen.remember(first), "forgotten by now");
        assert_eq!(seen.ids.len(), REMEMBERED);
        assert_eq!(seen.order.len(), REMEMBERED);
    }
}
