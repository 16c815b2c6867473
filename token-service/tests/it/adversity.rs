//! A database that cannot be written to, a clock that jumps, and Google's word on quotas:
//! nothing is lost, and what goes away by itself needs no restart.

use std::time::Duration;

use antigravity_proto::v1::{self, Outcome, project::State};
use fake_google::{Action, Endpoint, ErrorForm, ErrorName, Fault};
use jiff::SignedDuration;
use sqlx::{Connection as _, SqliteConnection};
use tonic::Code;

use crate::support::{
    Home, dealt, eventually, fake, google, one_token, project, refreshes, rotating_google,
    tokens_json, update, wanted,
};

/// Another program with the database.
async fn other(home: &Home) -> SqliteConnection {
    let url = format!("sqlite://{}", home.database().display());
    SqliteConnection::connect(&url).await.unwrap()
}

/// The database refuses what is written to `table`, as on a full disk.
pub(crate) async fn fill(home: &Home, table: &str) -> SqliteConnection {
    let mut connection = other(home).await;
    for event in ["INSERT", "UPDATE"] {
        let trigger = format!(
            "CREATE TRIGGER full_{event} BEFORE {event} ON {table} BEGIN \
             SELECT RAISE(ABORT, 'database or disk is full'); END"
        );
        sqlx::query(sqlx::AssertSqlSafe(trigger))
            .execute(&mut connection)
            .await
            .unwrap();
    }
    connection
}

pub(crate) async fn empty(mut connection: SqliteConnection) {
    for event in ["INSERT", "UPDATE"] {
        let dropped = format!("DROP TRIGGER full_{event}");
        sqlx::query(sqlx::AssertSqlSafe(dropped))
            .execute(&mut connection)
            .await
            .unwrap();
    }
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_rotated_refresh_token_survives_a_full_disk() {
    let google = rotating_google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    let mut admin = service.projects().await;
    let before = one_token(&mut gateway).await;

    let full = fill(&home, "projects").await;
    let request = v1::RefreshProjectRequest {
        id: "fake-project-1".into(),
    };
    let refused = admin.refresh_project(request.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(
        refused.message().contains("cannot be stored"),
        "{refused:?}"
    );
    let shown = project(&mut admin, "fake-project-1").await;
    assert!(
        shown.refresh_error.contains("cannot be stored"),
        "{shown:?}"
    );
    // The token of before is good, and goes on being handed out.
    assert_eq!(
        one_token(&mut gateway).await.fingerprint,
        before.fingerprint
    );
    let asked = fake(&google).counters().oauth.total;
    // It is not asked for again while it is there, unstored.
    for _ in 0..3 {
        home.clock.advance(Duration::from_secs(11));
        assert!(admin.refresh_project(request.clone()).await.is_err());
    }
    assert_eq!(fake(&google).counters().oauth.total, asked);

    empty(full).await;
    home.clock.advance(Duration::from_secs(11));
    admin.refresh_project(request.clone()).await.unwrap();
    assert_ne!(
        one_token(&mut gateway).await.fingerprint,
        before.fingerprint
    );
    assert_eq!(fake(&google).counters().oauth.total, asked, "it was there");
    // Google takes only the rotated one by now: it is the one that was kept.
    home.clock.advance(Duration::from_secs(11));
    admin.refresh_project(request).await.unwrap();
    service.stop().await;
    let service = home.start().await;
    assert_eq!(dealt(&mut service.tokens().await, wanted(1)).await, "1");
    service.stop().await;
}

#[tokio::test]
async fn a_verdict_that_could_not_be_stored_is_stored_later() {
    let google = google(2).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=2));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    assert_eq!(dealt(&mut gateway, wanted(2)).await, "1 2");
    let full = fill(&home, "projects").await;
    gateway.report_outcomes(suspension()).await.unwrap();
    assert_eq!(dealt(&mut gateway, wanted(2)).await, "2 2", "it counts");
    empty(full).await;
    eventually("it is stored", async || {
        let mut connection = other(&home).await;
        let status: String = sqlx::query_scalar("SELECT status FROM projects WHERE id = ?")
            .bind("fake-project-1")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        status == "suspended"
    })
    .await;
    service.stop().await;
}

#[tokio::test]
async fn a_clock_that_jumps_an_hour_either_way_stops_nothing() {
    for hours in [1, -1] {
        let google = google(2).await;
        let home = Home::new(&google);
        home.write_tokens(&tokens_json(1..=2));
        let service = home.start().await;
        let mut gateway = service.tokens().await;
        assert_eq!(dealt(&mut gateway, wanted(2)).await, "1 2");
        for back in [hours, -hours] {
            home.clock.set(SignedDuration::from_hours(back));
            for _ in 0..5 {
                assert_eq!(dealt(&mut gateway, wanted(2)).await, "1 2");
                home.clock.advance(Duration::from_secs(1));
            }
        }
        let refreshed: Vec<_> = [1, 2].map(|n| refreshes(&fake(&google), n)).into();
        assert!(
            refreshed.iter().all(|times| *times <= 3),
            "{hours}: {refreshed:?}"
        );
        service.stop().await;
    }
}

#[tokio::test]
async fn quotas_of_projects_in_use_are_shown_and_asked_for_seldom() {
    let google = google(2).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=2));
    let service = home.start().await;
    let mut admin = service.projects().await;
    let mut gateway = service.tokens().await;
    let asked = || {
        let counters = fake(&google).counters();
        counters.requests_at(Endpoint::RetrieveUserQuotaSummary)
    };
    home.clock.advance(Duration::from_secs(60));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(asked(), 0, "nobody uses them");

    assert_eq!(dealt(&mut gateway, wanted(1)).await, "1");
    home.clock.advance(Duration::from_secs(16));
    eventually("the first is asked for", async || asked() == 1).await;
    eventually("and shown", async || {
        let shown = project(&mut admin, "fake-project-1").await;
        shown.quotas.len() == 4
    })
    .await;
    let shown = project(&mut admin, "fake-project-1").await;
    assert_eq!(shown.quotas[0].model_group, "gemini");
    assert_eq!(shown.quotas[0].window, "weekly");
    assert!((0.0..=1.0).contains(&shown.quotas[0].remaining_fraction));

    for _ in 0..8 {
        assert_eq!(dealt(&mut gateway, wanted(2)).await.len(), 3);
        home.clock.advance(Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eventually("the second too", async || asked() == 2).await;
    home.clock.advance(Duration::from_secs(300));
    eventually("and the first again", async || {
        home.clock.advance(Duration::from_secs(1));
        asked() >= 3
    })
    .await;
    assert_eq!(shown.state(), State::Active);
    service.stop().await;
}

#[tokio::test]
async fn tokens_are_told_without_a_turn() {
    let google = google(3).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=3));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    assert_eq!(dealt(&mut gateway, wanted(1)).await, "1");
    eventually("all have tokens", async || {
        (1..=3).all(|n| refreshes(&fake(&google), n) == 1)
    })
    .await;
    let request = v1::AcquireTokensRequest {
        count: Some(0),
        tokens: 2,
        ..Default::default()
    };
    eventually("two are told", async || {
        let answer = gateway.acquire_tokens(request.clone()).await.unwrap();
        let tokens = answer.into_inner().tokens;
        let ids: Vec<_> = tokens
            .iter()
            .map(|token| token.project_id.as_str())
            .collect();
        ids == ["fake-project-2", "fake-project-3"]
    })
    .await;
    assert_eq!(
        dealt(&mut gateway, wanted(3)).await,
        "2 3 1",
        "nobody moved"
    );
    let too_many = v1::AcquireTokensRequest {
        tokens: 257,
        ..Default::default()
    };
    let refused = gateway.acquire_tokens(too_many).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    service.stop().await;
}

#[tokio::test]
async fn a_verdict_that_comes_while_an_operators_change_is_stored_outlasts_it() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    let mut admin = service.projects().await;
    one_token(&mut gateway).await;
    let mut other = other(&home).await;
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    let renamed = tokio::spawn({
        let mut admin = service.projects().await;
        let renamed = v1::Project {
            id: "fake-project-1".into(),
            display_name: "renamed".into(),
            ..Default::default()
        };
        async move { update(&mut admin, renamed, "", &["display_name"]).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!renamed.is_finished(), "the database is locked");
    let reported = tokio::spawn(async move { gateway.report_outcomes(suspension()).await });
    eventually("it counts", async || {
        let shown = project(&mut admin, "fake-project-1").await;
        shown.state() == State::Suspended
    })
    .await;
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    renamed.await.unwrap().unwrap();
    reported.await.unwrap().unwrap();
    let shown = project(&mut admin, "fake-project-1").await;
    assert_eq!(
        (shown.state(), &*shown.display_name),
        (State::Suspended, "renamed")
    );
    service.stop().await;
    let service = home.start().await;
    let shown = project(&mut service.projects().await, "fake-project-1").await;
    assert_eq!(shown.state(), State::Suspended);
    service.stop().await;
}

fn suspension() -> v1::ReportOutcomesRequest {
    v1::ReportOutcomesRequest {
        reports: vec![v1::OutcomeReport {
            outcome_id: "s".into(),
            project_id: "fake-project-1".into(),
            outcome: Outcome::Suspended.into(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[tokio::test]
async fn a_project_that_is_tried_again_is_so_after_a_restart_too() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    let mut admin = service.projects().await;
    one_token(&mut gateway).await;
    gateway.report_outcomes(suspension()).await.unwrap();
    let mut other = other(&home).await;
    sqlx::query(
        "CREATE TRIGGER full BEFORE UPDATE OF status ON projects WHEN NEW.status = 'active' \
         BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END",
    )
    .execute(&mut other)
    .await
    .unwrap();
    home.clock.advance(Duration::from_secs(11));
    let request = v1::RefreshProjectRequest {
        id: "fake-project-1".into(),
    };
    let shown = admin.refresh_project(request).await.unwrap().into_inner();
    assert_eq!(shown.state(), State::Active);
    sqlx::query("DROP TRIGGER full")
        .execute(&mut other)
        .await
        .unwrap();
    eventually("it is stored", async || {
        let status: String = sqlx::query_scalar("SELECT status FROM projects")
            .fetch_one(&mut other)
            .await
            .unwrap();
        status == "active"
    })
    .await;
    service.stop().await;
}

#[tokio::test]
async fn a_refused_client_is_not_asked_for_each_of_its_projects() {
    let google = google(60).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=60));
    fake(&google).script(
        Fault::always(Action::Error {
            error: ErrorName::InvalidClient,
            form: ErrorForm::Object,
            retry_after: None,
        })
        .at(Endpoint::OAuthToken),
    );
    let service = home.start().await;
    eventually("some are refused", async || {
        fake(&google).counters().oauth.total >= 10
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let asked = fake(&google).counters().oauth.total;
    // Those that were under way when the first was refused.
    assert!(asked <= 32, "{asked}");
    service.stop().await;
}
