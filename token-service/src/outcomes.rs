//! What gateways report: each report counts once, and changes the project that it is
//! about.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use jiff::Timestamp;

use crate::{
    pool::Pool,
    project::{Answer, Denial, ProjectId},
};

/// Reports that are remembered, to count a repeated one once. Gateways repeat within
/// seconds.
const REMEMBERED: usize = 131_072;

/// A report, as far as it concerns the pool.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) outcome_id: String,
    pub(crate) project: String,
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

/// The ids of the latest reports, as hashes of 128 bits: a hundred thousand ids would take
/// more memory than everything else. Nobody who does not know the keys can make two alike.
#[derive(Debug, Default)]
pub(crate) struct SeenOutcomes {
    keys: [RandomState; 2],
    ids: HashSet<u128>,
    order: VecDeque<u128>,
}

impl SeenOutcomes {
    /// Remembers an id; `false` when it is remembered already.
    fn remember(&mut self, id: &str) -> bool {
        let [high, low] = self.keys.each_ref().map(|key| u128::from(key.hash_one(id)));
        let id = high << 64 | low;
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
                if !state.seen.remember(&report.outcome_id) {
                    counted.repeated += 1;
                    continue;
                }
                counted.counted += 1;
                if let Some(turn) = report.turn {
                    state.rotation.settle(turn);
                }
                if let Some(id) = state.apply(&report, now) {
                    changed.insert(id);
                }
            }
            changed
        };
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
        counted
    }

    /// Stores what is known of a project; what cannot be stored now is tried again by
    /// [`Pool::keep_states`]. The caller holds `writes`.
    pub(crate) async fn keep_state(&self, id: &ProjectId) {
        let project = {
            let mut state = self.state();
            let Some(member) = state.projects.get(id) else {
                state.unkept.remove(id);
                return;
            };
            member.record.project.clone()
        };
        let stored = self.store.commit_state(&project).await;
        let mut state = self.state();
        match stored {
            Ok(()) => {
                state.unkept.remove(id);
            }
            Err(error) => {
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
        assert!(seen.remember("a"));
        assert!(!seen.remember("a"));
        for number in 0..REMEMBERED {
            assert!(seen.remember(&number.to_string()));
        }
        assert!(seen.remember("a"), "forgotten by now");
        assert_eq!(seen.ids.len(), REMEMBERED);
        assert_eq!(seen.order.len(), REMEMBERED);
    }
}
