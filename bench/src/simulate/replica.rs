//! A replica of the token-service: its own rotation, what it knows of cooldowns, and what it
//! asks the database for.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use antigravity_proto::{model_group, v1};
use jiff::Timestamp;
use token_service::{
    project::{ProjectId, Upstream},
    rotation::{Fit, Rotation, TurnId},
};

use super::google::{MODELS, Quota};

/// What a gateway asks for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) count: u32,
    /// Which of [`MODELS`].
    pub(super) model: usize,
    pub(super) exclude: Arc<HashSet<Arc<str>>>,
    pub(super) returned: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Replica {
    instance: String,
    rotation: Rotation,
    cooling: HashSet<Quota>,
    /// Changes that the database told of and that did not arrive.
    pub(super) unheard: Vec<Quota>,
    pub(super) is_alive: bool,
    pub(super) transactions: u64,
    pub(super) acquires: u64,
    pub(super) reports: u64,
    starts: u32,
    /// The order of the rotation, as it was saved last.
    saved: HashMap<ProjectId, u64>,
    number: usize,
}

/// A project's id; its number can be read from it.
pub(super) fn project_id(number: usize) -> ProjectId {
    format!("project-{number:05}").into()
}

/// The number of a project.
pub(super) fn project_number(id: &str) -> usize {
    let number = id.rsplit('-').next().and_then(|number| number.parse().ok());
    // Every id of the simulation is made by `project_id`.
    number.unwrap_or(usize::MAX)
}

impl Replica {
    pub(super) fn new(number: usize) -> Self {
        Self {
            instance: String::new(),
            rotation: Rotation::default(),
            cooling: HashSet::new(),
            unheard: Vec::new(),
            is_alive: false,
            transactions: 0,
            acquires: 0,
            reports: 0,
            starts: 0,
            saved: HashMap::new(),
            number,
        }
    }

    /// Starts, with what the database has: a single replica goes on where it was (`share` is
    /// `None`), others begin at a place of their own in the ring.
    pub(super) fn start(
        &mut self,
        projects: &[ProjectId],
        cooling: &HashSet<Quota>,
        share: Option<f64>,
    ) {
        self.starts += 1;
        self.instance = format!("replica{}start{}", self.number, self.starts);
        self.rotation = Rotation::default();
        for (position, project) in (1..).zip(projects) {
            let saved = self.saved.get(project).copied();
            let dealt = saved.filter(|_| share.is_none()).unwrap_or(0);
            self.rotation.insert(project, position, dealt);
            self.rotation.set(project, Some(Upstream::Antigravity));
        }
        if let Some(share) = share {
            self.rotation.stagger(share);
        }
        self.cooling.clone_from(cooling);
        self.unheard.clear();
        self.is_alive = true;
        self.transactions += 1;
    }

    /// Deals; empty when every project rests or was excluded.
    pub(super) fn acquire(&mut self, wanted: &Wanted) -> Vec<v1::Turn> {
        self.acquires += 1;
        for turn in &wanted.returned {
            match TurnId::read(turn, &self.instance) {
                Some(TurnId::Ours(number)) => self.rotation.give_back(number),
                Some(TurnId::Foreign(turn)) => self.rotation.adopt(&turn),
                None => {}
            }
        }
        let cooling = &self.cooling;
        // What rests does so to the end of the simulation, whose time the rotation need not know.
        let groups = groups(wanted.model);
        let dealt = self.rotation.deal(
            wanted.count as usize,
            &Upstream::ALL,
            groups,
            None,
            Timestamp::UNIX_EPOCH,
            |id| match () {
                () if cooling.contains(&(project_number(id), wanted.model)) => Fit::Rests {
                    until: Some(Timestamp::MAX),
                },
                () if wanted.exclude.contains(id) => Fit::Unwanted,
                () => Fit::Fits,
            },
        );
        dealt
            .into_iter()
            .map(|dealt| v1::Turn {
                turn_id: TurnId::write(&self.instance, dealt.turn, &dealt.project),
                token: Some(token(&dealt.project)),
            })
            .collect()
    }

    /// Counts reports, stores them, and takes in which projects rest; those of which that is
    /// news here.
    pub(super) fn report(&mut self, used: &[String], limited: &[Quota]) -> Vec<Quota> {
        self.reports += 1;
        for turn in used {
            if let Some(TurnId::Ours(number)) = TurnId::read(turn, &self.instance) {
                self.rotation.settle(number);
            }
        }
        // The ledger's, and one for each state.
        self.transactions += 1;
        let mut news = limited.to_vec();
        news.retain(|quota| self.rest(*quota));
        self.transactions += news.len() as u64;
        news
    }

    /// Hears from the database that a project rests, and reads it; whether that is news here.
    pub(super) fn hear(&mut self, quota: Quota) -> bool {
        self.transactions += 1;
        self.rest(quota)
    }

    /// Looks into the database for changes; those that it did not know of.
    pub(super) fn look(&mut self) -> Vec<Quota> {
        self.transactions += 1;
        let mut found = std::mem::take(&mut self.unheard);
        found.retain(|quota| self.rest(*quota));
        found
    }

    /// Saves the order of the rotation.
    pub(super) fn save(&mut self) {
        let moved = self.rotation.take_moved();
        self.transactions += u64::from(!moved.is_empty());
        self.saved.extend(moved);
    }

    fn rest(&mut self, quota: Quota) -> bool {
        let is_news = self.cooling.insert(quota);
        if is_news {
            self.rotation.drop_returned(&project_id(quota.0));
        }
        is_news
    }
}

fn groups(model: usize) -> [&'static str; 3] {
    [
        v1::Upstream::Antigravity,
        v1::Upstream::Gemini,
        v1::Upstream::Vertex,
    ]
    .map(|upstream| model_group(upstream, MODELS[model]))
}

fn token(project: &str) -> v1::AccessToken {
    v1::AccessToken {
        project_id: project.to_owned(),
        google_project_id: project.to_owned(),
        upstream: v1::Upstream::Antigravity.into(),
        access_token: "t".to_owned(),
        // Past every end of the traffic, which begins at zero.
        expires_at: Some(prost_types::Timestamp {
            seconds: 10_000_000,
            nanos: 0,
        }),
        fingerprint: "f".to_owned(),
        ..Default::default()
    }
}
