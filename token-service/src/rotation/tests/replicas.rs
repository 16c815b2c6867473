//! Whether several rotations over the same projects deal evenly in sum, as gateways use them:
//! drawn from one replica, returned to any.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// Turns that are older go back, in steps; gateways return theirs after seconds.
const STALE: usize = 12;

#[derive(Clone, Debug)]
enum Step {
    /// A gateway draws a slice, and returns what is stale with the same call.
    Draw {
        gateway: usize,
        replica: usize,
        count: usize,
    },
    Use {
        gateway: usize,
        count: usize,
    },
    /// A call with returned turns is repeated at the same replica.
    Repeat,
    Restart {
        replica: usize,
        share: f64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_usize..6, 0_usize..5, 1_usize..20).prop_map(
            |(gateway, replica, count)| Step::Draw { gateway, replica, count }
        ),
        8 => (0_usize..6, 1_usize..20).prop_map(|(gateway, count)| Step::Use { gateway, count }),
        2 => Just(Step::Repeat),
        1 => (0_usize..5, 0.0_f64..1.0).prop_map(|(replica, share)| Step::Restart { replica, share }),
    ]
}

/// A turn in a gateway's hand.
#[derive(Clone, Debug)]
struct Held {
    instance: String,
    number: u64,
    project: ProjectId,
    drawn: usize,
}

#[derive(Debug)]
struct Replica {
    instance: String,
    rotation: Rotation,
}

#[derive(Debug)]
struct World {
    projects: i64,
    replicas: Vec<Replica>,
    gateways: Vec<VecDeque<Held>>,
    used: HashMap<ProjectId, i64>,
    /// Where turns were returned last, and which.
    last_call: (usize, Vec<Held>),
    restarts: usize,
    /// Returned turns that a replica held when it ended.
    lost: HashMap<ProjectId, i64>,
    now: usize,
}

impl World {
    fn new(projects: i64, replicas: usize, gateways: usize) -> Self {
        let replica = |number: usize| {
            let mut rotation = rotation(projects);
            #[expect(clippy::cast_precision_loss, reason = "a handful")]
            rotation.stagger(number as f64 / replicas as f64);
            Replica {
                instance: format!("i{number}"),
                rotation,
            }
        };
        Self {
            projects,
            replicas: (0..replicas).map(replica).collect(),
            gateways: vec![VecDeque::new(); gateways],
            used: HashMap::new(),
            last_call: (0, Vec::new()),
            restarts: 0,
            lost: HashMap::new(),
            now: 0,
        }
    }

    fn hand_in(&mut self, replica: usize, turns: &[Held]) {
        let Replica { instance, rotation } = &mut self.replicas[replica];
        for turn in turns {
            if turn.instance == *instance {
                rotation.give_back(turn.number);
            } else {
                rotation.adopt(&ForeignTurn {
                    instance: &turn.instance,
                    number: turn.number,
                    project: &turn.project,
                });
            }
        }
    }

    fn draw(&mut self, gateway: usize, replica: usize, count: usize) {
        let gateway = gateway % self.gateways.len();
        let replica = replica % self.replicas.len();
        let mut returned = Vec::new();
        while let Some(turn) = self.gateways[gateway].front()
            && self.now - turn.drawn > STALE
        {
            returned.extend(self.gateways[gateway].pop_front());
        }
        self.hand_in(replica, &returned);
        self.last_call = (replica, returned);
        let Replica { instance, rotation } = &mut self.replicas[replica];
        for turn in rotation.deal(count, ANY, GROUPS, None, NOW, |_| Fit::Fits) {
            self.gateways[gateway].push_back(Held {
                instance: instance.clone(),
                number: turn.turn,
                project: turn.project,
                drawn: self.now,
            });
        }
    }

    fn use_up(&mut self, gateway: usize, count: usize) {
        let held = &mut self.gateways[gateway];
        for turn in held.drain(..count.min(held.len())) {
            *self.used.entry(turn.project).or_default() += 1;
        }
    }

    fn restart(&mut self, replica: usize, share: f64) {
        let replica = replica % self.replicas.len();
        self.restarts += 1;
        // What was returned before it ended is not known after it: a call that is repeated over
        // a restart brings its turns back twice.
        if self.last_call.0 == replica {
            self.last_call.1.clear();
        }
        let Replica { instance, rotation } = &mut self.replicas[replica];
        for project in rotation.returned.values() {
            *self.lost.entry(Arc::clone(project)).or_default() += 1;
        }
        *instance = format!("{instance}r");
        *rotation = super::rotation(self.projects);
        rotation.stagger(share);
    }

    fn take(&mut self, step: &Step) {
        self.now += 1;
        match *step {
            Step::Draw {
                gateway,
                replica,
                count,
            } => self.draw(gateway, replica, count),
            Step::Use { gateway, count } => {
                let gateway = gateway % self.gateways.len();
                self.use_up(gateway, count);
            }
            Step::Repeat => {
                let (replica, turns) = self.last_call.clone();
                self.hand_in(replica, &turns);
            }
            Step::Restart { replica, share } => self.restart(replica, share),
        }
    }

    /// The most less the fewest that projects had of what `counts` counts.
    fn spread(&self, counts: impl Fn(&ProjectId) -> i64) -> usize {
        let counts = (1..=self.projects).map(|position| {
            let project: ProjectId = position.to_string().into();
            counts(&project)
        });
        let counts: Vec<_> = counts.collect();
        let most = counts.iter().max().unwrap();
        usize::try_from(most - counts.iter().min().unwrap()).unwrap()
    }
}

fn of(counts: &HashMap<ProjectId, i64>, project: &ProjectId) -> i64 {
    counts.get(project).copied().unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// No turn is lost or made, whoever returns it where: each rotation and each restart is one
    /// round that may be unfinished.
    #[test]
    fn what_is_returned_anywhere_is_used_in_the_end(
        projects in 1_i64..30,
        replicas in 1_usize..5,
        gateways in 1_usize..6,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut world = World::new(projects, replicas, gateways);
        for step in &steps {
            world.take(step);
        }
        for gateway in 0..gateways {
            let held: Vec<_> = world.gateways[gateway].drain(..).collect();
            world.hand_in(gateway % replicas, &held);
        }
        for replica in &mut world.replicas {
            let pending = replica.rotation.returned.len();
            for turn in replica.rotation.deal(pending, ANY, GROUPS, None, NOW, |_| Fit::Fits) {
                *world.used.entry(turn.project).or_default() += 1;
            }
        }
        let spread = world.spread(|project| of(&world.used, project) + of(&world.lost, project));
        prop_assert!(spread <= replicas + world.restarts, "{spread}: {:?}", world.used);
    }

    /// Under a load that goes on, the contract's bound holds at every moment.
    #[test]
    fn requests_are_even_at_every_moment(
        projects in 2_i64..60,
        replicas in 1_usize..6,
        gateways in 1_usize..8,
        loads in prop::collection::vec((0_usize..8, 0_usize..6, 1_usize..9), 50..400),
        restarts in prop::collection::vec((0_usize..400, 0_usize..6, 0.0_f64..1.0), 0..3),
    ) {
        let mut world = World::new(projects, replicas, gateways);
        let bound = 1 + 2 * gateways + 2 * replicas + restarts.len();
        for (at, &(gateway, replica, requests)) in loads.iter().enumerate() {
            world.now += 1;
            for (_, replica, share) in restarts.iter().filter(|(when, ..)| *when == at) {
                world.restart(*replica, *share);
            }
            let gateway = gateway % gateways;
            // As gateways draw: when less is in hand than is asked for, a slice of at least four.
            if world.gateways[gateway].len() < requests {
                let missing = requests - world.gateways[gateway].len();
                world.draw(gateway, replica, missing.max(4));
            }
            world.use_up(gateway, requests);
            let spread = world.spread(|project| of(&world.used, project));
            prop_assert!(spread <= bound, "{spread} > {bound} after {at}: {:?}", world.used);
        }
    }
}
