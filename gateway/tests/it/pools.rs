//! Pools of several upstreams: asked only for what they list, and all of them served.

use fake_google::{Action, Config, Endpoint, Fault, Model, Upstream};
use serde_json::json;

use crate::support::{Setup, hello, with};

fn models() -> Config {
    use Upstream::{CodeAssist, Gemini, Vertex};
    Config {
        models: vec![
            Model::new("everywhere", "a", &[CodeAssist, Gemini, Vertex]),
            Model::new("two-of-three", "b", &[Gemini, Vertex]),
            Model::new("code-assist-only", "c", &[CodeAssist]),
            Model::new("gemini-only", "d", &[Gemini]),
            Model::new("vertex-only", "e", &[Vertex]),
        ],
        ..Config::default()
    }
}

#[tokio::test]
async fn models_that_one_two_or_all_upstreams_list_are_found() {
    let setup = Setup {
        google: models(),
        ..Setup::projects(&[("p1", "antigravity"), ("p2", "gemini"), ("p3", "vertex")])
    };
    let world = setup.start().await;
    let names = [
        "everywhere",
        "two-of-three",
        "code-assist-only",
        "gemini-only",
        "vertex-only",
    ];
    for n in 0..300 {
        let body = with(
            with(hello(), "model", json!(names[n % 5])),
            "stream",
            json!(n % 2 == 0),
        );
        let answer = world.chat(&body).await;
        assert_eq!(answer.status, 200, "{}: {}", names[n % 5], answer.body);
    }
    let statuses = world.google.fake().counters().statuses;
    assert_eq!(statuses.get(&404), None, "{statuses:?}");
    for project in ["p1", "p2", "p3"] {
        assert!(
            world.asked(project) >= 60,
            "{project}: {}",
            world.asked(project)
        );
    }
    let unknown = world.chat(&with(hello(), "model", json!("nowhere"))).await;
    assert_eq!(
        (unknown.status, unknown.json()["error"]["code"].clone()),
        (404, json!("model_not_found"))
    );
}

#[tokio::test]
async fn asking_for_the_lists_of_models_costs_nobody_a_turn() {
    let setup = Setup {
        google: models(),
        ..Setup::projects(&[
            ("p1", "antigravity"),
            ("p2", "antigravity"),
            ("p3", "gemini"),
        ])
    };
    let world = setup.start().await;
    // No token is in hand, nor any list.
    for _ in 0..9 {
        let body = with(hello(), "model", json!("everywhere"));
        assert_eq!(world.chat(&body).await.status, 200);
    }
    let mut sequence = world.google.fake().counters().project_sequence;
    for round in sequence.chunks_mut(3) {
        round.sort_unstable();
        assert_eq!(round, ["p1", "p2", "p3"]);
    }
}

#[tokio::test]
async fn alternating_upstreams_starve_nobody() {
    let setup = Setup {
        google: models(),
        ..Setup::projects(&[
            ("a1", "antigravity"),
            ("g1", "gemini"),
            ("a2", "antigravity"),
            ("g2", "gemini"),
        ])
    };
    let world = setup.start().await;
    for n in 0..80 {
        let model = if n % 2 == 0 {
            "code-assist-only"
        } else {
            "gemini-only"
        };
        assert_eq!(
            world
                .chat(&with(hello(), "model", json!(model)))
                .await
                .status,
            200
        );
    }
    for project in ["a1", "a2", "g1", "g2"] {
        let asked = world.asked(project);
        assert!((17..=23).contains(&asked), "{project}: {asked}");
    }
}

#[tokio::test]
async fn an_empty_pool_says_what_to_do() {
    let world = Setup::projects(&[]).start().await;
    for answer in [world.chat(&hello()).await, world.get("/v1/models").await] {
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert_eq!(answer.json()["error"]["code"], "no_usable_project");
        assert!(
            answer.body.contains("antigravity-gateway import"),
            "{}",
            answer.body
        );
    }
    let ready = world
        .client
        .get(world.url(0, "/readyz"))
        .send()
        .await
        .unwrap();
    assert_eq!(ready.status(), 200);
}

#[tokio::test]
async fn an_oauth_endpoint_that_fails_is_told_apart_from_a_token_service_that_is_away() {
    let world = Setup::projects(&[("p1", "antigravity")]).start().await;
    let fails = Action::Raw {
        status: 500,
        content_type: "text/html".to_owned(),
        body: "<html>".to_owned(),
    };
    world
        .google
        .fake()
        .script(Fault::always(fails).at(Endpoint::OAuthToken));
    let answer = world.chat(&hello()).await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert_eq!(answer.json()["error"]["code"], "no_usable_project");
    assert!(answer.body.contains("OAuth endpoint"), "{}", answer.body);
    world.google.fake().clear_script();
    world.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(world.chat(&hello()).await.status, 200);
}
