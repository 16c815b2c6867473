//! What each of Google's errors does to a pool, told as a table in docs/pool.md.
//! `UPDATE_DOCUMENTS=1 cargo test -p gateway` rewrites it.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf, time::Duration};

use antigravity_proto::v1::{self, project::State};
use fake_google::{Action, Endpoint, ErrorForm, ErrorName, Fault, StreamErrorForm};
use futures_util::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};

use crate::support::{Answer, Setup, World, hello, with};

const BEGIN: &str = "<!-- answers: begin -->\n";
const END: &str = "<!-- answers: end -->\n";

/// One of Google's answers, and how it is told.
struct Case {
    told: &'static str,
    upstream: &'static str,
    action: Action,
    /// At the token endpoint instead.
    at_oauth: bool,
    stream: bool,
}

fn error(told: &'static str, upstream: &'static str, error: ErrorName) -> Case {
    Case {
        told,
        upstream,
        action: Action::Error {
            error,
            form: ErrorForm::Object,
            retry_after: None,
        },
        at_oauth: false,
        stream: false,
    }
}

fn oauth(told: &'static str, name: ErrorName) -> Case {
    Case {
        at_oauth: true,
        ..error(told, "antigravity", name)
    }
}

fn formed(told: &'static str, name: ErrorName, form: ErrorForm) -> Case {
    Case {
        action: Action::Error {
            error: name,
            form,
            retry_after: None,
        },
        ..error(told, "antigravity", name)
    }
}

fn in_stream(told: &'static str, form: StreamErrorForm) -> Case {
    Case {
        action: Action::StreamError {
            error: ErrorName::Overloaded,
            after_events: 0,
            form,
        },
        stream: true,
        ..error(told, "antigravity", ErrorName::Overloaded)
    }
}

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    use ErrorName as E;
    let (ag, gemini, vertex) = ("antigravity", "gemini", "vertex");
    vec![
        error("401 `ACCESS_TOKEN_EXPIRED`", ag, E::Unauthenticated),
        error("401 `CREDENTIALS_MISSING`", ag, E::CredentialsMissing),
        error("403 without a reason", ag, E::PermissionDenied),
        error("403 `VALIDATION_REQUIRED`", ag, E::ValidationRequired),
        error("403 terms of service", ag, E::TermsOfService),
        error("403 `SERVICE_DISABLED`", ag, E::ServiceDisabled),
        error("403 `SERVICE_DISABLED`", gemini, E::ServiceDisabled),
        error("403 `CONSUMER_INVALID`", ag, E::ConsumerInvalid),
        error("403 `SUBSCRIPTION_REQUIRED`", ag, E::SubscriptionRequired),
        error("403 `IAM_PERMISSION_DENIED`", vertex, E::IamPermissionDenied),
        error("403 `SECURITY_POLICY_VIOLATED`", vertex, E::SecurityPolicyViolated),
        error("403 `UNSUPPORTED_CLIENT`", ag, E::UnsupportedClient),
        error("400 client no longer supported", ag, E::OldClient),
        error("400 `API_KEY_INVALID`", gemini, E::ApiKeyInvalid),
        error("400 location not supported", gemini, E::UserLocation),
        error("400 `INVALID_ARGUMENT`", ag, E::InvalidArgument),
        error("400 context length", ag, E::ContextLength),
        error("400 from Claude, nested", ag, E::ClaudePromptTooLong),
        error("404", ag, E::NotFound),
        error("404", gemini, E::NotFound),
        error("404 as HTML", ag, E::HtmlNotFound),
        error("429 A: `RATE_LIMIT_EXCEEDED`, for half a second", ag, E::RateLimited),
        error("429 B: `QUOTA_EXHAUSTED`, for a week", ag, E::QuotaExhausted),
        error("429 B2: \"Individual quota reached\", in words", ag, E::IndividualQuota),
        error("429 C: bare", ag, E::ResourceExhausted),
        error("429 D: `INSUFFICIENT_G1_CREDITS_BALANCE`", ag, E::InsufficientCredits),
        error("429 E: shared capacity", vertex, E::VertexExhausted),
        error("429 F: `QuotaFailure` and `RetryInfo`", gemini, E::GeminiQuota),
        error("429 G: `RATE_LIMIT_EXCEEDED`, no end stated", vertex, E::ProjectRateLimited),
        error("429 as HTML", ag, E::HtmlTooManyRequests),
        formed("429 B in an array", E::QuotaExhausted, ErrorForm::Array),
        formed("429 B in a message", E::QuotaExhausted, ErrorForm::Nested),
        error("503 `MODEL_CAPACITY_EXHAUSTED`, `RetryInfo` 40 s", ag, E::CapacityExhausted),
        error("503 `MODEL_CAPACITY_EXHAUSTED`", ag, E::CapacityExhaustedBare),
        error("503 overloaded", ag, E::Overloaded),
        error("503 without a body", ag, E::Empty),
        error("500 `INTERNAL`", ag, E::Internal),
        error("500 `UNKNOWN`", ag, E::Unknown),
        error("502 as HTML", ag, E::HtmlBadGateway),
        error("504 `DEADLINE_EXCEEDED`", ag, E::DeadlineExceeded),
        error("499 `CANCELLED`", ag, E::Cancelled),
        in_stream("error in a stream, raw JSON", StreamErrorForm::Raw),
        in_stream("error in a stream, as an event", StreamErrorForm::Event),
        oauth("OAuth: `invalid_grant`", E::InvalidGrant),
        oauth("OAuth: account deleted", E::AccountDeleted),
        oauth("OAuth: `invalid_rapt`", E::InvalidRapt),
        oauth("OAuth: `invalid_client`", E::InvalidClient),
        oauth("OAuth: `unauthorized_client`", E::UnauthorizedClient),
        oauth("OAuth: `client_secret is missing`", E::ClientSecretMissing),
        Case {
            action: Action::Raw {
                status: 200,
                content_type: "text/html".into(),
                body: "<html>sign in to this network</html>".into(),
            },
            ..oauth("OAuth: garbage", E::Internal)
        },
    ]
}

const PROJECTS: [&str; 3] = ["p1", "p2", "p3"];

/// What came of a chat: what its client saw, and the first project's state after it.
struct Outcome {
    client: String,
    state: String,
}

async fn play(case: &Case, size: usize, all: bool) -> Outcome {
    let projects: Vec<_> = PROJECTS[..size]
        .iter()
        .map(|p| (*p, case.upstream))
        .collect();
    let mut world = Setup {
        environment: vec![("MAX_ATTEMPTS", "4".to_owned())],
        ..Setup::projects(&projects)
    }
    .start()
    .await;
    if case.at_oauth {
        // So that the first tokens are not what the fault meets.
        for _ in 0..size {
            assert_eq!(world.chat(&hello()).await.status, 200);
        }
    }
    let hit = if all { size } else { 1 };
    for project in &PROJECTS[..hit] {
        let fault = Fault::always(case.action.clone());
        let fault = if case.at_oauth {
            fault.refresh_token(format!("1//planted-{project}"))
        } else {
            fault.project(*project)
        };
        world.google.fake().script(fault);
    }
    if case.at_oauth {
        for project in &PROJECTS[..hit] {
            assert!(world.google.fake().invalidate_access_tokens(project));
        }
    }
    let body = with(hello(), "stream", case.stream.into());
    let before = world.asked("p1");
    let mut answer = world.chat(&body).await;
    // Another may have had its turn first.
    for _ in 0..3 * size {
        if world.asked("p1") > before {
            break;
        }
        answer = world.chat(&body).await;
    }
    world.end_gateways().await;
    let shown = world.project("p1").await;
    let now = world.clock.now();
    Outcome {
        client: client(&answer),
        state: state(&shown, now),
    }
}

fn client(answer: &Answer) -> String {
    if answer.status == 200 {
        return "200".to_owned();
    }
    let json = answer.json();
    let code = json["error"]["code"].as_str();
    let mut told = format!(
        "{} {}",
        answer.status,
        code.map_or("null".into(), |c| format!("`{c}`"))
    );
    if let Some(after) = answer.header("retry-after") {
        let seconds: i64 = after.parse().unwrap();
        let _ = write!(told, ", come back in {}", span(seconds));
    }
    told
}

fn state(project: &v1::Project, now: Timestamp) -> String {
    let name = match project.state() {
        State::Active => "active",
        State::CoolingDown => "cooling down",
        State::Denied => "denied",
        State::NeedsLogin => "needs login",
        State::NeedsValidation => "needs validation, with the link",
        State::Suspended => "suspended",
        other => panic!("{other:?}"),
    };
    assert_eq!(
        project.state() == State::NeedsValidation,
        project
            .action_url
            .starts_with("https://accounts.google.com/")
    );
    let mut told = name.to_owned();
    for cooldown in &project.cooldowns {
        let until = cooldown.until.unwrap();
        let until = Timestamp::new(until.seconds, until.nanos).unwrap();
        let left: SignedDuration = until.duration_since(now);
        // A rest of half a second may be over by now, or not.
        if left.as_secs() < 1 {
            continue;
        }
        let _ = write!(
            told,
            "; `{}` rests {}",
            cooldown.model_group,
            span(left.as_secs() + 1)
        );
    }
    if !project.refresh_error.is_empty() && project.state() == State::Active {
        told.push_str("; its refresh is tried again");
    }
    told
}

/// Roughly, so that the moment of a test does not tell.
fn span(seconds: i64) -> String {
    match seconds {
        ..=1 => "1 s".to_owned(),
        2..=90 => format!("{} s", (seconds + 9) / 10 * 10),
        91..=7200 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h", (seconds + 1800) / 3600),
    }
}

async fn row(case: Case) -> String {
    let mut cells = vec![case.told.to_owned(), case.upstream.to_owned()];
    let alone = play(&case, 1, true).await;
    cells.push(alone.client);
    let [two, three] = [play(&case, 2, false).await, play(&case, 3, false).await];
    assert_eq!(two.state, three.state, "{}", case.told);
    cells.push(both(&BTreeMap::from([(2, two.client), (3, three.client)])));
    let mut every = BTreeMap::new();
    for size in [2, 3] {
        every.insert(size, play(&case, size, true).await.client);
    }
    cells.push(both(&every));
    cells.push(if alone.state == two.state {
        alone.state
    } else {
        format!("alone: {}; beside others: {}", alone.state, two.state)
    });
    format!("| {} |\n", cells.join(" | "))
}

/// What pools of two and of three do: mostly the same.
fn both(clients: &BTreeMap<usize, String>) -> String {
    if clients[&2] == clients[&3] {
        clients[&2].clone()
    } else {
        format!("two: {}; three: {}", clients[&2], clients[&3])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_of_answers_is_what_pools_do() {
    let rows: Vec<String> = stream::iter(cases()).map(row).buffered(16).collect().await;
    let table = format!(
        "{BEGIN}| Google's answer | upstream | pool of one: client | one of two or three | all of two or three | the project then |\n\
         | --- | --- | --- | --- | --- | --- |\n{}{END}",
        rows.concat()
    );
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/pool.md");
    let document = fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let expected = format!("{before}{table}{after}");
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        fs::write(&path, expected).unwrap();
    } else {
        let line = document.lines().zip(expected.lines()).find(|(a, b)| a != b);
        assert!(
            document == expected,
            "UPDATE_DOCUMENTS=1 cargo test -p gateway rewrites it: {line:?}"
        );
    }
}

async fn limited_to(world: &World, project: &'static str, seconds: f64) {
    world.google.fake().script(
        Fault::once(crate::support::error(
            ErrorName::QuotaExhausted,
            Some(seconds),
        ))
        .project(project)
        .at(Endpoint::GenerateContent),
    );
}

#[tokio::test]
async fn a_project_that_has_rested_comes_back_with_one_turn() {
    let world = Setup::default().start().await;
    limited_to(&world, "p1", 100.0).await;
    for _ in 0..30 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    assert_eq!(world.asked("p1"), 1);
    // No turn that is under way is to seem drawn after the rest.
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.clock.advance(Duration::from_secs(101));
    let before = world.google.fake().counters().project_sequence.len();
    for _ in 0..12 {
        assert_eq!(world.chat(&hello()).await.status, 200);
    }
    let sequence = &world.google.fake().counters().project_sequence[before..];
    assert_eq!(
        sequence.iter().filter(|project| *project == "p1").count(),
        4,
        "{sequence:?}"
    );
    assert!(
        !sequence
            .windows(2)
            .any(|two| two[0] == "p1" && two[1] == "p1"),
        "{sequence:?}"
    );
}
