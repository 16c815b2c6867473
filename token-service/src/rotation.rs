//! Who is next: least recently dealt first. In memory only; knows no tokens, no SQL
//! and no wire types.
//!
//! Several replicas over one pool have a rotation each, over all of its projects, and do
//! not talk about it: what as many round-robins deal differs by one for each of them. A
//! turn that comes back to another replica than it is of is adopted there, so that in sum
//! over the replicas every round still has one turn for everyone.

mod foreign;
mod lanes;
mod passed_over;
mod rests;
mod turn_id;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;

use self::{
    foreign::Adopted,
    lanes::{Groups, Lanes, Place},
    passed_over::PassedOver,
};
pub use self::{foreign::ForeignTurn, turn_id::TurnId};
use crate::project::{ProjectId, Upstream};

/// Turns that may still be returned. Older ones count as used: gateways return
/// theirs after seconds.
const OUTSTANDING_TURNS: usize = 65_536;
/// Returned turns that wait to be dealt again.
const RETURNED_TURNS: usize = 1024;

#[derive(Debug)]
struct Member {
    place: Place,
    /// `None` while it is out of the rotation; its place is kept.
    upstream: Option<Upstream>,
    /// Empty while it is out of the rotation.
    groups: Groups,
}

/// A turn that was dealt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dealt {
    /// Its number, which no other turn of this rotation has.
    pub turn: u64,
    /// Whose it is.
    pub project: ProjectId,
    /// The project's last turn before this one; `None` when a returned turn was dealt
    /// again, which moves no project.
    before: Option<u64>,
}

/// Whether a project can be dealt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It can be dealt now.
    Fits,
    /// This call does not want it.
    Unwanted,
    /// Nobody can have it for a while.
    Rests {
        /// Before then nobody has to be asked about it again, unless [`Rotation::reconsider`] says
        /// so. `None`: that is not known, and it is asked about with every draw.
        until: Option<Timestamp>,
    },
}

/// The order of all projects.
#[derive(Debug, Default)]
pub struct Rotation {
    members: HashMap<ProjectId, Member>,
    /// Those in the rotation.
    lanes: Lanes,
    last_turn: u64,
    outstanding: BTreeMap<u64, ProjectId>,
    returned: BTreeMap<u64, ProjectId>,
    adopted: Adopted,
    /// Those that rested when it was their turn.
    passed_over: PassedOver,
    /// How many groups the members have, all together.
    remembered: usize,
    /// The first turn since some of those were last found to be back. Turns of before were dealt
    /// in rounds without them: when they are returned, they are not dealt again.
    newest_round: u64,
    moved: HashSet<ProjectId>,
}

impl Rotation {
    /// Makes a project known, out of the rotation. `dealt` is the number of its last
    /// turn, 0 when it never had one.
    pub fn insert(&mut self, project: &ProjectId, position: i64, dealt: u64) {
        self.remove(project);
        self.last_turn = self.last_turn.max(dealt);
        self.members.insert(
            Arc::clone(project),
            Member {
                place: Place { dealt, position },
                upstream: None,
                groups: Groups::default(),
            },
        );
    }

    /// Numbers the turns to come after all of a rotation of before under the same name: what it
    /// dealt may still be returned, and is none of ours.
    pub fn number_after(&mut self, before: &Self) {
        self.last_turn = self.last_turn.max(before.last_turn);
    }

    /// Puts a known project into the rotation (or, with `None`, takes it out) at the
    /// place that it last had.
    pub fn set(&mut self, project: &ProjectId, upstream: Option<Upstream>) {
        let Some(member) = self.members.get_mut(project) else {
            return;
        };
        if member.upstream == upstream {
            return;
        }
        if let Some(old) = member.upstream {
            let groups = std::mem::take(&mut member.groups);
            self.lanes
                .remove(old, &groups, member.place, Arc::clone(project));
            self.remembered -= groups.len();
            for group in &groups.resting {
                self.passed_over.remove(group, project);
            }
        }
        member.upstream = upstream;
        match upstream {
            Some(new) => {
                let project = Arc::clone(project);
                self.lanes
                    .insert(new, &member.groups, member.place, project);
            }
            None => self.drop_returned(project),
        }
    }

    /// Forgets a project.
    pub fn remove(&mut self, project: &ProjectId) {
        self.set(project, None);
        self.moved.remove(project);
        self.members.remove(project);
    }

    /// Deals up to `count` turns among the projects of `upstreams` that fit: the preferred
    /// one first, then those that were passed over (one turn each), then returned turns,
    /// then those that have waited longest, again and again. Empty when nobody fits.
    ///
    /// `groups` are the quota groups of the model that the turns are for, by
    /// [`Upstream::index`].
    pub fn deal(
        &mut self,
        count: usize,
        upstreams: &[Upstream],
        groups: [&str; 3],
        prefer: Option<&str>,
        now: Timestamp,
        mut fit: impl FnMut(&ProjectId) -> Fit,
    ) -> Vec<Dealt> {
        let mut dealt = Vec::with_capacity(count);
        if count > 0
            && let Some(preferred) = prefer.and_then(|id| self.admitted(id, upstreams))
            && fit(&preferred) == Fit::Fits
        {
            dealt.push(self.take(preferred));
        }
        if dealt.len() < count {
            self.ask_who_is_back(upstreams, groups, now, &mut fit);
            let missing = count - dealt.len();
            for project in self.first_of_those_back(missing, upstreams, groups, &mut fit) {
                self.forgive(&project, groups);
                dealt.push(self.issue_and_move_back(project));
            }
        }
        while dealt.len() < count {
            let next = self.returned.iter().find_map(|(&turn, project)| {
                let fits = self.is_admitted(project, upstreams) && fit(project) == Fit::Fits;
                fits.then(|| (turn, Arc::clone(project)))
            });
            let Some((turn, project)) = next else { break };
            self.returned.remove(&turn);
            dealt.push(self.issue(project));
        }
        while dealt.len() < count {
            let mut resting = Vec::new();
            let missing = count - dealt.len();
            let eligible = |project: &ProjectId| match fit(project) {
                Fit::Fits => true,
                Fit::Unwanted => false,
                Fit::Rests { until } => {
                    resting.push((Arc::clone(project), until));
                    false
                }
            };
            let in_order = |upstream: Upstream, lane: &Groups| {
                let group = groups[upstream.index()];
                !lane.resting.contains(group) && !lane.back.contains(group)
            };
            let round = self
                .lanes
                .longest_waiting(missing, upstreams, in_order, eligible);
            self.pass_over(resting, groups);
            if round.is_empty() {
                break;
            }
            for project in round {
                dealt.push(self.issue_and_move_back(project));
            }
        }
        dealt
    }

    /// Up to `limit` projects of `upstreams` that are `eligible`, those that have waited
    /// longest first. Nobody moves.
    #[must_use]
    pub fn waiting(
        &self,
        limit: usize,
        upstreams: &[Upstream],
        eligible: impl FnMut(&ProjectId) -> bool,
    ) -> Vec<ProjectId> {
        self.lanes
            .longest_waiting(limit, upstreams, |_, _| true, eligible)
    }

    fn upstream(&self, project: &str) -> Option<Upstream> {
        self.members.get(project)?.upstream
    }

    /// A turn that was not used: it is dealt again first. The project keeps its place,
    /// so that in sum every round still has one turn for everyone.
    pub fn give_back(&mut self, turn: u64) {
        let Some(project) = self.outstanding.remove(&turn) else {
            return;
        };
        if self.upstream(&project).is_some() && turn >= self.newest_round {
            self.deal_again(turn, project);
        }
    }

    /// A turn of another replica's rotation, or of this one's before a restart, that was not
    /// used: it is dealt again first, as our own are. Once, however often it comes; never
    /// when its project is not in the rotation.
    pub fn adopt(&mut self, turn: &ForeignTurn<'_>) {
        if let Some((project, member)) = self.members.get_key_value(turn.project)
            && member.upstream.is_some()
            && self.adopted.remember(turn)
        {
            let project = Arc::clone(project);
            self.last_turn += 1;
            self.deal_again(self.last_turn, project);
        }
    }

    fn deal_again(&mut self, turn: u64, project: ProjectId) {
        self.returned.insert(turn, project);
        if self.returned.len() > RETURNED_TURNS {
            self.returned.pop_first();
        }
    }

    /// Goes on as if the first `share` of each upstream's projects, from 0 to 1, had had their
    /// turns just now. Replicas that start at the same time and with shares of their own
    /// do not all deal the same projects at the same time. Nothing of it is to be
    /// saved: it is no turn that anybody had.
    pub fn stagger(&mut self, share: f64) {
        let mut first: Vec<(Place, ProjectId)> = Vec::new();
        for upstream in Upstream::ALL {
            let all = self.lanes.all(upstream);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                clippy::cast_sign_loss,
                reason = "a share of their number"
            )]
            let count = (all.len() as f64 * share.clamp(0.0, 1.0)) as usize;
            first.extend(all.into_iter().take(count));
        }
        first.sort_unstable();
        for (_, project) in first {
            self.last_turn += 1;
            self.place(&project, self.last_turn);
        }
    }

    /// A turn that could not be served: the project waits where it waited before.
    pub fn undo(&mut self, dealt: &Dealt) {
        self.outstanding.remove(&dealt.turn);
        let Some(before) = dealt.before else { return };
        let is_last = self
            .members
            .get(&dealt.project)
            .is_some_and(|member| member.place.dealt == dealt.turn);
        if is_last {
            self.move_to(&dealt.project, before);
        }
    }

    /// A turn that was used and cannot be returned any more.
    pub fn settle(&mut self, turn: u64) {
        self.outstanding.remove(&turn);
    }

    /// Forgets the returned turns of a project that rests: it comes back with one
    /// turn, not a burst.
    pub fn drop_returned(&mut self, project: &ProjectId) {
        self.returned.retain(|_, owner| owner != project);
    }

    /// The places that have changed since the last call.
    #[must_use]
    pub fn take_moved(&mut self) -> Vec<(ProjectId, u64)> {
        let members = &self.members;
        self.moved
            .drain()
            .filter_map(|project| {
                let place = members.get(&project)?.place;
                Some((project, place.dealt))
            })
            .collect()
    }

    /// Has the places told again by the next [`Rotation::take_moved`].
    pub fn mark_moved(&mut self, projects: impl IntoIterator<Item = ProjectId>) {
        self.moved.extend(projects);
    }

    fn is_admitted(&self, project: &str, upstreams: &[Upstream]) -> bool {
        self.upstream(project)
            .is_some_and(|upstream| upstreams.contains(&upstream))
    }

    fn admitted(&self, project: &str, upstreams: &[Upstream]) -> Option<ProjectId> {
        let (id, _) = self.members.get_key_value(project)?;
        self.is_admitted(project, upstreams).then(|| Arc::clone(id))
    }

    /// The preferred project's turn: a returned one of its own if there is one.
    fn take(&mut self, project: ProjectId) -> Dealt {
        let returned = self
            .returned
            .iter()
            .find_map(|(&turn, owner)| (*owner == project).then_some(turn));
        match returned {
            Some(returned) => {
                self.returned.remove(&returned);
                self.issue(project)
            }
            None => self.issue_and_move_back(project),
        }
    }

    fn issue_and_move_back(&mut self, project: ProjectId) -> Dealt {
        let before = self.members.get(&project).map(|member| member.place.dealt);
        let dealt = Dealt {
            before,
            ..self.issue(project)
        };
        self.move_to(&dealt.project, dealt.turn);
        dealt
    }

    fn issue(&mut self, project: ProjectId) -> Dealt {
        self.last_turn += 1;
        self.outstanding
            .insert(self.last_turn, Arc::clone(&project));
        if self.outstanding.len() > OUTSTANDING_TURNS {
            self.outstanding.pop_first();
        }
        Dealt {
            turn: self.last_turn,
            project,
            before: None,
        }
    }

    /// Gives a project another place, which is to be saved.
    fn move_to(&mut self, project: &ProjectId, dealt: u64) {
        if self.place(project, dealt) {
            self.moved.insert(Arc::clone(project));
        }
    }

    /// Gives a project another place; `false` when it is not known.
    fn place(&mut self, project: &ProjectId, dealt: u64) -> bool {
        let Some(member) = self.members.get_mut(project) else {
            return false;
        };
        let old = member.place;
        member.place.dealt = dealt;
        if let Some(upstream) = member.upstream {
            self.lanes
                .remove(upstream, &member.groups, old, Arc::clone(project));
            let project = Arc::clone(project);
            self.lanes
                .insert(upstream, &member.groups, member.place, project);
        }
        true
    }
}

#[cfg(test)]
mod tests;
