//! The same tests on PostgreSQL: with `TEST_DATABASE_URL`, the address of a server on which
//! databases may be made, each test has one of its own there.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// The server; `None`: these tests run on SQLite.
pub(crate) fn server() -> Option<String> {
    std::env::var("TEST_DATABASE_URL").ok()
}

/// A database of a test's own. It goes with the server: to drop it, the server would wait for
/// connections of a test whose runtime has ended.
pub(crate) struct Database {
    pub(crate) url: String,
}

impl Database {
    /// `None`: these tests run on SQLite.
    pub(crate) fn create() -> Option<Self> {
        let server = server()?;
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        run(&server, format!("CREATE DATABASE {name}"));
        let (address, _) = server.rsplit_once('/').unwrap();
        Some(Self {
            url: format!("{address}/{name}"),
        })
    }
}

/// Runs a statement, from within a test's runtime too, which must not be blocked on from within.
pub(crate) fn run(server: &str, statement: String) {
    let server = server.to_owned();
    let done = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(async {
                let mut connection = PgConnection::connect(&server).await.unwrap();
                connection.execute(AssertSqlSafe(statement)).await.unwrap();
            });
    });
    done.join().unwrap();
}
