//! The order of turns, by examples and against a plainer model.

mod model;
mod replicas;
mod rests;

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
