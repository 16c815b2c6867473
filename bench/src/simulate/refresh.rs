//! Access tokens kept fresh by several replicas: each knows when a project is due, the
//! database lets one of them refresh it, and tells the others.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use token_service::{BACKGROUND_REFRESHES, ahead, stagger};

use super::{
    Arguments, Size,
    replica::project_id,
    time::{self, Events, MILLISECOND, SECOND, Time},
    traffic::{LOOKING, TRANSACTION},
};

/// How long Google's access tokens live.
const LIFETIME: Time = 3600 * SECOND;
/// The default of REFRESH_MARGIN.
const MARGIN: Time = 300 * SECOND;
/// For how long a replica may refresh a project before another does: longer than a refresh may
/// take.
const LEASE: Time = 45 * SECOND;
/// Until Google has answered to a refresh.
const GOOGLE: Time = 150 * MILLISECOND;
const NOTIFIED: Time = 5 * MILLISECOND;
/// The least that the task sleeps which refreshes ahead of need.
const PAUSE: Time = 200 * MILLISECOND;

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figures {
    /// Refreshes a second that the projects need: one each lifetime.
    pub(crate) ideal: f64,
    /// Until every project has its first token, in microseconds.
    pub(crate) all_fresh: Time,
    /// Refreshes a second after the first hour: on average, in the 99th of a hundred seconds,
    /// in the worst.
    pub(crate) mean: f64,
    pub(crate) p99: u64,
    pub(crate) most: u64,
    /// The shortest that a token was still good for when it was replaced, in microseconds.
    pub(crate) least_left: Time,
    /// Leases that were asked for, for each refresh.
    pub(crate) attempts: f64,
    /// Transactions a second, after the first hour.
    pub(crate) transactions: f64,
}

enum Event {
    Work {
        replica: usize,
    },
    Lease {
        replica: usize,
        project: usize,
    },
    Refreshed {
        replica: usize,
        project: usize,
    },
    Hear {
        replica: usize,
        project: usize,
        known: Known,
    },
}

/// What is known of a project's token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    expires: Time,
    version: u32,
}

#[derive(Default)]
struct Row {
    known: Known,
    leased_until: Time,
}

struct Replica {
    known: Vec<Known>,
    /// When each project is due, with the version that this is said of.
    due: BinaryHeap<Reverse<(Time, usize, u32)>>,
    busy: usize,
    wakes: Option<Time>,
}

struct World {
    lost: f64,
    random: fastrand::Rng,
    events: Events<Event>,
    rows: Vec<Row>,
    replicas: Vec<Replica>,
    /// By second.
    refreshes: HashMap<Time, u64>,
    attempts: u64,
    transactions: u64,
    done: u64,
    first: usize,
    all_fresh: Time,
    least_left: Time,
}

/// Simulates the refreshes of one size: all tokens have expired at the beginning.
pub(super) fn simulate(arguments: &Arguments, size: Size) -> Figures {
    let mut world = World {
        lost: arguments.lost,
        random: fastrand::Rng::with_seed(arguments.seed ^ 0x5eed),
        events: Events::new(),
        rows: (0..size.projects).map(|_| Row::default()).collect(),
        replicas: (0..size.replicas)
            .map(|_| Replica {
                known: vec![Known::default(); size.projects],
                due: (0..size.projects)
                    .map(|project| Reverse((0, project, 0)))
                    .collect(),
                busy: 0,
                wakes: None,
            })
            .collect(),
        refreshes: HashMap::new(),
        attempts: 0,
        transactions: 0,
        done: 0,
        first: 0,
        all_fresh: 0,
        least_left: Time::MAX,
    };
    for replica in 0..size.replicas {
        // Replicas are started one after the other, within a second.
        let start = world.random.u64(..SECOND);
        world.wake(replica, start);
    }
    let hour = 3600 * SECOND;
    world.run(hour);
    let before = (world.done, world.transactions);
    let end = arguments.hours * hour;
    world.run(end);
    let seconds = (end - hour) / SECOND;
    let mut by_second: Vec<_> = (hour / SECOND..end / SECOND)
        .map(|second| world.refreshes.get(&second).copied().unwrap_or(0))
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "counts of a simulation")]
    let ratio = |count: u64, of: u64| count as f64 / of.max(1) as f64;
    Figures {
        ideal: ratio(size.projects as u64, LIFETIME / SECOND),
        all_fresh: world.all_fresh,
        mean: ratio(world.done - before.0, seconds),
        p99: time::percentile(&mut by_second, 99),
        most: time::percentile(&mut by_second, 100),
        least_left: world.least_left,
        attempts: ratio(world.attempts, world.done),
        transactions: ratio(world.transactions - before.1, seconds),
    }
}

impl World {
    fn run(&mut self, end: Time) {
        while let Some(event) = self.events.next_before(end) {
            match event {
                Event::Work { replica } => self.work(replica),
                Event::Lease { replica, project } => self.lease(replica, project),
                Event::Refreshed { replica, project } => self.refreshed(replica, project),
                Event::Hear {
                    replica,
                    project,
                    known,
                } => {
                    self.transactions += 1;
                    self.learn(replica, project, known);
                }
            }
        }
    }

    fn wake(&mut self, replica: usize, at: Time) {
        let sleeper = &mut self.replicas[replica];
        if sleeper.wakes.is_none_or(|wakes| at < wakes) {
            sleeper.wakes = Some(at);
            self.events.at(at, Event::Work { replica });
        }
    }

    /// Takes on what is due, as much as may run at once.
    fn work(&mut self, replica: usize) {
        let now = self.events.now();
        let worker = &mut self.replicas[replica];
        if worker.wakes != Some(now) {
            return;
        }
        worker.wakes = None;
        let mut taken = Vec::new();
        let mut wakes = None;
        while worker.busy < BACKGROUND_REFRESHES
            && let Some(Reverse((due, project, version))) = worker.due.peek().copied()
        {
            if worker.known[project].version != version {
                worker.due.pop();
            } else if due <= now {
                worker.due.pop();
                worker.busy += 1;
                taken.push(project);
            } else {
                wakes = Some(due.max(now + PAUSE));
                break;
            }
        }
        for project in taken {
            let asked = time::about(&mut self.random, TRANSACTION);
            self.events.after(asked, Event::Lease { replica, project });
        }
        if let Some(wakes) = wakes {
            self.wake(replica, wakes);
        }
    }

    fn release(&mut self, replica: usize) {
        self.replicas[replica].busy -= 1;
        let now = self.events.now();
        self.wake(replica, now);
    }

    fn lease(&mut self, replica: usize, project: usize) {
        let now = self.events.now();
        self.attempts += 1;
        self.transactions += 1;
        let row = &mut self.rows[project];
        let known = self.replicas[replica].known[project];
        if row.known != known {
            let known = row.known;
            self.learn(replica, project, known);
            self.release(replica);
        } else if row.leased_until > now {
            // Another replica's: looked at again when that has to be over, if nothing is heard.
            let again = Reverse((row.leased_until, project, known.version));
            self.replicas[replica].due.push(again);
            self.release(replica);
        } else {
            row.leased_until = now + LEASE;
            let answer = time::about(&mut self.random, GOOGLE);
            self.events
                .after(answer, Event::Refreshed { replica, project });
        }
    }

    fn refreshed(&mut self, replica: usize, project: usize) {
        let now = self.events.now();
        self.transactions += 1;
        self.done += 1;
        *self.refreshes.entry(now / SECOND).or_default() += 1;
        let row = &mut self.rows[project];
        if row.known.version == 0 {
            self.first += 1;
            if self.first == self.rows.len() {
                self.all_fresh = now;
            }
        } else {
            self.least_left = self.least_left.min(row.known.expires.saturating_sub(now));
        }
        let row = &mut self.rows[project];
        row.known = Known {
            expires: now + LIFETIME,
            version: row.known.version + 1,
        };
        row.leased_until = 0;
        let known = row.known;
        self.learn(replica, project, known);
        self.release(replica);
        for other in (0..self.replicas.len()).filter(|other| *other != replica) {
            let heard = if self.random.f64() * 100.0 < self.lost {
                self.random.u64(..LOOKING)
            } else {
                TRANSACTION + time::about(&mut self.random, NOTIFIED)
            };
            self.events.after(
                heard,
                Event::Hear {
                    replica: other,
                    project,
                    known,
                },
            );
        }
    }

    fn learn(&mut self, replica: usize, project: usize, known: Known) {
        let learner = &mut self.replicas[replica];
        if learner.known[project].version >= known.version {
            return;
        }
        learner.known[project] = known;
        let due = due(replica, project, learner.known.len(), known.expires);
        learner.due.push(Reverse((due, project, known.version)));
        let now = self.events.now();
        if due <= now {
            self.wake(replica, now);
        } else if learner.wakes.is_none() && learner.busy < BACKGROUND_REFRESHES {
            self.wake(replica, due.max(now + PAUSE));
        }
    }
}

/// When a replica refreshes a token ahead of need.
fn due(replica: usize, project: usize, projects: usize, expires: Time) -> Time {
    let at = SignedDuration::try_from(Duration::from_micros(expires));
    let at = Timestamp::UNIX_EPOCH.saturating_add(at.unwrap_or(SignedDuration::MAX));
    let at = at.unwrap_or(Timestamp::MAX);
    let (margin, lifetime) = (
        Duration::from_micros(MARGIN),
        Duration::from_micros(LIFETIME),
    );
    let name = project_id(project);
    let before = ahead(&name, at, lifetime, margin, projects);
    let later = stagger(&format!("replica-{replica}"), &name);
    (expires + time::of(later)).saturating_sub(time::of(before))
}
