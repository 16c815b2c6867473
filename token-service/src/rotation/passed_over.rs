//! Projects that rested when it was their turn, so that others were dealt in their stead: whom to
//! ask about again, and when.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use crate::project::ProjectId;

/// By quota group.
#[derive(Debug, Default)]
pub(super) struct PassedOver {
    groups: HashMap<Arc<str>, Resting>,
}

#[derive(Debug, Default)]
struct Resting {
    until: HashMap<ProjectId, Timestamp>,
    queue: BTreeSet<(Timestamp, ProjectId)>,
}

impl Resting {
    fn put(&mut self, project: &ProjectId, until: Timestamp) {
        if let Some(before) = self.until.insert(Arc::clone(project), until) {
            self.queue.remove(&(before, Arc::clone(project)));
        }
        self.queue.insert((until, Arc::clone(project)));
    }
}

impl PassedOver {
    /// Notes that nobody has to ask about a project before `until`; `None`: who is to know when it
    /// comes back.
    pub(super) fn put(&mut self, group: &Arc<str>, project: &ProjectId, until: Option<Timestamp>) {
        let resting = self.groups.entry(Arc::clone(group)).or_default();
        resting.put(project, until.unwrap_or(Timestamp::MIN));
    }

    /// A project that is there rests for longer.
    pub(super) fn postpone(&mut self, group: &str, project: &ProjectId, until: Timestamp) {
        if let Some(resting) = self.groups.get_mut(group)
            && resting.until.contains_key(project)
        {
            resting.put(project, until);
        }
    }

    pub(super) fn remove(&mut self, group: &str, project: &ProjectId) {
        if let Some(resting) = self.groups.get_mut(group)
            && let Some(until) = resting.until.remove(project)
        {
            resting.queue.remove(&(until, Arc::clone(project)));
            if resting.until.is_empty() {
                self.groups.remove(group);
            }
        }
    }

    /// Whom to ask about at `now`, those first that should be back for longest.
    pub(super) fn due(&self, group: &str, now: Timestamp) -> impl Iterator<Item = &ProjectId> {
        let queue = self.groups.get(group).map(|resting| resting.queue.iter());
        queue
            .into_iter()
            .flatten()
            .take_while(move |(until, _)| *until <= now)
            .map(|(_, project)| project)
    }
}
