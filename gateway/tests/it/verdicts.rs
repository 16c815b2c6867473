//! What Google said of a project holds at once: on turns that are in hand, on other gateways,
//! for conversations that stay, and however it was said.

use std::time::Duration;

use antigravity_proto::v1::project::State;
use fake_google::{Action, ErrorName, Fault, StreamErrorForm};
use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::json;

use crate::support::{Setup, World, error, hello, with};

const TWO: &[(&str, &str)] = &[("p1", "antigravity"), ("p2", "antigravity")];

fn staying(projects: &[(&'static str, &'static str)], gateways: usize) -> Setup {
    Setup {
        gateways,
        environment: vec![("AFFINITY", "true".to_owned())],
        ..Setup::projects(projects)
    }
}

/// Asks so often that many turns are in hand.
async fn many(world: &World, rounds: usize) {
    let body = hello();
    for _ in 0..rounds {
        let answers = join_all((0..20).map(|_| world.chat(&body))).await;
        assert!(answers.iter().all(|answer| answer.status == 200));
    }
}

#[tokio::test]
async fn a_conversation_does_not_stay_with_a_project_that_nobody_may_have() {
    let world = staying(&TWO[..1], 1).start().await;
    assert_eq!(world.chat(&hello()).await.status, 200);
    world.set_disabled("p1", true).await;
    world.clock.advance(Duration::from_secs(31));
    let before = world.asked("p1");
    for _ in 0..5 {
        assert_eq!(world.chat(&hello()).await.status, 503);
    }
    assert_eq!(world.asked("p1"), before);
}

#[tokio::test]
async fn a_conversation_hears_of_a_rest_that_another_gateway_was_told() {
    let world = staying(&TWO[..1], 2).start().await;
    for gateway in 0..2 {
        assert_eq!(world.chat_on(gateway, &hello()).await.status, 200);
    }
    world.clock.advance(Duration::from_secs(31));
    let limited = error(ErrorName::QuotaExhausted, Some(600.0));
    world.google.fake().script(Fault::once(limited));
    assert_eq!(world.chat_on(0, &hello()).await.status, 429);
    for _ in 0..500 {
        if !world.project("p1").await.cooldowns.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let before = world.asked("p1");
    for _ in 0..5 {
        let answer = world.chat_on(1, &hello()).await;
        assert_eq!(answer.status, 429, "{}", answer.body);
    }
    assert_eq!(world.asked("p1"), before);
}

#[tokio::test]
async fn a_limit_without_an_end_holds_for_turns_in_hand() {
    let world = Setup::projects(TWO).start().await;
    many(&world, 20).await;
    world
        .google
        .fake()
        .script(Fault::always(error(ErrorName::InsufficientCredits, None)).project("p1"));
    let before = world.asked("p1");
    many(&world, 5).await;
    // Those that were under way when the first was refused.
    assert!(
        world.asked("p1") - before <= 20,
        "{}",
        world.asked("p1") - before
    );
    let before = world.asked("p1");
    many(&world, 5).await;
    assert_eq!(world.asked("p1"), before);
    world
        .google
        .fake()
        .script(Fault::always(error(ErrorName::InsufficientCredits, None)).project("p2"));
    let answer = world.chat(&hello()).await;
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(
        answer.status == 429 && (20..=30).contains(&seconds),
        "{seconds}"
    );
}

#[tokio::test]
async fn a_link_too_long_to_be_reported_costs_no_verdict() {
    let world = Setup::projects(TWO).start().await;
    assert_eq!(world.chat(&hello()).await.status, 200);
    let url = format!("https://accounts.google.com/?plt={}", "x".repeat(3000));
    let info = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "VALIDATION_REQUIRED",
                      "domain": "cloudcode-pa.googleapis.com", "metadata": {"validation_url": url}});
    let body = json!({"error": {"code": 403, "message": "Verify your account to continue.",
                                "status": "PERMISSION_DENIED", "details": [info]}});
    world.google.fake().script(
        Fault::always(Action::Raw {
            status: 403,
            content_type: "application/json".into(),
            body: body.to_string(),
        })
        .project("p1"),
    );
    for _ in 0..6 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    for _ in 0..500 {
        if world.project("p1").await.state() == State::NeedsValidation {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", world.project("p1").await);
}

#[tokio::test]
async fn a_clock_that_is_ahead_shortens_no_rest() {
    let world = Setup::projects(TWO).start().await;
    assert_eq!(world.chat(&hello()).await.status, 200);
    world.clock.set(SignedDuration::from_mins(20));
    let limited = error(ErrorName::QuotaExhausted, Some(600.0));
    world
        .google
        .fake()
        .script(Fault::always(limited).project("p1"));
    let before = world.asked("p1");
    for _ in 0..20 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    assert!(world.asked("p1") - before <= 1);
}

#[tokio::test]
async fn turns_of_long_ago_are_not_used() {
    let world = Setup::projects(TWO).start().await;
    for _ in 0..4 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    // No turn that is under way is to seem drawn later.
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.set_disabled("p1", true).await;
    world.clock.advance(Duration::from_secs(600));
    let before = world.asked("p1");
    for _ in 0..4 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    assert_eq!(world.asked("p1"), before);
}

#[tokio::test]
async fn a_bare_429_in_a_stream_is_the_requests_fault_too() {
    let world = Setup::default().start().await;
    let body = with(hello(), "stream", json!(true));
    assert_eq!(world.chat(&body).await.status, 200);
    world
        .google
        .fake()
        .script(Fault::always(Action::StreamError {
            error: ErrorName::ResourceExhausted,
            after_events: 0,
            form: StreamErrorForm::Event,
        }));
    let before = world.google.fake().counters().generations();
    for expected in [3, 4] {
        assert_eq!(world.chat(&body).await.status, 429);
        let asked = world.google.fake().counters().generations() - before;
        assert_eq!(asked, expected);
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for project in ["p1", "p2", "p3"] {
        let cooldowns = world.project(project).await.cooldowns;
        assert!(cooldowns.is_empty(), "{project}: {cooldowns:?}");
    }
}

#[tokio::test]
async fn two_groups_of_models_keep_their_shares_apart() {
    let world = Setup::default().start().await;
    let claude = with(hello(), "model", json!("claude-sonnet-4-6"));
    for _ in 0..3 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    let limited = error(ErrorName::QuotaExhausted, Some(500_000.0));
    world.google.fake().script(
        Fault::once(limited)
            .project("p3")
            .model("claude-sonnet-4-6"),
    );
    for _ in 0..6 {
        assert_eq!(world.chat(&claude).await.status, 200);
    }
    let before: Vec<u64> = ["p1", "p2", "p3"].map(|p| world.asked(p)).into();
    for n in 0..60 {
        let body = if n % 2 == 0 { &claude } else { &hello() };
        assert_eq!(world.chat(body).await.status, 200);
        world.clock.advance(Duration::from_secs(7));
        world.google.fake().advance(Duration::from_secs(7));
    }
    let asked: Vec<u64> = ["p1", "p2", "p3"]
        .iter()
        .zip(before)
        .map(|(project, before)| world.asked(project) - before)
        .collect();
    assert!(
        asked.iter().all(|asked| (5..=30).contains(asked)),
        "{asked:?}"
    );
}
