//! Whether a rotation deals as its rules say, which stand here without what makes them fast.

use proptest::prelude::*;

use super::*;

/// The rules in their plainest form: lists, searched from the front.
#[derive(Debug, Default)]
struct Model {
    waiting: Vec<(u64, i64)>,
    out: HashSet<i64>,
    upstreams: HashMap<i64, Upstream>,
    outstanding: Vec<(u64, i64)>,
    returned: Vec<(u64, i64)>,
    passed_over: HashSet<i64>,
    /// Those that were, and then were found to rest no more.
    back: HashSet<i64>,
    /// Until when, if that is known.
    resting: HashMap<i64, Option<i64>>,
    newest_round: u64,
    turn: u64,
}

impl Model {
    fn deal(&mut self, count: usize, upstreams: &[Upstream], prefer: i64, skip: i64) -> Vec<i64> {
        let mut dealt = Vec::new();
        let mut are_asked = false;
        while dealt.len() < count {
            let is_in = |id: i64| {
                let upstream = self.upstreams.get(&id);
                !self.out.contains(&id) && upstream.is_some_and(|u| upstreams.contains(u))
            };
            let fits = |id: i64| id != skip && is_in(id) && !self.resting.contains_key(&id);
            let preferred = dealt.is_empty() && prefer > 0 && fits(prefer);
            if !preferred && !are_asked {
                are_asked = true;
                let back: Vec<_> = self.passed_over.extract_if(|&id| fits(id)).collect();
                if !back.is_empty() {
                    self.newest_round = self.turn + 1;
                    self.returned.clear();
                }
                self.back.extend(back);
            }
            self.returned.sort_unstable();
            self.waiting.sort_unstable();
            let waits =
                |wanted: &dyn Fn(i64) -> bool| self.waiting.iter().position(|&(_, id)| wanted(id));
            let comes_back = waits(&|id| fits(id) && self.back.contains(&id));
            let returned =
                |wanted: &dyn Fn(i64) -> bool| self.returned.iter().position(|&(_, id)| wanted(id));
            let of_preferred = |id: i64| id == prefer;
            let (returned, place) = match () {
                () if preferred => (returned(&of_preferred), waits(&of_preferred)),
                () if comes_back.is_some() => (None, comes_back),
                () => (returned(&fits), waits(&fits)),
            };
            let before = |end: Option<usize>| {
                let before = &self.waiting[..end.unwrap_or(self.waiting.len())];
                before.iter().map(|&(_, id)| id).filter(|id| is_in(*id))
            };
            if !preferred {
                let ends = |id: &i64| self.resting.get(id).is_some_and(Option::is_some);
                let again = before(comes_back).filter(|id| self.back.contains(id) && ends(id));
                let again: Vec<_> = again.collect();
                self.back.retain(|id| !again.contains(id));
                self.passed_over.extend(again);
            }
            let id = if let Some(at) = returned {
                self.returned.remove(at).1
            } else {
                if !preferred && comes_back.is_none() {
                    let rests = |id: &i64| self.resting.contains_key(id) && !self.back.contains(id);
                    let skipped: Vec<_> = before(place).filter(rests).collect();
                    self.passed_over.extend(skipped);
                }
                let Some(at) = place else { break };
                let (turn, id) = &mut self.waiting[at];
                *turn = self.turn + 1;
                if comes_back.is_some() && !preferred {
                    self.back.remove(id);
                }
                *id
            };
            self.turn += 1;
            self.outstanding.push((self.turn, id));
            dealt.push(id);
        }
        dealt
    }
}

#[derive(Clone, Debug)]
enum Step {
    Deal {
        count: usize,
        upstreams: Vec<Upstream>,
        prefer: i64,
        skip: i64,
    },
    Return(u64),
    Settle(u64),
    Out(i64),
    Back(i64),
    Rest(i64, Option<i64>),
    Rested(i64),
    Later(i64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let upstreams = prop::sample::subsequence(ANY, 1..=3);
    prop_oneof![
        4 => (0_usize..9, upstreams, 0_i64..9, 0_i64..9).prop_map(
            |(count, upstreams, prefer, skip)| Step::Deal { count, upstreams, prefer, skip }
        ),
        2 => (0_u64..60).prop_map(Step::Return),
        1 => (0_u64..60).prop_map(Step::Settle),
        1 => (1_i64..7).prop_map(Step::Out),
        1 => (1_i64..7).prop_map(Step::Back),
        1 => (1_i64..7, prop::option::of(1_i64..20)).prop_map(|(id, rest)| Step::Rest(id, rest)),
        1 => (1_i64..10).prop_map(Step::Later),
        1 => (1_i64..7).prop_map(Step::Rested),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn deals_as_the_model_does(steps in prop::collection::vec(step(), 1..60)) {
        let mut rotation = Rotation::default();
        let mut model = Model::default();
        let mut saved: HashMap<ProjectId, u64> = HashMap::new();
        let mut now = 0;
        let at = |seconds| NOW + jiff::Span::new().seconds(seconds);
        let id = |position: i64| ProjectId::from(position.to_string());
        for position in 1..7 {
            let upstream = ANY[usize::try_from(position).unwrap() % 3];
            rotation.insert(&id(position), position, 0);
            rotation.set(&id(position), Some(upstream));
            model.waiting.push((0, position));
            model.upstreams.insert(position, upstream);
        }
        for step in steps {
            match step {
                Step::Deal { count, upstreams, prefer, skip } => {
                    let skipped = skip.to_string();
                    let preferred = prefer.to_string();
                    let prefer_id = Some(&*preferred);
                    let dealt = rotation.deal(count, &upstreams, GROUPS, prefer_id, at(now), |id| {
                        match model.resting.get(&id.parse().unwrap()) {
                            Some(until) => Fit::Rests { until: until.map(at) },
                            None => without(id, &skipped),
                        }
                    });
                    let dealt: Vec<i64> =
                        dealt.iter().map(|turn| turn.project.parse().unwrap()).collect();
                    prop_assert_eq!(dealt, model.deal(count, &upstreams, prefer, skip));
                }
                Step::Return(turn) => {
                    rotation.give_back(turn);
                    if let Some(at) = model.outstanding.iter().position(|t| t.0 == turn) {
                        let turn = model.outstanding.remove(at);
                        if !model.out.contains(&turn.1) && turn.0 >= model.newest_round {
                            model.returned.push(turn);
                        }
                    }
                }
                Step::Settle(turn) => {
                    rotation.settle(turn);
                    model.outstanding.retain(|t| t.0 != turn);
                }
                Step::Out(position) => {
                    rotation.set(&id(position), None);
                    if model.out.insert(position) {
                        model.passed_over.remove(&position);
                        model.back.remove(&position);
                    }
                    model.returned.retain(|t| t.1 != position);
                }
                Step::Back(position) => {
                    rotation.set(&id(position), Some(model.upstreams[&position]));
                    model.out.remove(&position);
                }
                Step::Rest(position, rest) => {
                    // A rest may follow another one that was longer, or that nobody knew the end of.
                    rotation.reconsider(&id(position));
                    rotation.drop_returned(&id(position));
                    model.resting.insert(position, rest.map(|rest| now + rest));
                    model.returned.retain(|t| t.1 != position);
                }
                Step::Rested(position) => {
                    rotation.reconsider(&id(position));
                    model.resting.remove(&position);
                }
                Step::Later(seconds) => {
                    now += seconds;
                    model.resting.retain(|_, until| until.is_none_or(|until| until > now));
                }
                Step::Restart => {
                    // What is saved are the places; turns of before are nobody's any more.
                    saved.extend(rotation.take_moved());
                    rotation = Rotation::default();
                    for position in 1..7 {
                        let dealt = saved.get(&id(position)).copied().unwrap_or(0);
                        rotation.insert(&id(position), position, dealt);
                        let out = model.out.contains(&position);
                        rotation.set(&id(position), (!out).then(|| model.upstreams[&position]));
                    }
                    model.turn = model.waiting.iter().map(|place| place.0).max().unwrap_or(0);
                    model.outstanding.clear();
                    model.returned.clear();
                    model.passed_over.clear();
                    model.back.clear();
                    model.newest_round = 0;
                }
            }
        }
    }
}
