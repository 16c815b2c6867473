//! Pools whose projects log in with service-account keys and API keys, beside refresh
//! tokens.

use std::time::Duration;

use antigravity_proto::v1::{self, project::State};
use fake_google::{API_KEY, Action, Config, Fault, ReceivedRequest, ServiceAccount, Upstream};
use serde_json::json;

use crate::support::{Setup, World, hello, with};

const SECOND_KEY: &str = "AIzaSecondFakeApiKey";
const ROBOT: &str = "robot@robots.iam.gserviceaccount.com";

/// A world with these projects of refresh tokens.
async fn world(projects: &[(&'static str, &'static str)]) -> World {
    let setup = Setup {
        google: Config {
            service_accounts: vec![ServiceAccount::of_project("robots")],
            api_keys: vec![API_KEY.to_owned(), SECOND_KEY.to_owned()],
            keep_requests: 200,
            ..Config::default()
        },
        environment: vec![(
            "UPSTREAM_HEADERS",
            // Code Assist refuses a project beside its own; the others get the right one.
            match projects {
                [] => json!({"x-goog-user-project": "stray", "authorization": "Bearer stray"}),
                _ => json!({"x-goog-api-key": "stray"}),
            }
            .to_string(),
        )],
        ..Setup::projects(projects)
    };
    setup.start().await
}

async fn add_robot(world: &World) {
    let token_uri = format!("{}/token", world.google.base_url());
    world
        .create(v1::CreateProjectRequest {
            service_account_key: ServiceAccount::of_project("robots").key_file(&token_uri),
            ..Default::default()
        })
        .await;
}

async fn add_key(world: &World, id: &str, key: &str) {
    world
        .create(v1::CreateProjectRequest {
            project: Some(v1::Project {
                id: id.to_owned(),
                ..Default::default()
            }),
            api_key: key.to_owned(),
            ..Default::default()
        })
        .await;
}

fn generations(world: &World) -> Vec<ReceivedRequest> {
    let all = world.google.fake().requests();
    all.into_iter()
        .filter(|request| request.endpoint.generates())
        .collect()
}

fn asked_of_gemini(world: &World) -> usize {
    let all = generations(world);
    all.iter()
        .filter(|request| request.upstream == Upstream::Gemini)
        .count()
}

#[tokio::test]
async fn every_kind_serves_on_its_upstream_and_shows_one_credential() {
    let world = world(&[("p1", "antigravity"), ("p2", "gemini")]).await;
    add_robot(&world).await;
    add_key(&world, "key", API_KEY).await;
    for n in 0..40 {
        let answer = world
            .chat(&with(hello(), "stream", json!(n % 2 == 0)))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let requests = generations(&world);
    assert_eq!(requests.len(), 40, "nothing was refused");
    let (mut keys, mut vertex) = (0, 0);
    for request in requests {
        let has = |name: &str| request.headers.contains_key(name);
        let key = has("x-goog-api-key");
        assert_ne!(key, has("authorization"), "{:?}", request.headers);
        if key {
            assert_eq!(request.upstream, Upstream::Gemini);
            assert!(!has("x-goog-user-project"), "{:?}", request.headers);
            keys += 1;
        }
        vertex += usize::from(request.upstream == Upstream::Vertex);
    }
    assert!(keys >= 8 && vertex >= 8, "{keys} {vertex}");
    assert_eq!(world.google.fake().counters().refreshes(ROBOT).calls, 1);
}

#[tokio::test]
async fn an_api_key_that_google_refuses_is_left_and_told_of() {
    let world = world(&[("p1", "antigravity")]).await;
    add_key(&world, "key", API_KEY).await;
    for _ in 0..4 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    let before = asked_of_gemini(&world);
    assert!(world.google.fake().revoke(API_KEY));
    for _ in 0..20 {
        let answer = world.chat(&hello()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    assert_eq!(asked_of_gemini(&world), before + 1, "one refusal is enough");
    let shown = world.project("key").await;
    assert_eq!(shown.state(), State::NeedsLogin);
    assert!(
        shown
            .state_reason
            .starts_with("Google refuses the API key: API key not valid. Please pass a valid"),
        "{}",
        shown.state_reason
    );
}

#[tokio::test]
async fn clients_are_not_told_of_our_keys() {
    let world = world(&[]).await;
    add_key(&world, "key", API_KEY).await;
    assert!(world.google.fake().revoke(API_KEY));
    let none = world.chat(&hello()).await;
    assert_eq!(none.status, 503, "{}", none.body);
    assert_eq!(none.json()["error"]["code"], "no_usable_project");
    assert!(!none.body.contains(API_KEY));
}

#[tokio::test]
async fn a_key_that_may_not_even_list_models_is_told_of() {
    let world = world(&[("p1", "antigravity")]).await;
    add_key(&world, "key", "AIzaNobodys").await;
    for _ in 0..4 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    assert_eq!(world.get("/v1/models").await.status, 200);
    for _ in 0..500 {
        if world.project("key").await.state() == State::NeedsLogin {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody was told of the key");
}

#[tokio::test]
async fn a_refusal_of_what_the_client_named_condemns_no_key() {
    let world = world(&[]).await;
    add_key(&world, "key", API_KEY).await;
    let body = json!({"error": {
        "code": 403, "status": "PERMISSION_DENIED",
        "message": "You do not have permission to access the File abc or it may not exist.",
    }});
    world.google.fake().script(Fault::once(Action::Raw {
        status: 403,
        content_type: "application/json".into(),
        body: body.to_string(),
    }));
    assert_eq!(world.chat(&hello()).await.status, 503);
    assert_eq!(world.chat(&hello()).await.status, 200);
    assert_ne!(world.project("key").await.state(), State::NeedsLogin);
}

#[tokio::test]
async fn a_key_that_was_replaced_is_not_used_on() {
    let world = world(&[]).await;
    add_key(&world, "key", API_KEY).await;
    assert_eq!(world.chat(&hello()).await.status, 200);
    assert!(world.google.fake().revoke(API_KEY));
    assert_eq!(world.chat(&hello()).await.status, 503);
    world
        .update(
            v1::UpdateProjectRequest {
                project: Some(v1::Project {
                    id: "key".into(),
                    ..Default::default()
                }),
                api_key: SECOND_KEY.into(),
                ..Default::default()
            },
            &["api_key"],
        )
        .await;
    for _ in 0..5 {
        let answer = world.chat(&hello()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

#[tokio::test]
async fn keys_serve_on_without_the_token_service_for_as_long_as_it_takes() {
    let mut world = world(&[]).await;
    add_key(&world, "key", API_KEY).await;
    assert_eq!(world.chat(&hello()).await.status, 200);
    world.stop_tokens().await;
    world.clock.advance(Duration::from_secs(2 * 86_400));
    for _ in 0..3 {
        let answer = world.chat(&hello()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    assert_eq!(world.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_key_that_google_repeats_reaches_no_client() {
    let world = world(&[]).await;
    add_key(&world, "key", API_KEY).await;
    assert_eq!(world.chat(&hello()).await.status, 200);
    let fake = world.google.fake();
    for (status, code) in [
        (400, "INVALID_ARGUMENT"),
        (500, "INTERNAL"),
        (404, "NOT_FOUND"),
    ] {
        let error = json!({"error": {"code": status, "status": code,
            "message": format!("Something about api_key:{API_KEY} is wrong.")}});
        fake.script(Fault::always(Action::Raw {
            status,
            content_type: "application/json".to_owned(),
            body: error.to_string(),
        }));
        let answer = world.chat(&hello()).await;
        assert!(answer.status >= 400, "{}", answer.body);
        assert!(!answer.body.contains(API_KEY), "{}", answer.body);
        fake.clear_script();
        // Within a stream too.
        fake.script(Fault::always(Action::Raw {
            status: 200,
            content_type: "text/event-stream".to_owned(),
            body: format!("data: {error}\r\n\r\n"),
        }));
        let answer = world.chat(&with(hello(), "stream", json!(true))).await;
        assert!(!answer.body.contains(API_KEY), "{}", answer.body);
        fake.clear_script();
    }
}

#[tokio::test]
async fn what_a_stream_says_of_a_file_condemns_no_key() {
    let world = world(&[]).await;
    add_key(&world, "key", API_KEY).await;
    assert_eq!(world.chat(&hello()).await.status, 200);
    let error = json!({"error": {"code": 403, "status": "PERMISSION_DENIED",
        "message": "You do not have permission to access the File abc or it may not exist."}});
    let fake = world.google.fake();
    fake.script(Fault::once(Action::Raw {
        status: 200,
        content_type: "text/event-stream".to_owned(),
        body: format!("data: {error}\r\n\r\n"),
    }));
    world.chat(&with(hello(), "stream", json!(true))).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let shown = world.project("key").await;
    assert_ne!(shown.state(), State::NeedsLogin, "{}", shown.state_reason);
}
