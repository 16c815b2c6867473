//! The order of turns, by examples and against a plainer model.

mod replicas;

use proptest::prelude::*;

use super::*;

const GROUPS: [&str; 3] = ["a", "b", "c"];
const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const ANY: &[Upstream] = &Upstream::ALL;

fn rotation(count: i64) -> Rotation {
    let mut rotation = Rotation::default();
    for position in 1..=count {
        let id: ProjectId = position.to_string().into();
        rotation.insert(&id, position, 0);
        rotation.set(&id, Some(Upstream::Antigravity));
    }
    rotation
}

fn without(id: &ProjectId, unwanted: &str) -> Fit {
    if **id == *unwanted {
        Fit::Unwanted
    } else {
        Fit::Fits
    }
}

fn names(dealt: &[Dealt]) -> String {
    dealt
        .iter()
        .map(|turn| &*turn.project)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn one_after_the_other_and_round_again() {
    let mut rotation = rotation(3);
    let singly: Vec<_> = (0..6)
        .flat_map(|_| rotation.deal(1, ANY, GROUPS, None, NOW, |_| Fit::Fits))
        .collect();
    assert_eq!(names(&singly), "1 2 3 1 2 3");
    let at_once = rotation.deal(7, ANY, GROUPS, None, NOW, |_| Fit::Fits);
    assert_eq!(names(&at_once), "1 2 3 1 2 3 1");
}

#[test]
fn returned_turns_come_first_and_cost_nobody_a_turn() {
    let mut rotation = rotation(4);
    let dealt = rotation.deal(4, ANY, GROUPS, None, NOW, |_| Fit::Fits);
    rotation.give_back(dealt[2].turn);
    rotation.give_back(dealt[2].turn);
    rotation.give_back(dealt[1].turn);
    rotation.give_back(999);
    let again = rotation.deal(6, ANY, GROUPS, None, NOW, |_| Fit::Fits);
    assert_eq!(names(&again), "2 3 1 2 3 4");
    rotation.settle(again[0].turn);
    rotation.give_back(again[0].turn);
    assert_eq!(
        names(&rotation.deal(1, ANY, GROUPS, None, NOW, |_| Fit::Fits)),
        "1"
    );
}

#[test]
fn who_comes_back_gets_one_turn_not_a_burst() {
    let mut rotation = rotation(3);
    let dealt = rotation.deal(6, ANY, GROUPS, None, NOW, |_| Fit::Fits);
    for turn in dealt.iter().filter(|turn| &*turn.project == "2") {
        rotation.give_back(turn.turn);
    }
    let two = ProjectId::from("2");
    rotation.set(&two, None);
    assert_eq!(
        names(&rotation.deal(4, ANY, GROUPS, None, NOW, |_| Fit::Fits)),
        "1 3 1 3"
    );
    rotation.set(&two, Some(Upstream::Antigravity));
    assert_eq!(
        names(&rotation.deal(4, ANY, GROUPS, None, NOW, |_| Fit::Fits)),
        "2 1 3 2"
    );
}

#[test]
fn what_those_who_came_back_together_return_is_dealt_again() {
    let mut rotation = rotation(5);
    let resting = |id: &ProjectId| match &**id {
        "1" | "2" | "3" => Fit::Rests { until: None },
        _ => Fit::Fits,
    };
    let without_them = rotation.deal(2, ANY, GROUPS, None, NOW, resting);
    assert_eq!(names(&without_them), "4 5");
    let back = rotation.deal(3, ANY, GROUPS, None, NOW, |_| Fit::Fits);
    assert_eq!(names(&back), "1 2 3");
    for turn in back[..2].iter().chain(&without_them) {
        rotation.give_back(turn.turn);
    }
    assert_eq!(
        names(&rotation.deal(5, ANY, GROUPS, None, NOW, |_| Fit::Fits)),
        "1 2 4 5 1"
    );
}

#[test]
fn of_two_that_were_added_in_one_place_both_are_dealt() {
    let mut rotation = rotation(2);
    // As when it was added to a server of the database that did not know of the other.
    let late = ProjectId::from("late");
    rotation.insert(&late, 2, 0);
    rotation.set(&late, Some(Upstream::Antigravity));
    let resting = |id: &ProjectId| match &**id {
        "late" => Fit::Rests { until: None },
        _ => Fit::Fits,
    };
    rotation.set(&ProjectId::from("2"), None);
    rotation.set(&ProjectId::from("2"), Some(Upstream::Antigravity));
    assert_eq!(
        names(&rotation.deal(2, ANY, GROUPS, None, NOW, resting)),
        "1 2"
    );
    assert_eq!(
        names(&rotation.deal(4, ANY, GROUPS, None, NOW, |_| Fit::Fits)),
        "late 1 2 late"
    );
}

#[test]
fn who_rests_for_one_group_is_not_put_first_in_another() {
    let mut rotation = rotation(3);
    let three_p = ["3p", "m", "m"];
    let gemini = ["gemini", "m", "m"];
    let resting = |id: &ProjectId| match &**id {
        "2" => Fit::Rests { until: None },
        _ => Fit::Fits,
    };
    let mut gemini_turns = Vec::new();
    for _ in 0..30 {
        rotation.deal(1, ANY, three_p, None, NOW, resting);
        let slice = rotation.deal(4, ANY, gemini, None, NOW, |_| Fit::Fits);
        for turn in &slice[1..] {
            rotation.give_back(turn.turn);
        }
        gemini_turns.push(slice[0].project.to_string());
    }
    // The others have turns of the other group besides, so its share of this one is larger.
    let share = gemini_turns.iter().filter(|turn| *turn == "2").count();
    assert!((10..=22).contains(&share), "{gemini_turns:?}");
}

#[test]
fn prefers_without_taking_twice() {
    let mut rotation = rotation(3);
    assert_eq!(
        names(&rotation.deal(3, ANY, GROUPS, Some("2"), NOW, |_| Fit::Fits)),
        "2 1 3"
    );
    let absent = rotation.deal(1, ANY, GROUPS, Some("nobody"), NOW, |_| Fit::Fits);
    assert_eq!(names(&absent), "2");
    let ineligible = rotation.deal(1, ANY, GROUPS, Some("3"), NOW, |id| without(id, "3"));
    assert_eq!(names(&ineligible), "1");
}

#[test]
fn a_turn_that_could_not_be_served_costs_no_place() {
    let mut rotation = rotation(3);
    rotation.deal(3, ANY, GROUPS, None, NOW, |_| Fit::Fits);
    let failed = rotation.deal(1, ANY, GROUPS, None, NOW, |_| Fit::Fits);
    rotation.undo(&failed[0]);
    rotation.give_back(failed[0].turn);
    assert_eq!(
        names(&rotation.deal(2, ANY, GROUPS, None, NOW, |id| without(id, "1"))),
        "2 3"
    );
    assert_eq!(
        names(&rotation.deal(4, ANY, GROUPS, None, NOW, |_| Fit::Fits)),
        "1 2 3 1"
    );
}

#[test]
fn goes_on_where_it_was_saved() {
    let mut before = rotation(3);
    before.deal(4, ANY, GROUPS, None, NOW, |_| Fit::Fits);
    let mut after = Rotation::default();
    let saved: HashMap<_, _> = before.take_moved().into_iter().collect();
    for position in 1..=4 {
        let id: ProjectId = position.to_string().into();
        let dealt = saved.get(&id).copied().unwrap_or(0);
        after.insert(&id, position, dealt);
        after.set(&id, Some(Upstream::Gemini));
    }
    assert_eq!(
        names(&after.deal(5, ANY, GROUPS, None, NOW, |_| Fit::Fits)),
        "4 2 3 1 4"
    );
    assert!(before.take_moved().is_empty());
}

#[test]
fn ten_thousand_projects_of_another_upstream_are_not_walked_over() {
    let mut rotation = rotation(10_000);
    let vertex = ProjectId::from("vertex");
    rotation.insert(&vertex, 10_001, 0);
    rotation.set(&vertex, Some(Upstream::Vertex));
    let mut asked = 0;
    for _ in 0..100 {
        rotation.deal(1, &[Upstream::Vertex], GROUPS, None, NOW, |_| {
            asked += 1;
            Fit::Fits
        });
    }
    assert_eq!(asked, 100);
}

fn foreign(number: u64, project: &str) -> ForeignTurn<'_> {
    ForeignTurn {
        instance: "elsewhere",
        number,
        project,
    }
}

#[test]
fn a_foreign_turn_is_dealt_again_once() {
    let mut rotation = rotation(4);
    rotation.deal(1, ANY, GROUPS, None, NOW, |_| Fit::Fits);
    rotation.adopt(&foreign(7, "3"));
    rotation.adopt(&foreign(7, "3"));
    rotation.adopt(&foreign(8, "3"));
    rotation.adopt(&foreign(9, "nobody"));
    let again = rotation.deal(6, ANY, GROUPS, None, NOW, |_| Fit::Fits);
    assert_eq!(names(&again), "3 3 2 3 4 1");
    rotation.adopt(&foreign(7, "3"));
    assert_eq!(
        names(&rotation.deal(1, ANY, GROUPS, None, NOW, |_| Fit::Fits)),
        "2"
    );
    // What was dealt again here is ours by now.
    rotation.give_back(again[0].turn);
    assert_eq!(
        names(&rotation.deal(2, ANY, GROUPS, None, NOW, |_| Fit::Fits)),
        "3 3"
    );
}

#[test]
fn a_foreign_turn_of_a_project_that_is_not_dealt_is_ignored() {
    let mut rotation = rotation(3);
    let two = ProjectId::from("2");
    rotation.set(&two, None);
    rotation.adopt(&foreign(1, "2"));
    rotation.set(&two, Some(Upstream::Antigravity));
    assert_eq!(
        names(&rotation.deal(3, ANY, GROUPS, None, NOW, |_| Fit::Fits)),
        "1 2 3"
    );
    rotation.adopt(&foreign(2, "2"));
    rotation.drop_returned(&two);
    assert_eq!(
        names(&rotation.deal(3, ANY, GROUPS, None, NOW, |_| Fit::Fits)),
        "1 2 3"
    );
}

#[test]
fn adopted_turns_are_bounded() {
    let mut rotation = rotation(2);
    for number in 0..3 * RETURNED_TURNS as u64 {
        rotation.adopt(&foreign(number, "1"));
    }
    assert_eq!(rotation.returned.len(), RETURNED_TURNS);
}

#[test]
fn replicas_start_at_places_of_their_own() {
    let mut rotation = rotation(8);
    let vertex = ProjectId::from("vertex");
    rotation.insert(&vertex, 9, 0);
    rotation.set(&vertex, Some(Upstream::Vertex));
    rotation.stagger(0.5);
    assert!(rotation.take_moved().is_empty(), "nobody had a turn");
    let code_assist = &[Upstream::Antigravity];
    let dealt = rotation.deal(9, code_assist, GROUPS, None, NOW, |_| Fit::Fits);
    assert_eq!(names(&dealt), "5 6 7 8 1 2 3 4 5");
    assert_eq!(rotation.take_moved().len(), 8);
    for share in [-1.0, 0.0, 1.0, 7.0] {
        rotation.stagger(share);
        let dealt = rotation.deal(8, code_assist, GROUPS, None, NOW, |_| Fit::Fits);
        assert_eq!(names(&dealt), "6 7 8 1 2 3 4 5", "{share}");
    }
}

/// Of a thousand projects all but the last rest; how many one draw asks about.
fn asked(rotation: &mut Rotation, now: Timestamp, until: Option<Timestamp>) -> usize {
    let mut asked = 0;
    let dealt = rotation.deal(1, ANY, GROUPS, None, now, |id| {
        asked += 1;
        match &**id {
            "1000" => Fit::Fits,
            _ => Fit::Rests { until },
        }
    });
    assert_eq!(names(&dealt), "1000");
    asked
}

#[test]
fn of_a_pool_that_rests_nobody_is_asked_about_twice_with_one_call() {
    let mut rotation = rotation(1_000);
    assert_eq!(asked(&mut rotation, NOW, None), 1_000);
    assert_eq!(asked(&mut rotation, NOW, None), 1_000);
    // Who is back comes first.
    let dealt = rotation.deal(2, ANY, GROUPS, None, NOW, |id| match &**id {
        "500" | "1000" => Fit::Fits,
        _ => Fit::Rests { until: None },
    });
    assert_eq!(names(&dealt), "500 1000");
}

#[test]
fn nobody_is_asked_about_before_the_rest_ends_unless_something_has_changed() {
    let mut rotation = rotation(1_000);
    let until = NOW + jiff::Span::new().seconds(60);
    assert_eq!(asked(&mut rotation, NOW, Some(until)), 1_000);
    assert_eq!(asked(&mut rotation, NOW, Some(until)), 1);
    // Another group asks about all, and has them: they rest for the first one only.
    let other = ["d", "e", "f"];
    let dealt = rotation.deal(3, ANY, other, None, NOW, |_| Fit::Fits);
    assert_eq!(names(&dealt), "1 2 3");
    rotation.reconsider(&ProjectId::from("500"));
    assert_eq!(asked(&mut rotation, NOW, Some(until)), 2);
    assert_eq!(asked(&mut rotation, NOW, Some(until)), 1);
    // One rests for longer than it was known to.
    let longer = until + jiff::Span::new().seconds(60);
    assert_eq!(asked(&mut rotation, until, Some(longer)), 1_000);
    assert_eq!(asked(&mut rotation, until, Some(longer)), 1);
    let dealt = rotation.deal(1_000, ANY, GROUPS, None, longer, |_| Fit::Fits);
    assert_eq!(names(&dealt[..4]), "4 5 6 7");
    assert_eq!(names(&dealt[996..]), "1 2 3 1000");
}

#[test]
fn what_is_remembered_of_rests_is_bounded() {
    let mut rotation = rotation(1_000);
    let until = NOW + jiff::Span::new().seconds(60);
    for model in 0..70 {
        let group = format!("model-{model}");
        let rests = Fit::Rests { until: Some(until) };
        let nobody = rotation.deal(1, ANY, [&group; 3], None, NOW, |_| rests);
        assert!(nobody.is_empty());
    }
    assert!(rotation.passed_over.len() <= PASSED_OVER * 1_000 + 1_000);
    let dealt = rotation.deal(1_000, ANY, ["model-0"; 3], None, NOW, |_| Fit::Fits);
    assert_eq!(dealt.len(), 1_000);
}

/// The rules in their plainest form: lists, searched from the front.
#[derive(Debug, Default)]
struct Model {
    waiting: Vec<(u64, i64)>,
    out: HashSet<i64>,
    upstreams: HashMap<i64, Upstream>,
    outstanding: Vec<(u64, i64)>,
    returned: Vec<(u64, i64)>,
    passed_over: HashSet<i64>,
    /// Until when, if that is known.
    resting: HashMap<i64, Option<i64>>,
    newest_round: u64,
    turn: u64,
}

impl Model {
    fn deal(&mut self, count: usize, upstreams: &[Upstream], prefer: i64, skip: i64) -> Vec<i64> {
        let mut dealt = Vec::new();
        let mut is_new_round = false;
        while dealt.len() < count {
            let is_in = |id: i64| {
                let upstream = self.upstreams.get(&id);
                !self.out.contains(&id) && upstream.is_some_and(|u| upstreams.contains(u))
            };
            let fits = |id: i64| id != skip && is_in(id) && !self.resting.contains_key(&id);
            self.returned.sort_unstable();
            self.waiting.sort_unstable();
            let waits =
                |wanted: &dyn Fn(i64) -> bool| self.waiting.iter().position(|&(_, id)| wanted(id));
            let preferred = dealt.is_empty() && prefer > 0 && fits(prefer);
            let comes_back = waits(&|id| fits(id) && self.passed_over.contains(&id));
            let returned =
                |wanted: &dyn Fn(i64) -> bool| self.returned.iter().position(|&(_, id)| wanted(id));
            let of_preferred = |id: i64| id == prefer;
            let (returned, place) = match () {
                () if preferred => (returned(&of_preferred), waits(&of_preferred)),
                () if comes_back.is_some() => (None, comes_back),
                () => (returned(&fits), waits(&fits)),
            };
            let id = if let Some(at) = returned {
                self.returned.remove(at).1
            } else {
                let new = !preferred && comes_back.is_none();
                let end = place.unwrap_or(self.waiting.len());
                if new {
                    let before = self.waiting[..end].iter().map(|&(_, id)| id);
                    let rests = |id: &i64| is_in(*id) && self.resting.contains_key(id);
                    let skipped: Vec<_> = before.filter(rests).collect();
                    self.passed_over.extend(skipped);
                }
                let Some(at) = place else { break };
                if comes_back.is_some() && !preferred {
                    if !is_new_round {
                        is_new_round = true;
                        self.newest_round = self.turn + 1;
                        self.returned.clear();
                    }
                    self.passed_over.remove(&self.waiting[at].1);
                }
                self.waiting[at].0 = self.turn + 1;
                self.waiting[at].1
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
                    model.out.insert(position);
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
                    model.newest_round = 0;
                }
            }
        }
    }
}
