//! Who rests when it is its turn, and comes back: it is dealt first then, one turn, however many
//! come back at the same time.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Fit, Groups, Rotation};
use crate::project::{ProjectId, Upstream};

/// Quota groups that are remembered for each project on average. Clients name models as they like.
pub(super) const REMEMBERED: usize = 16;

impl Rotation {
    /// A rest may have ended before its time: the next draw asks about the project.
    pub fn reconsider(&mut self, project: &ProjectId) {
        if let Some(member) = self.members.get(project) {
            for group in &member.groups.resting {
                self.passed_over.put(group, project, None);
            }
        }
    }

    /// Asks about those whose rest may have ended. Whoever is back is asked about again only when
    /// it is its turn.
    pub(super) fn ask_who_is_back(
        &mut self,
        upstreams: &[Upstream],
        groups: [&str; 3],
        now: Timestamp,
        mut fit: impl FnMut(&ProjectId) -> Fit,
    ) {
        let mut back = Vec::new();
        let mut resting = Vec::new();
        for (at, group) in groups.iter().enumerate() {
            if groups[..at].contains(group) {
                continue;
            }
            for project in self.passed_over.due(group, now) {
                let is_of_group = self.upstream(project).is_some_and(|upstream| {
                    upstreams.contains(&upstream) && groups[upstream.index()] == *group
                });
                if is_of_group {
                    match fit(project) {
                        Fit::Fits => back.push((*group, Arc::clone(project))),
                        Fit::Rests { until: Some(until) } => {
                            resting.push((*group, Arc::clone(project), until));
                        }
                        Fit::Rests { until: None } | Fit::Unwanted => {}
                    }
                }
            }
        }
        for (group, project, until) in resting {
            self.passed_over.postpone(group, &project, until);
        }
        if !back.is_empty() {
            self.newest_round = self.last_turn + 1;
            self.returned.clear();
        }
        for (group, project) in back {
            self.passed_over.remove(group, &project);
            self.regroup(&project, |groups| {
                if let Some(name) = groups.resting.take(group) {
                    groups.back.insert(name);
                }
            });
        }
    }

    /// Up to `limit` of those that are back and fit, who has waited longest first.
    pub(super) fn first_of_those_back(
        &mut self,
        limit: usize,
        upstreams: &[Upstream],
        groups: [&str; 3],
        mut fit: impl FnMut(&ProjectId) -> Fit,
    ) -> Vec<ProjectId> {
        let mut resting = Vec::new();
        let is_back =
            |upstream: Upstream, lane: &Groups| lane.back.contains(groups[upstream.index()]);
        let eligible = |project: &ProjectId| match fit(project) {
            Fit::Fits => true,
            Fit::Rests { until: Some(until) } => {
                resting.push((Arc::clone(project), Some(until)));
                false
            }
            // Asked about with every draw, here as well as there.
            Fit::Rests { until: None } | Fit::Unwanted => false,
        };
        let first = self
            .lanes
            .longest_waiting(limit, upstreams, is_back, eligible);
        self.pass_over(resting, groups);
        first
    }

    pub(super) fn pass_over(
        &mut self,
        resting: Vec<(ProjectId, Option<Timestamp>)>,
        groups: [&str; 3],
    ) {
        if self.remembered > REMEMBERED * self.members.len() {
            self.forget_groups();
        }
        let mut names = groups.map(|_| None);
        for (project, until) in resting {
            let Some(upstream) = self.upstream(&project) else {
                continue;
            };
            let group = groups[upstream.index()];
            let name = names[upstream.index()].get_or_insert_with(|| Arc::from(group));
            self.regroup(&project, |groups| {
                groups.back.remove(group);
                groups.resting.insert(Arc::clone(name));
            });
            self.passed_over.put(name, &project, until);
        }
    }

    /// One that was back has its turn, and then waits as everybody does.
    pub(super) fn forgive(&mut self, project: &ProjectId, groups: [&str; 3]) {
        if let Some(upstream) = self.upstream(project) {
            self.regroup(project, |its| {
                its.back.remove(groups[upstream.index()]);
            });
        }
    }

    fn forget_groups(&mut self) {
        let projects: Vec<ProjectId> = self.members.keys().map(Arc::clone).collect();
        for project in projects {
            self.regroup(&project, |groups| *groups = Groups::default());
        }
        self.passed_over = super::PassedOver::default();
    }

    /// Changes a project's groups, and with them its lane.
    fn regroup(&mut self, project: &ProjectId, change: impl FnOnce(&mut Groups)) {
        let Some(member) = self.members.get_mut(project) else {
            return;
        };
        let Some(upstream) = member.upstream else {
            return;
        };
        let (lanes, place) = (&mut self.lanes, member.place);
        lanes.remove(upstream, &member.groups, place, Arc::clone(project));
        self.remembered -= member.groups.len();
        change(&mut member.groups);
        self.remembered += member.groups.len();
        lanes.insert(upstream, &member.groups, place, Arc::clone(project));
    }
}
