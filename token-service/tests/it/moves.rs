//! Moves of a pool from one database to another: from SQLite, or from PostgreSQL where that is
//! tested.

use std::{path::Path, time::Duration};

use antigravity_proto::v1::BackUpRequest;
use antigravity_runtime::shutdown::Shutdown;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};
use token_service::{
    Config, Error, MoveError, Step, StoreError, config::Database, migrate, serve, take_back,
};
use tokio::net::TcpListener;
use tonic::Code;

use crate::support::{Home, Service, google, ids, postgres, tokens_json};

/// A pool of two, which nobody serves.
async fn pool(home: &Home) -> Database {
    home.write_tokens(&tokens_json([1, 2]));
    opened(home.start().await).await;
    home.config().database
}

/// Ends a service once it serves: one that is ended before has made nothing.
async fn opened(service: Service) {
    ids(&mut service.projects().await).await;
    service.stop().await;
}

/// Where pools are moved to.
fn other(home: &Home) -> Database {
    Database::Sqlite(home.path("moved/tokens.db"))
}

/// A service of another database, with the key of the home's where that is in a file.
fn at(home: &Home, database: &Database) -> Config {
    let key = home.path("data/encryption.key");
    if key.exists() && home.path("moved").exists() {
        std::fs::copy(key, home.path("moved/encryption.key")).unwrap();
    }
    let mut config = home.config();
    config.database = database.clone();
    config
}

async fn refused(config: Config) -> StoreError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    match Box::pin(serve(config, listener, Shutdown::new())).await {
        Err(Error::Store(error)) => error,
        other => panic!("{other:?}"),
    }
}

async fn sqlite(path: &Path) -> SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    SqliteConnection::connect_with(&options).await.unwrap()
}

async fn connect(home: &Home) -> PgConnection {
    PgConnection::connect(home.postgres_url()).await.unwrap()
}

/// Puts a row into `meta` of the home's database.
async fn note(home: &Home, key: &str, value: &str) {
    const PUT: &str = "INSERT INTO meta (key, value) VALUES ($1, $2)";
    if home.postgres.is_some() {
        let put = sqlx::query(PUT).bind(key).bind(value.as_bytes());
        put.execute(&mut connect(home).await).await.unwrap();
    } else {
        let put = sqlx::query(PUT).bind(key).bind(value.as_bytes());
        put.execute(&mut sqlite(&home.database()).await)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn half_of_a_move_is_not_moved_on() {
    let google = google(2).await;
    let home = Home::new(&google);
    let from = pool(&home).await;
    note(&home, "moving", "from elsewhere").await;
    let error = migrate(&from, &other(&home), false, |_| {})
        .await
        .unwrap_err();
    assert!(
        matches!(error, MoveError::Store(StoreError::Moving { .. })),
        "{error}"
    );
    assert!(!home.path("moved/tokens.db").exists(), "nothing was made");
}

#[tokio::test]
async fn a_database_that_was_only_opened_is_empty() {
    let google = google(2).await;
    let home = Home::new(&google);
    let from = pool(&home).await;
    let to = other(&home);
    let mut config = at(&home, &to);
    config.tokens_file = None;
    opened(Service::start(config).await).await;
    let moved = migrate(&from, &to, false, |_| {}).await.unwrap();
    assert_eq!((moved.projects, moved.resumed), (2, false));
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn whoever_has_begun_to_use_it_meanwhile_is_noticed_before_a_move_ends() {
    let google = google(2).await;
    let home = Home::new(&google);
    let from = pool(&home).await;
    let to = other(&home);
    let server = home.postgres_url().to_owned();
    let joins = |step| {
        if step == Step::Comparing("usage") {
            let seen = "INSERT INTO replicas (instance, host, version, key_ids)
                        VALUES ('late', 'elsewhere', '1', '')";
            postgres::run(&server, seen.to_owned());
        }
    };
    let error = migrate(&from, &to, false, joins).await.unwrap_err();
    assert!(
        matches!(error, MoveError::Store(StoreError::InUse { .. })),
        "{error}"
    );
    postgres::run(&server, "DELETE FROM replicas".to_owned());
    // It serves on as it was.
    let service = home.start().await;
    assert_eq!(ids(&mut service.projects().await).await.len(), 2);
    service.stop().await;
    let moved = migrate(&from, &to, false, |_| {}).await.unwrap();
    assert!(moved.resumed);
}

#[tokio::test]
async fn after_a_move_the_old_database_serves_nobody_until_it_is_moved_back() {
    let google = google(2).await;
    let home = Home::new(&google);
    let from = pool(&home).await;
    let to = other(&home);
    migrate(&from, &to, false, |_| {}).await.unwrap();
    let error = refused(home.config()).await;
    assert!(matches!(error, StoreError::Moved { .. }), "{error}");
    let told = error.to_string();
    assert!(told.contains(&to.to_string()) && told.contains("--take-back"));
    // The new one may have served since: it is not filled once more, and others are not either.
    let elsewhere = Database::Sqlite(home.path("elsewhere.db"));
    for (to, start_over) in [(&to, false), (&to, true), (&elsewhere, false)] {
        let error = migrate(&from, to, start_over, |_| {}).await.unwrap_err();
        assert!(
            matches!(error, MoveError::Store(StoreError::Moved { .. })),
            "{error}"
        );
    }
    assert!(!home.path("elsewhere.db").exists());

    let moved = migrate(&to, &from, true, |_| {}).await.unwrap();
    assert_eq!(moved.projects, 2);
    let error = refused(at(&home, &to)).await;
    assert!(matches!(error, StoreError::Moved { .. }), "{error}");
    let service = home.start().await;
    assert_eq!(ids(&mut service.projects().await).await.len(), 2);
    service.stop().await;
}

#[tokio::test]
async fn a_move_that_was_killed_before_its_last_step_goes_on() {
    let google = google(2).await;
    let home = Home::new(&google);
    let from = pool(&home).await;
    let to = other(&home);
    migrate(&from, &to, false, |_| {}).await.unwrap();
    // The old one is marked already, and the new one still.
    let mut new = sqlite(&home.path("moved/tokens.db")).await;
    sqlx::query("INSERT INTO meta (key, value) VALUES ('moving', $1)")
        .bind(format!("from {from}").into_bytes())
        .execute(&mut new)
        .await
        .unwrap();
    new.close().await.unwrap();
    let error = refused(at(&home, &to)).await;
    assert!(matches!(error, StoreError::Moving { .. }), "{error}");
    let moved = migrate(&from, &to, false, |_| {}).await.unwrap();
    assert!(moved.resumed);
    let error = refused(home.config()).await;
    assert!(matches!(error, StoreError::Moved { .. }), "{error}");
}

#[tokio::test]
async fn a_move_is_taken_back_when_the_new_database_is_lost() {
    let google = google(2).await;
    let home = Home::new(&google);
    let from = pool(&home).await;
    let to = other(&home);
    let error = take_back(&from).await.unwrap_err();
    assert!(matches!(error, MoveError::NotMoved(_)), "{error}");
    migrate(&from, &to, false, |_| {}).await.unwrap();
    assert_eq!(take_back(&from).await.unwrap(), to.to_string());
    let service = home.start().await;
    assert_eq!(ids(&mut service.projects().await).await.len(), 2);
    service.stop().await;
}

#[tokio::test]
async fn what_is_no_pool_yet_is_no_source_and_stays_as_it_is() {
    let google = google(1).await;
    let home = Home::new(&google);
    let path = home.path("nothing.db");
    std::fs::write(&path, "").unwrap();
    let from = Database::Sqlite(path.clone());
    let error = migrate(&from, &other(&home), false, |_| {})
        .await
        .unwrap_err();
    assert!(matches!(error, MoveError::NoSource(_)), "{error}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);

    if home.postgres.is_some() {
        let from = home.config().database;
        let error = migrate(&from, &other(&home), false, |_| {})
            .await
            .unwrap_err();
        assert!(matches!(error, MoveError::NoSource(_)), "{error}");
        let tables: i64 =
            sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
                .fetch_one(&mut connect(&home).await)
                .await
                .unwrap();
        assert_eq!(tables, 0);
    }
}

#[tokio::test]
async fn a_source_keeps_its_journal_and_a_file_with_two_names_is_one() {
    let google = google(2).await;
    let home = Home::new(&google);
    let here = other(&home);
    pool(&home).await;
    let mut config = at(&home, &here);
    config.encryption_keys = None;
    opened(Service::start(config).await).await;
    let path = home.path("moved/tokens.db");
    let mut old = sqlite(&path).await;
    old.execute("PRAGMA journal_mode = DELETE").await.unwrap();
    old.close().await.unwrap();
    let link = home.path("moved/link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for start_over in [false, true] {
        let linked = Database::Sqlite(link.clone());
        let error = migrate(&here, &linked, start_over, |_| {})
            .await
            .unwrap_err();
        assert!(matches!(error, MoveError::Same { .. }), "{error}");
    }

    let to = Database::Sqlite(home.path("there.db"));
    let moved = migrate(&here, &to, false, |_| {}).await.unwrap();
    assert_eq!(moved.projects, 2);
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut sqlite(&path).await)
        .await
        .unwrap();
    assert_eq!(journal, "delete");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn a_host_with_two_names_is_one_and_told_at_once() {
    let google = google(2).await;
    let home = Home::new(&google);
    let from = pool(&home).await;
    let to: Database = home
        .postgres_url()
        .replace("127.0.0.1", "localhost")
        .parse()
        .unwrap();
    assert_ne!(from, to);
    let moving = migrate(&from, &to, true, |_| {});
    let error = tokio::time::timeout(Duration::from_secs(10), moving).await;
    let error = error.expect("it waits for itself").unwrap_err();
    assert!(matches!(error, MoveError::Same { .. }), "{error}");
    // Two of one server are two.
    let two = postgres::Database::create().unwrap();
    let moved = migrate(&from, &two.url.parse().unwrap(), false, |_| {}).await;
    assert_eq!(moved.unwrap().projects, 2);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn a_database_of_which_only_the_list_of_migrations_was_made_is_made_whole() {
    let google = google(2).await;
    let home = Home::new(&google);
    let from = pool(&home).await;
    let two = postgres::Database::create().unwrap();
    let list =
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
         installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), success BOOLEAN NOT NULL,
         checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL)";
    let mut connection = PgConnection::connect(&two.url).await.unwrap();
    connection.execute(list).await.unwrap();
    let moved = migrate(&from, &two.url.parse().unwrap(), false, |_| {}).await;
    assert_eq!(moved.unwrap().projects, 2);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn what_a_newer_version_has_added_is_not_left_out() {
    let google = google(2).await;
    let home = Home::new(&google);
    let from = pool(&home).await;
    let to = other(&home);
    // One that this version can work with all the same.
    let later = "ALTER TABLE projects ADD COLUMN later TEXT;
         INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (4, 'later', true, 'x', 0)";
    connect(&home).await.execute(later).await.unwrap();
    let error = migrate(&from, &to, false, |_| {}).await.unwrap_err();
    assert!(
        matches!(
            error,
            MoveError::Store(StoreError::Newer { version: 4, .. })
        ),
        "{error}"
    );
    let service = home.start().await;
    let mut database = service.database().await;
    let refused = match database.back_up(BackUpRequest {}).await {
        Err(status) => status,
        Ok(pieces) => pieces.into_inner().message().await.unwrap_err(),
    };
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("newer version"), "{refused}");
    service.stop().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn a_connection_that_breaks_off_is_told_with_its_server() {
    let google = google(2).await;
    let home = Home::new(&google);
    let from = pool(&home).await;
    let server = home.postgres_url().to_owned();
    let mut done = false;
    let error = migrate(&from, &other(&home), false, |step| {
        if !done && matches!(step, Step::Copying(..)) {
            done = true;
            terminate_others(&server);
        }
    })
    .await
    .unwrap_err();
    let told = error.to_string();
    assert!(told.contains(&format!("PostgreSQL at {from}")), "{told}");
}

fn terminate_others(server: &str) {
    const TERMINATE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()";
    postgres::run(server, TERMINATE.to_owned());
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn what_postgres_refuses_is_told_as_it_is() {
    let google = google(2).await;
    let home = Home::new(&google);
    let from = pool(&home).await;
    let to = other(&home);
    let told = async || {
        let refused = migrate(&from, &to, false, |_| {}).await;
        refused.unwrap_err().to_string()
    };
    let mut connection = connect(&home).await;
    let name: String = sqlx::query_scalar("SELECT current_database()")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    // A primary all the same. The connection is of before.
    let set = |value| {
        let set = format!("ALTER DATABASE {name} SET default_transaction_read_only = {value}");
        AssertSqlSafe(set)
    };
    connection.execute(set("on")).await.unwrap();
    let unwritable = told().await;
    for part in ["127.0.0.1", "default_transaction_read_only"] {
        assert!(unwritable.contains(part), "{unwritable}");
    }
    assert!(!unwritable.contains("standby"), "{unwritable}");
    connection.execute(set("off")).await.unwrap();
    connection
        .execute("UPDATE meta SET value = 'soon' WHERE key = 'compatible_with'")
        .await
        .unwrap();
    let damaged = told().await;
    assert!(damaged.contains("compatible_with"), "{damaged}");

    let missing: Database = home
        .postgres_url()
        .replace(&name, "nowhere")
        .parse()
        .unwrap();
    let error = refused(at(&home, &missing)).await.to_string();
    for part in [
        "127.0.0.1",
        "\"nowhere\" does not exist",
        "the user, the password and the database",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!error.contains("at line"), "{error}");
}
