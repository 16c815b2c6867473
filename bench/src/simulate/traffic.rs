//! Clients' requests over gateways and replicas: how often they call, how even the shares
//! are, and how long a cooldown takes until everybody obeys.

use std::{collections::HashSet, sync::Arc, time::Instant};

use antigravity_proto::v1;
use gateway::{
    outcomes::{AT_ONCE, INTERVAL},
    tokens::{ASKING, Lease},
};
use token_service::project::ProjectId;

use super::{
    Arguments, Size,
    gateway::{Deed, Draw, Gateway, Request},
    google::{Google, Obedience, Quota},
    replica::{Replica, project_id, project_number},
    time::{self, Events, MILLISECOND, SECOND, Time},
};

/// One way between a gateway and a replica.
const ONE_WAY: Time = 500;
/// From the database's word to a replica's having read what it is about.
const NOTIFIED: Time = 5 * MILLISECOND;
/// How long the database takes for a transaction.
pub(super) const TRANSACTION: Time = 2 * MILLISECOND;
/// How often replicas look into the database for what they did not hear of.
pub(super) const LOOKING: Time = 2 * SECOND;
/// Until Google has answered, and until it has refused.
const ANSWER: Time = 2 * SECOND;
const REFUSAL: Time = 150 * MILLISECOND;
/// One arrival of so many is a burst, of so many requests at once.
const BURSTS: u64 = 100;
const BURST: u64 = 20;
/// How long a killed replica is away.
const RESTART: Time = 3 * SECOND;

/// What came of it. Rates are of the part without limits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figures {
    pub(crate) requests: f64,
    pub(crate) acquires: f64,
    pub(crate) reports: f64,
    /// Calls of the replica that had the most.
    pub(crate) busiest: f64,
    pub(crate) transactions: f64,
    /// Requests that no turn and no token could be had for.
    pub(crate) failed: u64,
    /// The most less the fewest requests of projects, in the end and at the worst moment:
    /// bursts that find few turns go round over few projects, and are made up for after it.
    pub(crate) spread: u64,
    pub(crate) worst_spread: u64,
    pub(crate) bound: u64,
    pub(crate) obedience: Obedience,
}

enum Event {
    Arrive {
        gateway: usize,
    },
    Impatient {
        gateway: usize,
        model: usize,
        number: u64,
    },
    Call {
        gateway: usize,
        draw: Box<Draw>,
    },
    Answer {
        gateway: usize,
        draw: Box<Draw>,
        turns: Option<Vec<v1::Turn>>,
    },
    Google {
        gateway: usize,
        request: Request,
        lease: Box<Lease>,
        limited: bool,
    },
    Flush {
        gateway: usize,
    },
    Report {
        gateway: usize,
        replica: usize,
        used: Vec<String>,
        limited: Vec<Quota>,
    },
    Reported {
        gateway: usize,
    },
    Hear {
        replica: usize,
        quota: Quota,
    },
    Look {
        replica: usize,
    },
    Save {
        replica: usize,
    },
    Second,
    KillReplica,
    StartReplica,
    KillGateway,
    UseUp,
}

struct World<'a> {
    arguments: &'a Arguments,
    random: fastrand::Rng,
    events: Events<Event>,
    projects: Vec<ProjectId>,
    gateways: Vec<Gateway>,
    replicas: Vec<Replica>,
    google: Google,
    /// What the database has.
    cooling: HashSet<Quota>,
    asked: Vec<u64>,
    requests: u64,
    failed: u64,
    worst_spread: u64,
    /// Projects run into limits, and clients ask for both models.
    limits: bool,
}

/// Simulates clients of one size.
pub(super) fn simulate(arguments: &Arguments, size: Size) -> Figures {
    let mut world = World::new(arguments, size);
    let half = arguments.seconds * SECOND;
    // The only one's end is no failover: it would be measured how gateways do without.
    if size.replicas > 1 {
        world.events.at(half / 3, Event::KillReplica);
    }
    let kills = u64::from(size.gateways > 1);
    if kills > 0 {
        world.events.at(half / 2, Event::KillGateway);
    }
    world.run(half);
    let spread = world.spread();
    #[expect(clippy::cast_precision_loss, reason = "counts of a simulation")]
    let rate = |count: u64| count as f64 / arguments.seconds as f64;
    let sum = |of: fn(&Replica) -> u64| world.replicas.iter().map(of).sum::<u64>();
    let busiest = world.replicas.iter().map(|r| r.acquires + r.reports).max();
    let mut figures = Figures {
        requests: rate(world.requests),
        acquires: rate(sum(|replica| replica.acquires)),
        reports: rate(sum(|replica| replica.reports)),
        busiest: rate(busiest.unwrap_or(0)),
        transactions: rate(sum(|replica| replica.transactions)),
        failed: world.failed,
        spread,
        worst_spread: world.worst_spread.max(spread),
        bound: (1 + 2 * size.gateways + 2 * size.replicas) as u64 + kills,
        obedience: Obedience::default(),
    };
    world.limits = true;
    // Of at most a third of the projects, so that the others can serve.
    let limits = (size.projects / 3).clamp(1, 200);
    for number in 0..limits as u64 {
        let at = half + number * (half - half / 5) / limits as u64;
        world.events.at(at, Event::UseUp);
    }
    world.run(2 * half);
    figures.obedience = world.google.obedience();
    figures
}

impl<'a> World<'a> {
    fn new(arguments: &'a Arguments, size: Size) -> Self {
        let mut random = fastrand::Rng::with_seed(arguments.seed);
        let projects: Vec<_> = (0..size.projects).map(project_id).collect();
        // Only differences of it are looked at.
        let began = Instant::now();
        let mut world = Self {
            arguments,
            events: Events::new(),
            gateways: (0..size.gateways)
                .map(|_| Gateway::new(size.replicas, random.usize(..size.replicas), began))
                .collect(),
            replicas: (0..size.replicas).map(Replica::new).collect(),
            google: Google::default(),
            cooling: HashSet::new(),
            asked: vec![0; size.projects],
            requests: 0,
            failed: 0,
            worst_spread: 0,
            limits: false,
            projects,
            random,
        };
        for replica in 0..size.replicas {
            world.start(replica);
            let first = world.random.u64(..LOOKING);
            world.events.at(first, Event::Look { replica });
            let first = world.random.u64(..SECOND);
            world.events.at(first, Event::Save { replica });
        }
        for gateway in 0..size.gateways {
            world.next_arrival(gateway);
        }
        world.events.at(SECOND, Event::Second);
        world
    }

    fn start(&mut self, replica: usize) {
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let share = (self.replicas.len() > 1).then(|| replica as f64 / self.replicas.len() as f64);
        self.replicas[replica].start(&self.projects, &self.cooling, share);
    }

    fn run(&mut self, end: Time) {
        while let Some(event) = self.events.next_before(end) {
            self.happen(event);
        }
    }

    fn next_arrival(&mut self, gateway: usize) {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let at_once = 1.0 + (BURST - 1) as f64 / BURSTS as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "less than a day"
        )]
        let mean = (SECOND as f64 * at_once / self.arguments.rate) as Time;
        let gap = time::exponential(&mut self.random, mean);
        self.events.after(gap, Event::Arrive { gateway });
    }

    fn happen(&mut self, event: Event) {
        let now = self.events.now();
        match event {
            Event::Arrive { gateway } => self.arrive(gateway, now),
            Event::Impatient {
                gateway,
                model,
                number,
            } => {
                let deeds = self.gateways[gateway].lose_patience(model, number, now);
                self.carry_out(gateway, deeds);
            }
            Event::Call { gateway, draw } => self.call(gateway, draw, now),
            Event::Answer {
                gateway,
                draw,
                turns,
            } => {
                if self.gateways[gateway].is_alive {
                    let deeds = self.gateways[gateway].drawn(*draw, turns, now);
                    self.carry_out(gateway, deeds);
                }
            }
            Event::Google {
                gateway,
                request,
                lease,
                limited,
            } => {
                self.answered(gateway, request, *lease, limited, now);
            }
            Event::Flush { gateway } => self.flush(gateway, now),
            Event::Report {
                gateway,
                replica,
                used,
                limited,
            } => {
                self.report(gateway, replica, used, limited, now);
            }
            Event::Reported { gateway } => {
                let reports = &mut self.gateways[gateway].reports;
                reports.sending = false;
                let urgent = reports.is_urgent();
                self.report_within(gateway, time::of(if urgent { AT_ONCE } else { INTERVAL }));
            }
            Event::Hear { replica, quota } => {
                if self.replicas[replica].is_alive && self.replicas[replica].hear(quota) {
                    self.google.known(quota, now);
                }
            }
            Event::Look { replica } => {
                if self.replicas[replica].is_alive {
                    for quota in self.replicas[replica].look() {
                        self.google.known(quota, now);
                    }
                }
                self.events.after(LOOKING, Event::Look { replica });
            }
            Event::Save { replica } => {
                if self.replicas[replica].is_alive {
                    self.replicas[replica].save();
                }
                self.events.after(SECOND, Event::Save { replica });
            }
            Event::Second => {
                if !self.limits {
                    self.worst_spread = self.worst_spread.max(self.spread());
                }
                self.events.after(SECOND, Event::Second);
            }
            Event::KillReplica => {
                self.replicas[0].is_alive = false;
                self.events.after(RESTART, Event::StartReplica);
            }
            Event::StartReplica => self.start(0),
            Event::KillGateway => self.gateways[0].is_alive = false,
            Event::UseUp => {
                let project = self.random.usize(..self.projects.len());
                let model = usize::from(self.random.u64(..4) == 0);
                self.google.use_up((project, model));
            }
        }
    }

    fn arrive(&mut self, gateway: usize, now: Time) {
        if !self.gateways[gateway].is_alive {
            return;
        }
        let at_once = if self.random.u64(..BURSTS) == 0 {
            BURST
        } else {
            1
        };
        for _ in 0..at_once {
            self.requests += 1;
            let request = Request {
                number: self.requests,
                // The contract's bound is for one quota group; a gateway holds turns for each.
                model: usize::from(self.limits && self.random.u64(..4) == 0),
                exclude: Arc::default(),
            };
            let deeds = self.gateways[gateway].ask(request, now);
            self.carry_out(gateway, deeds);
        }
        self.next_arrival(gateway);
    }

    fn carry_out(&mut self, gateway: usize, deeds: Vec<Deed>) {
        let now = self.events.now();
        for deed in deeds {
            match deed {
                Deed::Fail => self.failed += 1,
                Deed::Draw(draw) => self.forward(gateway, Box::new(draw)),
                Deed::Wait(_, false) => {}
                Deed::Wait(request, true) => {
                    let (model, number) = (request.model, request.number);
                    let patience = time::of(ASKING);
                    self.events.after(
                        patience,
                        Event::Impatient {
                            gateway,
                            model,
                            number,
                        },
                    );
                }
                Deed::Send(request, lease) => {
                    let project = project_number(&lease.token.project);
                    self.asked[project] += 1;
                    let limited = self.google.asked((project, request.model), now);
                    let mean = if limited { REFUSAL } else { ANSWER };
                    let answer = time::about(&mut self.random, mean);
                    let lease = Box::new(lease);
                    self.events.after(
                        answer,
                        Event::Google {
                            gateway,
                            request,
                            lease,
                            limited,
                        },
                    );
                }
            }
        }
    }

    fn forward(&mut self, gateway: usize, draw: Box<Draw>) {
        let way = time::about(&mut self.random, ONE_WAY);
        if draw.places.is_empty() {
            // All have just failed: as long as a gateway waits before it looks again.
            self.events.after(
                time::of(ASKING),
                Event::Answer {
                    gateway,
                    draw,
                    turns: None,
                },
            );
        } else {
            self.events.after(way, Event::Call { gateway, draw });
        }
    }

    fn call(&mut self, gateway: usize, mut draw: Box<Draw>, now: Time) {
        let Some(replica) = draw.places.pop_front() else {
            return;
        };
        if !self.replicas[replica].is_alive {
            self.gateways[gateway].failed(replica, now);
            return self.forward(gateway, draw);
        }
        let turns = self.replicas[replica].acquire(&draw.wanted);
        self.gateways[gateway].answered(replica);
        let way = time::about(&mut self.random, ONE_WAY);
        let turns = Some(turns);
        self.events.after(
            way,
            Event::Answer {
                gateway,
                draw,
                turns,
            },
        );
    }

    fn answered(
        &mut self,
        gateway: usize,
        request: Request,
        lease: Lease,
        limited: bool,
        now: Time,
    ) {
        if !self.gateways[gateway].is_alive {
            return;
        }
        let quota = (project_number(&lease.token.project), request.model);
        let turn = lease.turn_id.clone();
        let within = if limited {
            time::of(AT_ONCE)
        } else {
            time::of(INTERVAL)
        };
        let reports = &mut self.gateways[gateway].reports;
        reports.add(turn, limited.then_some(quota));
        let within = if reports.is_full() { 0 } else { within };
        self.report_within(gateway, within);
        if limited {
            self.google.told(quota, now);
            self.gateways[gateway].cool(&lease, request.model, now);
            let mut exclude = (*request.exclude).clone();
            exclude.insert(Arc::clone(&lease.token.project));
            let again = Request {
                exclude: Arc::new(exclude),
                ..request
            };
            let deeds = self.gateways[gateway].ask(again, now);
            self.carry_out(gateway, deeds);
        }
    }

    /// Sees to it that reports are sent within `within`.
    fn report_within(&mut self, gateway: usize, within: Time) {
        let due = self.events.now() + within;
        let reports = &mut self.gateways[gateway].reports;
        if reports.due.is_none_or(|before| due < before) {
            reports.due = Some(due);
            self.events.at(due, Event::Flush { gateway });
        }
    }

    fn flush(&mut self, gateway: usize, now: Time) {
        let reports = &mut self.gateways[gateway].reports;
        if reports.due != Some(now) {
            return;
        }
        reports.due = None;
        if reports.sending {
            // What has come meanwhile is sent when that call has ended.
            return;
        }
        let (used, limited) = reports.batch();
        if used.is_empty() {
            return;
        }
        reports.sending = true;
        let place = self.gateways[gateway].places(now).front().copied();
        let replica = place.unwrap_or(0);
        let way = time::about(&mut self.random, ONE_WAY);
        self.events.after(
            way,
            Event::Report {
                gateway,
                replica,
                used,
                limited,
            },
        );
    }

    fn report(
        &mut self,
        gateway: usize,
        replica: usize,
        used: Vec<String>,
        limited: Vec<Quota>,
        now: Time,
    ) {
        if !self.replicas[replica].is_alive {
            self.gateways[gateway].failed(replica, now);
            let next = self.gateways[gateway].places(now).front().copied();
            let (replica, wait) = match next {
                Some(next) => (next, ONE_WAY),
                None => (replica, time::of(INTERVAL)),
            };
            self.events.after(
                wait,
                Event::Report {
                    gateway,
                    replica,
                    used,
                    limited,
                },
            );
            return;
        }
        let news = self.replicas[replica].report(&used, &limited);
        self.cooling.extend(&news);
        for quota in news {
            self.google.known(quota, now);
            for other in (0..self.replicas.len()).filter(|other| *other != replica) {
                if self.random.f64() * 100.0 < self.arguments.lost {
                    self.replicas[other].unheard.push(quota);
                } else {
                    let heard = TRANSACTION + time::about(&mut self.random, NOTIFIED);
                    self.events.after(
                        heard,
                        Event::Hear {
                            replica: other,
                            quota,
                        },
                    );
                }
            }
        }
        let way = TRANSACTION + time::about(&mut self.random, ONE_WAY);
        self.events.after(way, Event::Reported { gateway });
    }

    fn spread(&self) -> u64 {
        let (most, least) = (self.asked.iter().max(), self.asked.iter().min());
        most.zip(least).map_or(0, |(most, least)| most - least)
    }
}
