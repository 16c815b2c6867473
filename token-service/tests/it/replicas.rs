//! Two services over one PostgreSQL. They need a server: `TEST_DATABASE_URL`, and
//! `--include-ignored`.

use std::time::Duration;

use antigravity_proto::v1::{self, Outcome, RotateEncryptionKeyRequest};
use antigravity_runtime::{clock::Clock, shutdown::Shutdown};
use jiff::SignedDuration;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use token_service::{Config, Error, StoreError, config::Database, migrate, serve};
use tokio::net::TcpListener;
use tonic::Code;

use crate::support::{
    ADMIN_TOKEN, ENCRYPTION_KEY, Home, Service, eventually, google, ids, one_token, project,
    refreshes, report, rotating_google, set_disabled, slow, tokens_json, update, wanted,
};

const NEW_KEY: &str = "YSBuZXcga2V5IGZvciB0aGUgdGVzdHMsIDMyIGJ5dCE=";

/// A replica with a clock of its own.
fn replica(home: &Home) -> Config {
    let mut config = home.config();
    config.clock = Clock::movable();
    config
}

async fn sql(home: &Home, statement: &str) {
    let mut connection = connect(home).await;
    connection
        .execute(AssertSqlSafe(statement.to_owned()))
        .await
        .unwrap();
}

async fn connect(home: &Home) -> PgConnection {
    PgConnection::connect(home.postgres_url()).await.unwrap()
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn what_one_changes_the_other_serves() {
    let google = google(3).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1, 2]));
    let (one, other) = (home.start().await, home.start().await);
    let (mut here, mut there) = (one.projects().await, other.projects().await);
    assert_eq!(ids(&mut here).await, ids(&mut there).await);

    set_disabled(&mut here, "fake-project-1", true).await;
    eventually("the other knows of the disabling", async || {
        project(&mut there, "fake-project-1").await.disabled
    })
    .await;
    // On top of what the other has changed, not in its place.
    let named = v1::Project {
        id: "fake-project-1".to_owned(),
        display_name: "Ann's\0".to_owned(),
        ..Default::default()
    };
    let named = update(&mut there, named, "", &["display_name"]).await;
    if let Err(status) = &named {
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    let named = v1::Project {
        id: "fake-project-1".to_owned(),
        display_name: "Ann's".to_owned(),
        ..Default::default()
    };
    let named = update(&mut there, named, "", &["display_name"])
        .await
        .unwrap();
    assert!(named.disabled);

    let id = "fake-project-2".to_owned();
    here.delete_project(v1::DeleteProjectRequest { id })
        .await
        .unwrap();
    eventually("the other knows of the removal", async || {
        ids(&mut there).await == ["fake-project-1"]
    })
    .await;
    // The same file is imported by each that starts, once in all.
    one.stop().await;
    let one = home.start().await;
    assert_eq!(ids(&mut one.projects().await).await, ["fake-project-1"]);
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn one_refresh_serves_both_and_a_rotated_refresh_token_is_never_overwritten() {
    let google = rotating_google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let (one, other) = (home.start().await, home.start().await);
    let (mut here, mut there) = (one.tokens().await, other.tokens().await);
    let (first, second) = tokio::join!(one_token(&mut here), one_token(&mut there));
    assert_eq!(first.access_token, second.access_token);
    assert_eq!(refreshes(google.fake(), 1), 1);
    // The other changes a field while its memory of the tokens may be old.
    set_disabled(&mut other.projects().await, "fake-project-1", true).await;
    set_disabled(&mut one.projects().await, "fake-project-1", false).await;
    let request = v1::RefreshProjectRequest {
        id: "fake-project-1".to_owned(),
    };
    one.projects()
        .await
        .refresh_project(request.clone())
        .await
        .unwrap();
    set_disabled(&mut other.projects().await, "fake-project-1", false).await;
    // With a refresh token of before the last two, Google would refuse.
    other
        .projects()
        .await
        .refresh_project(request.clone())
        .await
        .unwrap();
    one.projects().await.refresh_project(request).await.unwrap();
    let token = one_token(&mut here).await.access_token;
    eventually("both hand the same token out", async || {
        one_token(&mut there).await.access_token == token
    })
    .await;
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn a_late_result_is_fenced_off() {
    let google = rotating_google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    google.fake().script(slow(0, 2000));
    let one = home.start().await;
    let mut here = one.tokens().await;
    let late = tokio::spawn(async move { one_token(&mut here).await.access_token });
    eventually("the first asks Google", async || {
        refreshes(google.fake(), 1) == 1
    })
    .await;
    // As if it had been stopped for longer than its lease.
    sql(&home, "UPDATE refresh_leases SET until = '-infinity'").await;
    let other = home.start().await;
    let token = one_token(&mut other.tokens().await).await.access_token;
    // The first one's own result is not what it hands out, nor what is stored.
    assert_eq!(late.await.unwrap(), token);
    one.stop().await;
    other.stop().await;
    let again = home.start().await;
    assert_eq!(
        one_token(&mut again.tokens().await).await.access_token,
        token
    );
    again.stop().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn a_rotated_refresh_token_is_kept_however_late() {
    let google = rotating_google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    google.fake().script(slow(1000, 0));
    let one = home.start().await;
    let mut here = one.tokens().await;
    let call = tokio::spawn(async move { here.acquire_tokens(wanted(1)).await });
    eventually("Google is asked", async || refreshes(google.fake(), 1) == 1).await;
    // Google's answer cannot be stored, for longer than the statement waits.
    let mut holding = connect(&home).await;
    holding
        .execute("BEGIN; LOCK TABLE projects IN SHARE MODE")
        .await
        .unwrap();
    assert!(call.await.unwrap().is_err(), "nothing is handed out");
    // Another replica has taken the lease, and its refresh is refused, as Google has rotated.
    holding
        .execute("UPDATE refresh_leases SET fence = nextval('refresh_fences')")
        .await
        .unwrap();
    holding
        .execute("UPDATE projects SET status = 'needs_login', status_reason = 'invalid_grant'")
        .await
        .unwrap();
    holding.execute("COMMIT").await.unwrap();
    let mut projects = one.projects().await;
    eventually("it is stored after all", async || {
        let mut connection = connect(&home).await;
        let row = sqlx::query("SELECT access_token_sealed IS NOT NULL FROM projects");
        row.fetch_one(&mut connection).await.unwrap().get(0)
    })
    .await;
    eventually("and the project is dealt", async || {
        project(&mut projects, "fake-project-1").await.state() == v1::project::State::Active
    })
    .await;
    one_token(&mut one.tokens().await).await;
    assert_eq!(google.fake().counters().oauth.total, 1);
    // What is stored is the rotated one: with it the project refreshes after a restart.
    one.stop().await;
    let again = home.start().await;
    let request = v1::RefreshProjectRequest {
        id: "fake-project-1".to_owned(),
    };
    again
        .projects()
        .await
        .refresh_project(request)
        .await
        .unwrap();
    assert_eq!(refreshes(google.fake(), 1), 1);
    again.stop().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn a_late_refusal_condemns_nobody() {
    let google = rotating_google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    google.fake().script(slow(3000, 0));
    let one = home.start().await;
    let mut here = one.tokens().await;
    let late = tokio::spawn(async move { here.acquire_tokens(wanted(1)).await });
    eventually("the first asks Google", async || {
        refreshes(google.fake(), 1) == 1
    })
    .await;
    sql(&home, "UPDATE refresh_leases SET until = '-infinity'").await;
    let other = home.start().await;
    one_token(&mut other.tokens().await).await;
    let request = v1::RefreshProjectRequest {
        id: "fake-project-1".to_owned(),
    };
    // From now on Google refuses the refresh token that the first one has sent.
    let mut there = other.projects().await;
    there.refresh_project(request).await.unwrap();
    let _ = late.await.unwrap();
    for service in [&one, &other] {
        let shown = project(&mut service.projects().await, "fake-project-1").await;
        assert_eq!(shown.state(), v1::project::State::Active, "{shown:?}");
        one_token(&mut service.tokens().await).await;
    }
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn cooldowns_and_verdicts_reach_the_other_and_none_undoes_anothers() {
    let google = google(2).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1, 2]));
    let (one, other) = (home.start().await, home.start().await);
    let limited = |id: &str, model: &str, seconds: i64| {
        let reset = home.clock.now() + SignedDuration::from_secs(seconds);
        v1::OutcomeReport {
            model: model.to_owned(),
            reset_at: Some(prost_types::Timestamp {
                seconds: reset.as_second(),
                nanos: 0,
            }),
            ..report(id, Outcome::RateLimited)
        }
    };
    let send = async |service: &Service, reports: Vec<v1::OutcomeReport>| {
        let request = v1::ReportOutcomesRequest {
            reports,
            ..Default::default()
        };
        service
            .tokens()
            .await
            .report_outcomes(request)
            .await
            .unwrap();
    };
    // Each learns of another group's limit at the same time.
    tokio::join!(
        send(&one, vec![limited("a", "gemini-2.5-flash", 600)]),
        send(&other, vec![limited("b", "claude-sonnet-4-5", 900)]),
    );
    for service in [&one, &other] {
        let mut projects = service.projects().await;
        eventually("both limits are known", async || {
            project(&mut projects, "fake-project-1")
                .await
                .cooldowns
                .len()
                == 2
        })
        .await;
    }
    let suspended = v1::OutcomeReport {
        reason: "terms\0of service".to_owned(),
        ..report("c", Outcome::Suspended)
    };
    send(&other, vec![suspended]).await;
    let mut projects = one.projects().await;
    eventually("the verdict is known", async || {
        let shown = project(&mut projects, "fake-project-1").await;
        shown.state() == v1::project::State::Suspended && shown.cooldowns.len() == 2
    })
    .await;
    // An operator's refresh ends it everywhere.
    let request = v1::RefreshProjectRequest {
        id: "fake-project-1".to_owned(),
    };
    projects.refresh_project(request).await.unwrap();
    let mut projects = other.projects().await;
    eventually("the end of it is known", async || {
        let shown = project(&mut projects, "fake-project-1").await;
        shown.state() == v1::project::State::Active && shown.cooldowns.is_empty()
    })
    .await;
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn a_report_that_is_repeated_to_the_other_counts_once() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let (one, other) = (home.start().await, home.start().await);
    let request = |ids: &[&str]| v1::ReportOutcomesRequest {
        reports: ids.iter().map(|id| report(id, Outcome::Ok)).collect(),
        ..Default::default()
    };
    let (mut here, mut there) = (one.tokens().await, other.tokens().await);
    here.report_outcomes(request(&["a", "b"])).await.unwrap();
    there.report_outcomes(request(&["b", "c"])).await.unwrap();
    let (first, second) = tokio::join!(
        here.report_outcomes(request(&["d", "e"])),
        there.report_outcomes(request(&["e", "d"])),
    );
    first.and(second).unwrap();
    let query = v1::QueryUsageRequest::default();
    let rows = one
        .usage()
        .await
        .query_usage(query)
        .await
        .unwrap()
        .into_inner()
        .rows;
    assert_eq!(rows.iter().map(|row| row.answers).sum::<u64>(), 5);
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn clocks_that_differ_by_a_minute_agree_on_the_databases() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let (ahead, behind) = (replica(&home), replica(&home));
    ahead.clock.set(SignedDuration::from_secs(60));
    behind.clock.set(SignedDuration::from_secs(-60));
    let (ahead, behind) = (Service::start(ahead).await, Service::start(behind).await);
    let mine = one_token(&mut ahead.tokens().await).await;
    let theirs = one_token(&mut behind.tokens().await).await;
    assert_eq!(mine.access_token, theirs.access_token);
    assert_eq!(refreshes(google.fake(), 1), 1);
    let expires = |token: &v1::AccessToken| token.expires_at.as_ref().unwrap().seconds;
    assert_eq!(expires(&mine), expires(&theirs));
    let lifetime = expires(&mine) - jiff::Timestamp::now().as_second();
    assert!((3590..=3600).contains(&lifetime), "{lifetime}");
    ahead.stop().await;
    behind.stop().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn a_key_seals_only_once_every_replica_has_it() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let with_keys = |keys: &str| {
        let mut config = home.config();
        let keys = token_service::seal::Keyring::parse(keys).unwrap();
        config.encryption_keys = Some(std::sync::Arc::new(keys));
        config
    };
    let old = home.start().await;
    one_token(&mut old.tokens().await).await;
    let new = Service::start(with_keys(&format!("{NEW_KEY},{ENCRYPTION_KEY}"))).await;
    one_token(&mut new.tokens().await).await;
    let mut database = new.database().await;
    let rotate = RotateEncryptionKeyRequest {};
    eventually("the other is known", async || {
        let refused = database.rotate_encryption_key(rotate).await;
        matches!(refused, Err(status) if status.code() == Code::FailedPrecondition
            && status.message().contains("does not seal with the encryption key"))
    })
    .await;
    old.stop().await;
    let both = Service::start(with_keys(&format!("{ENCRYPTION_KEY},{NEW_KEY}"))).await;
    one_token(&mut both.tokens().await).await;
    // It has the key, and goes on sealing with the old one.
    let refused = database.rotate_encryption_key(rotate).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    both.stop().await;
    let both = Service::start(with_keys(&format!("{NEW_KEY},{ENCRYPTION_KEY}"))).await;
    one_token(&mut both.tokens().await).await;
    let rotated = database
        .rotate_encryption_key(rotate)
        .await
        .unwrap()
        .into_inner();
    assert!(rotated.resealed_values >= 3, "{rotated:?}");
    // The one that knows the key goes on reading what the other stores.
    set_disabled(&mut new.projects().await, "fake-project-1", true).await;
    let mut projects = both.projects().await;
    eventually("the other reads it", async || {
        project(&mut projects, "fake-project-1").await.disabled
    })
    .await;
    both.stop().await;
    new.stop().await;
    // Without it nothing opens, and the message says which.
    let error = home.refused().await;
    assert!(
        matches!(error, Error::Store(StoreError::WrongKey { .. })),
        "{error}"
    );
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn databases_of_others_and_of_other_versions() {
    let google = google(1).await;
    let home = Home::new(&google);
    sql(&home, "CREATE TABLE projects (id INT)").await;
    let error = home.refused().await;
    assert!(
        matches!(error, Error::Store(StoreError::Foreign { .. })),
        "{error}"
    );
    sql(&home, "DROP TABLE projects").await;

    // One of before: it is brought up to date.
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    one_token(&mut service.tokens().await).await;
    service.stop().await;
    sql(
        &home,
        "DROP TABLE usage, counted_reports; DELETE FROM _sqlx_migrations WHERE version = 3",
    )
    .await;
    let service = home.start().await;
    one_token(&mut service.tokens().await).await;

    // A later version has changed it, while this one runs and so that it can go on.
    sql(
        &home,
        "ALTER TABLE projects ADD COLUMN later TEXT;
         INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (4, 'later', true, 'x', 0)",
    )
    .await;
    let request = v1::RefreshProjectRequest {
        id: "fake-project-1".to_owned(),
    };
    service
        .projects()
        .await
        .refresh_project(request)
        .await
        .unwrap();
    service.stop().await;
    let service = home.start().await;
    one_token(&mut service.tokens().await).await;
    service.stop().await;

    // And so that it cannot.
    sql(
        &home,
        "UPDATE meta SET value = '4' WHERE key = 'compatible_with'",
    )
    .await;
    let error = home.refused().await;
    assert!(
        matches!(error, Error::Store(StoreError::Newer { version: 4, .. })),
        "{error}"
    );
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn a_move_serves_nobody_until_it_has_ended_and_none_begins_while_somebody_is_served() {
    let google = google(2).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1, 2]));
    let service = home.start().await;
    let token = one_token(&mut service.tokens().await).await.access_token;
    let from = home.config().database;
    let to = Database::Sqlite(home.path("moved/tokens.db"));
    let refused = migrate(&from, &to, false, |_| {}).await.unwrap_err();
    assert!(
        refused.to_string().contains("uses the database"),
        "{refused}"
    );
    service.stop().await;
    let moved = migrate(&from, &to, false, |_| {}).await.unwrap();
    assert_eq!((moved.projects, moved.oauth_clients), (2, 1));

    let mut config = home.config();
    config.database = to.clone();
    let service = Service::start(config).await;
    let mut tokens = service.tokens().await;
    let turns = tokens
        .acquire_tokens(wanted(2))
        .await
        .unwrap()
        .into_inner()
        .turns;
    let tokens: Vec<_> = turns
        .iter()
        .map(|it| &it.token.as_ref().unwrap().access_token)
        .collect();
    assert!(tokens.contains(&&token));
    service.stop().await;

    // What another move has begun to fill is not served, nor overwritten.
    sql(
        &home,
        "INSERT INTO meta (key, value) VALUES ('moving', 'from elsewhere')",
    )
    .await;
    let error = home.refused().await;
    assert!(
        matches!(error, Error::Store(StoreError::Moving { .. })),
        "{error}"
    );
    let refused = migrate(&to, &from, false, |_| {}).await.unwrap_err();
    assert!(
        refused.to_string().contains("being filled from elsewhere"),
        "{refused}"
    );
    let moved = migrate(&to, &from, true, |_| {}).await.unwrap();
    assert_eq!(moved.projects, 2);
    let service = home.start().await;
    assert_eq!(ids(&mut service.projects().await).await.len(), 2);
    service.stop().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn the_password_is_nowhere() {
    let google = google(1).await;
    let home = Home::new(&google);
    let config = home.config();
    let url = home.postgres.as_ref().unwrap().url.clone();
    let (_, rest) = url.split_once("://").unwrap();
    let password = rest.split(['@', ':']).nth(1).unwrap();
    assert!(!format!("{config:?}").contains(password));
    assert!(!config.database.to_string().contains(password));
    // Nor in the error of a server that refuses it.
    let mut wrong = home.config();
    wrong.database = url.replace(password, "another-password").parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = serve(wrong, listener, Shutdown::new()).await.unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(told.contains("password authentication failed"), "{told}");
    assert!(told.contains("PostgreSQL at 127.0.0.1"), "{told}");
    assert!(!told.contains("another-password"), "{told}");
    assert!(!told.contains(ADMIN_TOKEN));
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn a_stalled_change_of_one_does_not_hold_the_other_up_for_long() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    one_token(&mut service.tokens().await).await;
    // As a replica that was stopped in the middle of an operator's change.
    let mut stalled = connect(&home).await;
    stalled
        .execute("BEGIN; SELECT pg_advisory_xact_lock(1095193675)")
        .await
        .unwrap();
    let project = v1::Project {
        id: "fake-project-1".to_owned(),
        disabled: true,
        ..Default::default()
    };
    let mut projects = service.projects().await;
    let refused = update(&mut projects, project.clone(), "", &["disabled"]).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unavailable);
    // Tokens are handed out all the while.
    one_token(&mut service.tokens().await).await;
    drop(stalled);
    tokio::time::timeout(
        Duration::from_secs(10),
        update(&mut projects, project, "", &["disabled"]),
    )
    .await
    .unwrap()
    .unwrap();
    let mut connection = connect(&home).await;
    let row = sqlx::query("SELECT disabled FROM projects")
        .fetch_one(&mut connection)
        .await;
    assert!(row.unwrap().get::<bool, _>(0));
    service.stop().await;
}
