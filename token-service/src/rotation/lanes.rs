//! Who waits, in the order of their places.
//!
//! Projects of one upstream that were passed over for the same quota groups share a lane: a call
//! for one of those groups walks over none of them, however many rest. So do those that are back
//! for the same groups: a call for one of them begins there.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use crate::project::{ProjectId, Upstream};

/// Since when a project waits: the number of its last turn, and among those that
/// never had one the order of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) dealt: u64,
    pub(super) position: i64,
}

/// The quota groups for which a project is not dealt when its place says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Groups {
    /// It rested when it was its turn: others were dealt in its stead.
    pub(super) resting: BTreeSet<Arc<str>>,
    /// It rests no more, and is dealt before all who did not.
    pub(super) back: BTreeSet<Arc<str>>,
}

impl Groups {
    pub(super) fn len(&self) -> usize {
        self.resting.len() + self.back.len()
    }
}

/// By [`Upstream::index`]. Two projects can have one place: when one was added to a server of the
/// database that was given up since, the next one gets its position.
#[derive(Debug, Default)]
pub(super) struct Lanes([HashMap<Groups, BTreeSet<(Place, ProjectId)>>; 3]);

impl Lanes {
    pub(super) fn insert(
        &mut self,
        upstream: Upstream,
        groups: &Groups,
        place: Place,
        project: ProjectId,
    ) {
        let lanes = &mut self.0[upstream.index()];
        match lanes.get_mut(groups) {
            Some(lane) => lane.insert((place, project)),
            None => lanes
                .entry(groups.clone())
                .or_default()
                .insert((place, project)),
        };
    }

    pub(super) fn remove(
        &mut self,
        upstream: Upstream,
        groups: &Groups,
        place: Place,
        project: ProjectId,
    ) {
        let lanes = &mut self.0[upstream.index()];
        if let Some(lane) = lanes.get_mut(groups) {
            lane.remove(&(place, project));
            if lane.is_empty() {
                lanes.remove(groups);
            }
        }
    }

    /// Everybody of an upstream, those first who have waited longest.
    pub(super) fn all(&self, upstream: Upstream) -> Vec<(Place, ProjectId)> {
        let lanes = self.0[upstream.index()].values().flatten();
        let mut all: Vec<_> = lanes.cloned().collect();
        all.sort_unstable();
        all
    }

    /// Up to `limit` eligible projects of `upstreams`, each once, in the order of their places, out
    /// of the lanes that are `wanted`.
    pub(super) fn longest_waiting(
        &self,
        limit: usize,
        upstreams: &[Upstream],
        wanted: impl Fn(Upstream, &Groups) -> bool,
        mut eligible: impl FnMut(&ProjectId) -> bool,
    ) -> Vec<ProjectId> {
        let mut lanes: Vec<_> = Upstream::ALL
            .into_iter()
            .filter(|upstream| upstreams.contains(upstream))
            .flat_map(|upstream| {
                let wanted = &wanted;
                self.0[upstream.index()]
                    .iter()
                    .filter(move |(groups, _)| wanted(upstream, groups))
                    .map(|(_, lane)| lane.iter().peekable())
            })
            .collect();
        let mut found = Vec::new();
        while found.len() < limit {
            let oldest = lanes
                .iter_mut()
                .filter_map(|lane| lane.peek().copied())
                .min();
            let Some(oldest) = oldest else { break };
            let next = lanes.iter_mut().find_map(|lane| lane.next_if_eq(&oldest));
            if let Some((_, project)) = next
                && eligible(project)
            {
                found.push(Arc::clone(project));
            }
        }
        found
    }
}
