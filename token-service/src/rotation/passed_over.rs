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
    groups: HashMap<String, Resting>,
    count: usize,
}

#[derive(Debug, Default)]
struct Resting {
    until: HashMap<ProjectId, Timestamp>,
    queue: BTreeSet<(Timestamp, ProjectId)>,
}

impl PassedOver {
    /// How many there are, once for each group.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Notes that nobody has to ask about a project before `until`; `None`: who is to know when it
    /// comes back.
    pub(super) fn put(&mut self, group: &str, project: &ProjectId, until: Option<Timestamp>) {
        let resting = match self.groups.get_mut(group) {
            Some(resting) => resting,
            None => self.groups.entry(group.to_owned()).or_default(),
        };
        let until = until.unwrap_or(Timestamp::MIN);
        match resting.until.insert(Arc::clone(project), until) {
            Some(before) => {
                resting.queue.remove(&(before, Arc::clone(project)));
            }
            None => self.count += 1,
        }
        resting.queue.insert((until, Arc::clone(project)));
    }

    pub(super) fn remove(&mut self, group: &str, project: &ProjectId) {
        if let Some(resting) = self.groups.get_mut(group)
            && let Some(until) = resting.until.remove(project)
        {
            resting.queue.remove(&(until, Arc::clone(project)));
            self.count -= 1;
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
