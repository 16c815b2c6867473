//! Tells of each change of a project's state once, whatever brought it about: a report,
//! a refresh, an operator, or the end of a rest.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    pool::{Member, Pool},
    project::ProjectId,
};

/// The longest sleep, in case the clock is set.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// What changes at once is looked at once.
const PAUSE: Duration = Duration::from_millis(50);

/// A project as it was last told of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    state: &'static str,
    reason: String,
    /// Until when, by model group.
    rests: BTreeMap<String, Timestamp>,
}

impl Told {
    fn of(member: &Member, now: Timestamp) -> Self {
        let project = &member.record.project;
        let rests = project.cooldowns.iter();
        Self {
            state: member.state(now).name(),
            reason: member.why(now).0,
            rests: rests
                .filter(|(_, cooldown)| cooldown.until > now)
                .map(|(group, cooldown)| (group.clone(), cooldown.until))
                .collect(),
        }
    }
}

/// Writes a line for each change until `stop`.
pub(crate) async fn tell(pool: Arc<Pool>, stop: CancellationToken) {
    let mut told = present(&pool);
    loop {
        let sleep = until_next(&pool);
        tokio::select! {
            () = pool.restated.notified() => {}
            () = pool.clock.sleep(sleep) => {}
            () = stop.cancelled() => return,
        }
        let now = present(&pool);
        for (id, after) in &now {
            match told.get(id) {
                Some(before) => changes(id, before, after),
                None => tracing::info!(project = &**id, state = after.state, "a project is here"),
            }
        }
        for id in told.keys().filter(|id| !now.contains_key(*id)) {
            tracing::info!(project = &**id, "a project is gone");
        }
        told = now;
        tokio::time::sleep(PAUSE).await;
    }
}

fn present(pool: &Pool) -> HashMap<ProjectId, Told> {
    let now = pool.now();
    let state = pool.state();
    let members = state.projects.iter();
    members
        .map(|(id, member)| (Arc::clone(id), Told::of(member, now)))
        .collect()
}

/// How long until a rest ends.
fn until_next(pool: &Pool) -> Duration {
    let now = pool.now();
    let state = pool.state();
    let ends = state.projects.values().flat_map(|member| {
        let denied = member.denial.as_ref().map(|denial| denial.until);
        let cooldowns = member.record.project.cooldowns.values();
        cooldowns.map(|cooldown| cooldown.until).chain(denied)
    });
    ends.filter(|end| *end > now)
        .filter_map(|end| Duration::try_from(end.duration_since(now)).ok())
        .min()
        .map_or(LONGEST_SLEEP, |left| {
            // Just after it, as the time is kept to the millisecond.
            left.saturating_add(Duration::from_millis(1))
                .min(LONGEST_SLEEP)
        })
}

fn changes(id: &ProjectId, before: &Told, after: &Told) {
    let project = &**id;
    if before.state != after.state {
        tracing::info!(
            project,
            from = before.state,
            to = after.state,
            reason = after.reason,
            "a project changed its state"
        );
    }
    for (model_group, until) in &after.rests {
        if before.rests.get(model_group) != Some(until) {
            tracing::info!(project, model_group, %until, "a project rests");
        }
    }
    for model_group in before.rests.keys() {
        if !after.rests.contains_key(model_group) {
            tracing::info!(project, model_group, "a project has rested");
        }
    }
}
