//! Who rests when it is its turn: others are dealt in its stead, until it comes back.

use super::*;
use crate::rotation::rests::REMEMBERED;

/// Of five, three come back at the same time, and are dealt as `deal` does; what two of them and
/// the others return is dealt again.
fn returned_after_rests(deal: impl FnOnce(&mut Rotation) -> Vec<Dealt>) {
    let mut rotation = rotation(5);
    let resting = |id: &ProjectId| match &**id {
        "1" | "2" | "3" => Fit::Rests { until: None },
        _ => Fit::Fits,
    };
    let without_them = rotation.deal(2, ANY, GROUPS, None, NOW, resting);
    assert_eq!(names(&without_them), "4 5");
    let back = deal(&mut rotation);
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
fn what_those_who_came_back_together_return_is_dealt_again() {
    returned_after_rests(|rotation| rotation.deal(3, ANY, GROUPS, None, NOW, |_| Fit::Fits));
}

#[test]
fn so_it_is_when_they_were_dealt_one_by_one() {
    returned_after_rests(|rotation| {
        let mut next = || rotation.deal(1, ANY, GROUPS, None, NOW, |_| Fit::Fits);
        [next(), next(), next()].concat()
    });
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
fn those_who_come_back_at_once_are_asked_about_once_and_when_they_are_dealt() {
    let mut rotation = rotation(1_000);
    let until = NOW + jiff::Span::new().seconds(60);
    asked(&mut rotation, NOW, Some(until));
    // Of another group, so that they have waited less long than those who never rested.
    rotation.deal(3, ANY, ["d", "e", "f"], None, NOW, |_| Fit::Fits);
    let mut asked = Vec::new();
    let mut order = Vec::new();
    for _ in 0..1_000 {
        let mut count = 0;
        order.extend(rotation.deal(1, ANY, GROUPS, None, until, |_| {
            count += 1;
            Fit::Fits
        }));
        asked.push(count);
    }
    assert!(asked[0] <= 999 + 1, "{}", asked[0]);
    assert_eq!(asked[1..].iter().max(), Some(&1));
    assert_eq!(names(&order[..3]), "4 5 6");
    assert_eq!(names(&order[995..]), "999 1 2 3 1000");
}

#[test]
fn who_is_back_and_rests_once_more_is_not_asked_about_until_that_ends() {
    let mut rotation = rotation(1_000);
    let until = NOW + jiff::Span::new().seconds(60);
    let later = until + jiff::Span::new().seconds(60);
    asked(&mut rotation, NOW, Some(until));
    let first = rotation.deal(1, ANY, GROUPS, None, until, |_| Fit::Fits);
    assert_eq!(names(&first), "1");
    let mut one_rests = |now, end| {
        let mut was_asked = false;
        let dealt = rotation.deal(1, ANY, GROUPS, None, now, |id| match &**id {
            "2" => {
                was_asked = true;
                Fit::Rests { until: end }
            }
            _ => Fit::Fits,
        });
        (names(&dealt), was_asked)
    };
    assert_eq!(one_rests(until, None), ("3".to_owned(), true));
    assert_eq!(one_rests(until, Some(later)), ("4".to_owned(), true));
    assert_eq!(one_rests(until, Some(later)), ("5".to_owned(), false));
    let dealt = rotation.deal(2, ANY, GROUPS, None, later, |_| Fit::Fits);
    assert_eq!(names(&dealt), "2 6");
}

#[test]
fn nobody_out_of_the_rotation_is_waited_for() {
    let mut rotation = rotation(3);
    let upstream = Some(Upstream::Antigravity);
    let (one, two, three) = ("1".into(), "2".into(), "3".into());
    rotation.deal(1, ANY, GROUPS, None, NOW, |id| match &**id {
        "3" => Fit::Fits,
        _ => Fit::Rests { until: None },
    });
    rotation.set(&one, None);
    let due = |rotation: &Rotation| -> Vec<ProjectId> {
        let due = rotation.passed_over.due(GROUPS[0], NOW);
        due.map(Arc::clone).collect()
    };
    assert_eq!(due(&rotation), [Arc::clone(&two)]);
    rotation.remove(&two);
    assert_eq!(due(&rotation).len(), 0);
    assert_eq!(rotation.remembered, 0);
    rotation.set(&three, None);
    for project in [&one, &three] {
        rotation.set(project, upstream);
    }
    assert_eq!(
        names(&rotation.deal(3, ANY, GROUPS, None, NOW, |_| Fit::Fits)),
        "1 3 1"
    );
}

#[test]
fn what_is_remembered_of_rests_is_bounded() {
    let bound = REMEMBERED * 1_000 + 1_000;
    let until = NOW + jiff::Span::new().seconds(60);
    for are_back in [false, true] {
        let mut rotation = rotation(1_000);
        for model in 0..70 {
            let group = format!("model-{model}");
            let rests = Fit::Rests { until: Some(until) };
            let nobody = rotation.deal(1, ANY, [&group; 3], None, NOW, |_| rests);
            assert!(nobody.is_empty());
            if are_back {
                rotation.deal(1, ANY, [&group; 3], None, until, |_| Fit::Fits);
            }
            assert!(rotation.remembered <= bound);
        }
        let all = rotation.members.values();
        let remembered: usize = all.map(|member| member.groups.len()).sum();
        assert_eq!(remembered, rotation.remembered);
        let dealt = rotation.deal(1_000, ANY, ["model-0"; 3], None, NOW, |_| Fit::Fits);
        assert_eq!(dealt.len(), 1_000);
    }
}
