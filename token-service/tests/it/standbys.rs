//! A standby takes the place of a primary that is lost, and lacks what that had last. They need a
//! server: `TEST_DATABASE_URL`, and `--include-ignored`.

use antigravity_proto::v1;
use fake_google::{Action, Endpoint, Fault, HoldPoint};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};

use crate::{
    failovers::{name, refresh, run},
    support::{
        Home, ProjectsClient, eventually, ids, one_token, project, rotating_google, set_disabled,
        tokens_json,
    },
};

/// The primary is lost, and a standby takes its place, which is as `lacking` makes it.
async fn take_over(home: &Home, standby: &mut PgConnection, lacking: &str) {
    let (server, _) = home.postgres_url().rsplit_once('/').unwrap();
    let server = format!("{server}/postgres");
    let database = name(home);
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut *standby)
        .await
        .unwrap();
    let connections = |are: bool| format!("ALTER DATABASE {database} ALLOW_CONNECTIONS {are}");
    run(&server, &connections(false)).await;
    run(
        &server,
        &format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = '{database}' AND pid <> {pid}"
        ),
    )
    .await;
    let lacking = AssertSqlSafe(lacking.to_owned());
    standby.execute(lacking).await.unwrap();
    run(&server, &connections(true)).await;
}

/// Copies what there is, as far as a standby has come.
async fn fall_behind(home: &Home) -> PgConnection {
    let mut standby = PgConnection::connect(home.postgres_url()).await.unwrap();
    let copied = "CREATE TABLE lagging AS SELECT * FROM projects;
                  CREATE TABLE lagging_removals AS SELECT * FROM removals";
    standby.execute(copied).await.unwrap();
    standby
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn what_a_standby_lacks_is_stored_again() {
    let google = rotating_google(4).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1, 2, 3, 4]));
    let (one, other) = (home.start().await, home.start().await);
    let (mut here, mut there) = (one.projects().await, other.projects().await);
    for number in 1..=3 {
        refresh(&mut here, number).await.unwrap();
    }
    let mut standby = fall_behind(&home).await;
    refresh(&mut here, 1).await.unwrap();
    refresh(&mut there, 1).await.unwrap();
    set_disabled(&mut here, "fake-project-2", true).await;
    let id = "fake-project-4".to_owned();
    here.delete_project(v1::DeleteProjectRequest { id })
        .await
        .unwrap();
    let token = one_token(&mut one.tokens().await).await;
    eventually("the other has heard of it", async || {
        ids(&mut there).await.len() == 3
            && project(&mut there, "fake-project-2").await.disabled
            && project(&mut there, "fake-project-1").await.token_expires_at
                == project(&mut here, "fake-project-1").await.token_expires_at
    })
    .await;

    // The third project was added last, and the fourth was there.
    take_over(
        &home,
        &mut standby,
        "UPDATE projects SET disabled = old.disabled, updated_at = old.updated_at,
             refresh_token_sealed = old.refresh_token_sealed,
             access_token_sealed = old.access_token_sealed,
             access_token_expires_at = old.access_token_expires_at,
             refreshed_at = old.refreshed_at
         FROM lagging old WHERE old.id = projects.id;
         DELETE FROM imports WHERE project_id = 'fake-project-3';
         DELETE FROM projects WHERE id = 'fake-project-3';
         UPDATE removals SET count = (SELECT count FROM lagging_removals);
         DELETE FROM refresh_leases;
         INSERT INTO projects SELECT (jsonb_populate_record(old, jsonb_build_object(
             'position', (SELECT position FROM lagging WHERE id = 'fake-project-3')))).*
         FROM lagging old WHERE id = 'fake-project-4'",
    )
    .await;

    let now = "SELECT (SELECT bool_or(disabled) FROM projects WHERE id = 'fake-project-2')
         AND (SELECT count(*) = 4 FROM projects) AND (SELECT count(*) = 3 FROM imports WHERE project_id <> 'fake-project-4')
         AND (SELECT count(*) = 0 FROM projects JOIN lagging USING (id)
              WHERE id = 'fake-project-1'
                  AND projects.refresh_token_sealed = lagging.refresh_token_sealed)";
    eventually("it is stored again", async || {
        let row = sqlx::query(now).fetch_one(&mut standby).await.unwrap();
        row.get(0)
    })
    .await;
    assert!(project(&mut here, "fake-project-2").await.disabled);
    let again = one_token(&mut one.tokens().await).await;
    if again.project_id == token.project_id {
        assert_eq!(again.access_token, token.access_token);
    }
    for projects in [&mut here, &mut there] {
        for number in [1, 3] {
            refresh(projects, number).await.unwrap();
        }
    }
    one.stop().await;
    other.stop().await;
    let service = home.start().await;
    let mut projects = service.projects().await;
    assert_eq!(ids(&mut projects).await.len(), 4);
    for number in 1..=4 {
        refresh(&mut projects, number).await.unwrap();
    }
    assert!(project(&mut projects, "fake-project-2").await.disabled);
    service.stop().await;
}

const LAGGING_TOKENS: &str = "UPDATE projects SET
         refresh_token_sealed = old.refresh_token_sealed,
         access_token_sealed = old.access_token_sealed,
         access_token_expires_at = old.access_token_expires_at,
         refreshed_at = old.refreshed_at
     FROM lagging old WHERE old.id = projects.id;
     DELETE FROM refresh_leases";

/// A refresh whose answer Google holds back once it has rotated the refresh token.
fn hold_answers(google: &fake_google::Running) {
    let hold = Action::Hold {
        gate: "rotated".to_owned(),
        point: HoldPoint::BeforeHeaders,
    };
    google
        .fake()
        .script(Fault::once(hold).at(Endpoint::OAuthToken));
}

/// Whatever the standby had, every project refreshes with what is stored now.
async fn refreshes_with_what_is_stored(home: &Home, number: usize) {
    let service = home.start().await;
    let mut projects = service.projects().await;
    for number in 1..=number {
        refresh(&mut projects, number).await.unwrap();
    }
    service.stop().await;
}

/// Refreshes the first project, and waits until the other replica has heard of it.
async fn refreshed_for_both(here: &mut ProjectsClient, there: &mut ProjectsClient) {
    let id = "fake-project-1";
    refresh(here, 1).await.unwrap();
    let newest = project(here, id).await.token_fingerprint;
    eventually("the other has heard of it", async || {
        project(there, id).await.token_fingerprint == newest
    })
    .await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn a_rotated_refresh_token_is_stored_in_place_of_one_that_was_sealed_anew() {
    let google = rotating_google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let (one, other) = (home.start().await, home.start().await);
    let (mut here, mut there) = (one.projects().await, other.projects().await);
    refreshed_for_both(&mut here, &mut there).await;
    let mut standby = fall_behind(&home).await;
    refreshed_for_both(&mut here, &mut there).await;
    let shown = async |projects: &mut ProjectsClient| {
        let shown = project(projects, "fake-project-1").await;
        shown.token_fingerprint
    };
    let before = shown(&mut here).await;

    hold_answers(&google);
    let mut asking = here.clone();
    let refreshing = tokio::spawn(async move { refresh(&mut asking, 1).await });
    google.fake().reached("rotated", 1).await;
    take_over(&home, &mut standby, LAGGING_TOKENS).await;
    let is_sealed_anew = "SELECT projects.refresh_token_sealed <> lagging.refresh_token_sealed
                          FROM projects JOIN lagging USING (id)";
    eventually("what both know is stored again", async || {
        let row = sqlx::query(is_sealed_anew).fetch_one(&mut standby).await;
        row.unwrap().get(0)
    })
    .await;
    google.fake().release("rotated");
    refreshing.await.unwrap().unwrap();
    let granted = shown(&mut here).await;
    assert_ne!(granted, before, "what Google has granted is in use");
    eventually("the other has heard of that too", async || {
        shown(&mut there).await == granted
    })
    .await;
    one.stop().await;
    other.stop().await;
    refreshes_with_what_is_stored(&home, 1).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn a_refresh_of_a_project_that_the_standby_lacks_is_kept_until_that_is_there() {
    let google = rotating_google(3).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1, 2, 3]));
    let service = home.start().await;
    let mut projects = service.projects().await;
    for number in 1..=3 {
        refresh(&mut projects, number).await.unwrap();
    }
    let mut standby = fall_behind(&home).await;
    // The standby counts fewer removals: it is another server.
    let id = "fake-project-3".to_owned();
    projects
        .delete_project(v1::DeleteProjectRequest { id })
        .await
        .unwrap();
    let before = project(&mut projects, "fake-project-2").await;
    hold_answers(&google);
    let refreshing = tokio::spawn(async move { refresh(&mut projects, 2).await });
    google.fake().reached("rotated", 1).await;
    let without = "DELETE FROM imports WHERE project_id = 'fake-project-2';
                   DELETE FROM projects WHERE id = 'fake-project-2';
                   UPDATE removals SET count = (SELECT count FROM lagging_removals);
                   DELETE FROM refresh_leases";
    take_over(&home, &mut standby, without).await;
    google.fake().release("rotated");
    // It may be there again already, or come first.
    let _ = refreshing.await.unwrap();
    let count = "SELECT count(*) = 2 FROM projects";
    eventually("it is stored again", async || {
        let row = sqlx::query(count).fetch_one(&mut standby).await.unwrap();
        row.get(0)
    })
    .await;
    let mut projects = service.projects().await;
    eventually("with what Google has granted", async || {
        let shown = project(&mut projects, "fake-project-2").await;
        shown.token_fingerprint != before.token_fingerprint
    })
    .await;
    service.stop().await;
    refreshes_with_what_is_stored(&home, 2).await;
}
