//! Retries and failover before the first event, project by project.

use std::time::Duration;

use antigravity_proto::v1::project::State;
use fake_google::{Action, ErrorName, Fault};
use serde_json::json;

use crate::support::{Setup, error, eventually, hello, with};

const GENERATE: [bool; 2] = [false, true];

#[tokio::test]
async fn a_token_that_google_refuses_once_is_refreshed_once() {
    for stream in GENERATE {
        let world = Setup::projects(&[("p1", "antigravity")]).start().await;
        let body = with(hello(), "stream", json!(stream));
        assert_eq!(world.chat(&body).await.status, 200);
        let before = world.refreshes("p1");
        assert!(world.google.fake().invalidate_access_tokens("p1"));
        assert_eq!(world.chat(&body).await.status, 200);
        assert_eq!(world.refreshes("p1"), before + 1);
        assert_eq!(world.chat(&body).await.status, 200);
        assert_eq!(world.refreshes("p1"), before + 1);
    }
}

#[tokio::test]
async fn many_refused_at_once_cause_one_refresh() {
    let world = Setup::projects(&[("p1", "antigravity")]).start().await;
    assert_eq!(world.chat(&hello()).await.status, 200);
    let before = world.refreshes("p1");
    world.google.fake().invalidate_access_tokens("p1");
    let body = hello();
    let answers = futures(50, || world.chat(&body)).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(world.refreshes("p1"), before + 1);
}

async fn futures<T, F: Future<Output = T>>(count: usize, make: impl Fn() -> F) -> Vec<T> {
    futures_util::future::join_all((0..count).map(|_| make())).await
}

#[tokio::test]
async fn a_project_that_is_refused_for_ever_costs_no_client_and_few_refreshes() {
    let world = Setup::projects(&[("p1", "antigravity"), ("p2", "antigravity")])
        .start()
        .await;
    world.google.fake().script(
        Fault::always(error(ErrorName::Unauthenticated, None))
            .project("p1")
            .at(fake_google::Endpoint::GenerateContent),
    );
    world.google.fake().script(
        Fault::always(error(ErrorName::Unauthenticated, None))
            .project("p1")
            .at(fake_google::Endpoint::StreamGenerateContent),
    );
    for n in 0..60 {
        let answer = world
            .chat(&with(hello(), "stream", json!(n % 2 == 0)))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    // The first token, and the one that was to mend it.
    assert!(world.refreshes("p1") <= 2, "{}", world.refreshes("p1"));
    assert!(world.asked("p2") >= 60);
    // A minute later it is given another chance, once.
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(61));
        for _ in 0..10 {
            assert_eq!(world.chat(&hello()).await.status, 200);
        }
    }
    assert!(world.refreshes("p1") <= 5, "{}", world.refreshes("p1"));
}

#[tokio::test]
async fn a_stated_403_refreshes_nothing_and_the_client_sees_no_403() {
    for name in [
        ErrorName::ServiceDisabled,
        ErrorName::TermsOfService,
        ErrorName::ValidationRequired,
        ErrorName::SubscriptionRequired,
    ] {
        let world = Setup::projects(&[("p1", "antigravity"), ("p2", "antigravity")])
            .start()
            .await;
        world
            .google
            .fake()
            .script(Fault::always(error(name, None)).project("p1"));
        for _ in 0..6 {
            assert_eq!(world.chat(&hello()).await.status, 200);
        }
        assert!(world.refreshes("p1") <= 1, "{name:?}");
        world
            .google
            .fake()
            .script(Fault::always(error(name, None)).project("p2"));
        let answer = world.chat(&hello()).await;
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert_eq!(
            answer.json()["error"]["code"],
            "no_usable_project",
            "{name:?}"
        );
        // The request's id is random, and may hold any digits.
        let message = answer.json()["error"]["message"].to_string();
        let (message, _) = message.split_once("(request id").unwrap();
        assert!(!message.contains("403"), "{message}");
    }
}

#[tokio::test]
async fn a_stated_rest_is_obeyed_and_told_when_all_rest() {
    let world = Setup::projects(&[("p1", "antigravity"), ("p2", "antigravity")])
        .start()
        .await;
    let limited =
        |project: &str| Fault::once(error(ErrorName::RateLimited, Some(40.0))).project(project);
    world.google.fake().script(limited("p1"));
    for _ in 0..10 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    assert_eq!(world.asked("p1"), 1, "it rests");
    world.google.fake().script(limited("p2"));
    for _ in 0..3 {
        let answer = world.chat(&hello()).await;
        assert_eq!(answer.status, 429, "{}", answer.body);
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((30..=40).contains(&seconds), "{seconds}");
        assert_eq!(answer.json()["error"]["type"], "rate_limit_error");
    }
    assert_eq!(world.asked("p1") + world.asked("p2"), 12);
    world.clock.advance(Duration::from_secs(41));
    assert_eq!(world.chat(&hello()).await.status, 200);
}

#[tokio::test]
async fn a_bare_429_of_all_is_the_requests_fault_and_rests_nobody() {
    let world = Setup::default().start().await;
    world
        .google
        .fake()
        .script(Fault::once(error(ErrorName::ResourceExhausted, None)).times(3));
    let answer = world.chat(&hello()).await;
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").is_some());
    for _ in 0..6 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    for project in ["p1", "p2", "p3"] {
        assert!(world.asked(project) >= 2, "{project} rests");
    }
}

#[tokio::test]
async fn a_bare_429_of_one_is_its_own() {
    let world = Setup::default().start().await;
    world
        .google
        .fake()
        .script(Fault::once(error(ErrorName::ResourceExhausted, None)).project("p1"));
    for _ in 0..6 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    assert_eq!(world.asked("p1"), 1);
}

#[tokio::test]
async fn who_repeats_a_request_at_fault_asks_one_project_only() {
    let world = Setup::default().start().await;
    world
        .google
        .fake()
        .script(Fault::always(error(ErrorName::ResourceExhausted, None)));
    let asked = || world.google.fake().counters().generations();
    for expected in [3, 4, 5] {
        assert_eq!(world.chat(&hello()).await.status, 429);
        assert_eq!(asked(), expected);
    }
    let other = with(hello(), "model", json!("gemini-2.5-pro"));
    assert_eq!(world.chat(&other).await.status, 429);
    assert_eq!(asked(), 8, "another model is another matter");
    world.clock.advance(Duration::from_secs(11));
    assert_eq!(world.chat(&hello()).await.status, 429);
    assert_eq!(asked(), 11);
}

#[tokio::test]
async fn googles_front_end_is_left_in_peace_when_it_asks_for_it() {
    let world = Setup::default().start().await;
    world
        .google
        .fake()
        .script(Fault::once(error(ErrorName::HtmlTooManyRequests, None)));
    for _ in 0..5 {
        let answer = world.chat(&hello()).await;
        assert_eq!(answer.status, 429, "{}", answer.body);
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((50..=60).contains(&seconds), "{seconds}");
    }
    assert_eq!(world.google.fake().counters().generations(), 1);
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(world.chat(&hello()).await.status, 200);
}

#[tokio::test]
async fn a_suspended_project_is_asked_nothing_more() {
    let setup = Setup {
        gateways: 2,
        ..Setup::default()
    };
    let world = setup.start().await;
    for n in 0..12 {
        assert_eq!(world.chat_on(n % 2, &hello()).await.status, 200);
    }
    let before = world.asked("p1");
    world
        .google
        .fake()
        .script(Fault::always(error(ErrorName::TermsOfService, None)).project("p1"));
    for n in 0..1000 {
        let body = with(hello(), "stream", json!(n % 3 == 0));
        assert_eq!(world.chat_on(n % 2, &body).await.status, 200);
    }
    let asked = world.asked("p1") - before;
    assert!((1..=2).contains(&asked), "once by each gateway: {asked}");
    let shown = world.project("p1").await;
    assert_eq!(shown.state(), State::Suspended);
    assert!(shown.state_reason.contains("appeal"), "{shown:?}");
}

#[tokio::test]
async fn a_denied_project_goes_last_until_it_is_mended() {
    let world = Setup::projects(&[("p1", "antigravity"), ("p2", "antigravity")])
        .start()
        .await;
    world
        .google
        .fake()
        .script(Fault::always(error(ErrorName::ServiceDisabled, None)).project("p1"));
    for _ in 0..10 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    // The report is under way while the next requests come.
    assert!(world.asked("p1") <= 3, "{}", world.asked("p1"));
    let shown = world.project("p1").await;
    assert_eq!(shown.state(), State::Denied);
    assert!(shown.action_url.contains("project=p1"), "{shown:?}");
    assert!(shown.errors_last_hour >= 1 && shown.requests_last_hour >= 1);

    world.google.fake().clear_script();
    world.clock.advance(Duration::from_secs(31));
    let before = world.asked("p1");
    for _ in 0..10 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    assert!(
        world.asked("p1") - before >= 4,
        "it is tried again by itself"
    );
    for _ in 0..500 {
        if world.project("p1").await.state() == State::Active {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it stays denied");
}

#[tokio::test]
async fn failures_of_google_and_of_the_connection_are_tried_elsewhere() {
    for stream in GENERATE {
        for action in [
            error(ErrorName::Internal, None),
            error(ErrorName::Overloaded, None),
            error(ErrorName::CapacityExhausted, None),
            Action::Reset { after_events: 0 },
            Action::Close { after_events: 0 },
            Action::EmptyBody,
            Action::RefuseStream,
            Action::ResetStream { after_events: 0 },
            Action::Truncate { after_events: 0 },
            Action::StreamError {
                error: ErrorName::Overloaded,
                after_events: 0,
                form: fake_google::StreamErrorForm::Raw,
            },
        ] {
            let world = Setup::projects(&[("p1", "antigravity"), ("p2", "antigravity")])
                .start()
                .await;
            let told = format!("{action:?}");
            world.google.fake().script(Fault::once(action));
            let answer = world.chat(&with(hello(), "stream", json!(stream))).await;
            assert!(
                answer.status == 200 && answer.body.contains("Hello"),
                "{told}: {}",
                answer.body
            );
        }
    }
}

#[tokio::test]
async fn one_project_alone_is_asked_again_after_a_while() {
    let world = Setup::projects(&[("p1", "antigravity")]).start().await;
    world
        .google
        .fake()
        .script(Fault::once(error(ErrorName::Overloaded, None)).times(2));
    assert_eq!(world.chat(&hello()).await.status, 200);
    world
        .google
        .fake()
        .script(Fault::always(error(ErrorName::Overloaded, None)));
    let asked = world.asked("p1");
    let answer = world.chat(&hello()).await;
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].clone()),
        (503, json!("upstream_error"))
    );
    assert!(answer.body.contains("overloaded"), "{}", answer.body);
    assert_eq!(world.asked("p1") - asked, 6, "MAX_ATTEMPTS");
}

#[tokio::test]
async fn googles_400_reaches_the_client_and_nobody_is_asked_again() {
    let world = Setup::default().start().await;
    world
        .google
        .fake()
        .script(Fault::always(error(ErrorName::ContextLength, None)));
    let answer = world.chat(&hello()).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["code"], "context_length_exceeded");
    assert!(answer.body.contains("exceeds the maximum number of tokens"));
    assert_eq!(world.google.fake().counters().generations(), 1);
}

#[tokio::test]
async fn the_pool_hears_of_every_attempt_once() {
    let world = Setup::projects(&[("p1", "antigravity"), ("p2", "antigravity")])
        .start()
        .await;
    // A rest that only the token-service knows of, on a second gateway: the first has told it.
    let mut world = world;
    world.add_gateway().await;
    world
        .google
        .fake()
        .script(Fault::once(error(ErrorName::QuotaExhausted, Some(3600.0))).project("p1"));
    for _ in 0..4 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let before = world.asked("p1");
    for _ in 0..8 {
        assert_eq!(world.chat_on(1, &hello()).await.status, 200);
    }
    assert_eq!(
        world.asked("p1"),
        before,
        "the other gateway knows that it rests"
    );
    eventually("p2 served", || world.asked("p2") >= 11).await;
}

#[tokio::test]
async fn a_failure_is_tried_again_while_the_others_rest_are_disabled_or_unknown() {
    let mut world = Setup::projects(&[("p1", "antigravity"), ("p2", "antigravity")])
        .start()
        .await;
    let rests = error(ErrorName::QuotaExhausted, Some(3600.0));
    world.google.fake().script(Fault::once(rests).project("p1"));
    for _ in 0..4 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    for _ in 0..2 {
        world
            .google
            .fake()
            .script(Fault::once(error(ErrorName::Overloaded, None)));
        let answer = world.chat(&hello()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        // The second time without a token-service to ask.
        if world.token_service.is_some() {
            world.stop_tokens().await;
        }
    }
}

#[tokio::test]
async fn the_earliest_end_of_all_rests_is_told() {
    let world = Setup::projects(&[("p1", "antigravity"), ("p2", "antigravity")])
        .start()
        .await;
    for (project, seconds) in [("p1", 30.0), ("p2", 360_000.0)] {
        let rests = error(ErrorName::RateLimited, Some(seconds));
        world
            .google
            .fake()
            .script(Fault::always(rests).project(project));
    }
    for _ in 0..3 {
        let answer = world.chat(&hello()).await;
        let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!(answer.status == 429 && after <= 30, "{after}");
    }
}

#[tokio::test]
async fn of_a_pool_that_rests_or_is_disabled_the_rest_is_told_and_nobody_disabled_goes_on() {
    let world = Setup::projects(&[("p1", "antigravity"), ("p2", "antigravity")])
        .start()
        .await;
    world
        .google
        .fake()
        .script(Fault::always(error(ErrorName::QuotaExhausted, None)).project("p1"));
    // One rests by now, and the other one has all turns.
    for _ in 0..4 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    world.set_disabled("p2", true).await;
    // What was drawn before goes back.
    world.clock.advance(Duration::from_secs(6));
    let before = world.asked("p2");
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(world.chat(&hello()).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(world.asked("p2") <= before + 1, "it was disabled");
    for answer in &answers[1..] {
        assert_eq!(answer.status, 429, "{}", answer.body);
        assert!(answer.header("retry-after").is_some());
        assert!(!answer.body.contains("disabled"), "{}", answer.body);
    }
}
