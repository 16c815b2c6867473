//! PostgreSQL in trouble: servers that are found late, refuse what is asked, or were moved away
//! from. They need a server: `TEST_DATABASE_URL`, and `--include-ignored`.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use antigravity_proto::v1;
use antigravity_runtime::tls;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tonic::{Code, Status};

use crate::support::{
    Home, ProjectsClient, Service, eventually, google, one_token, tokens_json, update,
};

/// As the owner of the server.
pub(crate) async fn run(url: &str, statement: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let statement = AssertSqlSafe(statement.to_owned());
    connection.execute(statement).await.unwrap();
}

pub(crate) fn name(home: &Home) -> &str {
    home.postgres_url().rsplit_once('/').unwrap().1
}

/// A service whose role is none of the server's owners, with its probes.
struct Guest {
    role: String,
    service: Service,
    admin: SocketAddr,
    http: reqwest::Client,
}

impl Guest {
    async fn start(home: &Home, settings: &str) -> Self {
        let role = format!("role_of_{}", name(home));
        run(
            home.postgres_url(),
            &format!(
                "CREATE ROLE {role} LOGIN PASSWORD 'first'; {}
                 ALTER DATABASE {} OWNER TO {role}",
                settings.replace("NAME", &role),
                name(home),
            ),
        )
        .await;
        let (_, place) = home.postgres_url().rsplit_once('@').unwrap();
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = port.local_addr().unwrap();
        drop(port);
        let mut config = home.config();
        config.database = format!("postgres://{role}:first@{place}").parse().unwrap();
        config.admin_listen = Some(admin);
        tls::install_crypto_provider();
        let http = reqwest::Client::builder().tls_certs_only([]);
        Self {
            role,
            service: Service::start(config).await,
            admin,
            http: http.build().unwrap(),
        }
    }

    async fn get(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.admin);
        match self.http.get(url).send().await {
            Ok(answer) => answer.text().await.unwrap(),
            Err(error) => error.to_string(),
        }
    }

    /// Whether the probes and the metrics tell that the database is in trouble, and why.
    async fn shows(&self, why: &str) -> bool {
        let readyz = self.get("/readyz").await;
        let metrics = self.get("/metrics").await;
        readyz.contains("degraded")
            && readyz.contains(why)
            && metrics.contains("antigravity_token_service_database_up 0")
    }

    async fn is_well(&self) -> bool {
        let metrics = self.get("/metrics").await;
        self.get("/readyz").await.contains("\"ok\"")
            && metrics.contains("antigravity_token_service_database_up 1")
    }
}

pub(crate) async fn refresh(projects: &mut ProjectsClient, number: usize) -> Result<(), Status> {
    let id = format!("fake-project-{number}");
    let refreshed = projects.refresh_project(v1::RefreshProjectRequest { id });
    refreshed.await.map(drop)
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn a_server_that_refuses_is_told_of_and_why() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let it = Guest::start(&home, "").await;
    let mut projects = it.service.projects().await;
    one_token(&mut it.service.tokens().await).await;
    eventually("all is well", async || it.is_well().await).await;
    let role = &it.role;

    run(
        home.postgres_url(),
        &format!("REVOKE ALL ON projects FROM {role}"),
    )
    .await;
    eventually("it is told", async || {
        it.shows("permission denied for table projects").await
    })
    .await;
    let refused = refresh(&mut projects, 1).await.unwrap_err();
    assert!(refused.message().contains("permission denied"), "{refused}");
    let named = v1::Project {
        id: "fake-project-1".to_owned(),
        display_name: "Ann's".to_owned(),
        ..Default::default()
    };
    let refused = update(&mut projects, named, "", &["display_name"]).await;
    let refused = refused.unwrap_err();
    assert!(refused.message().contains("permission denied"), "{refused}");
    one_token(&mut it.service.tokens().await).await;
    run(
        home.postgres_url(),
        &format!("GRANT ALL ON projects TO {role}"),
    )
    .await;
    eventually("all is well again", async || it.is_well().await).await;

    // Connections that it has would go on.
    run(
        home.postgres_url(),
        &format!(
            "ALTER ROLE {role} PASSWORD 'second';
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
        ),
    )
    .await;
    eventually("it is told", async || {
        it.shows("password authentication failed").await
    })
    .await;
    let refused = refresh(&mut projects, 1).await.unwrap_err();
    let message = refused.message();
    assert!(
        message.contains("password authentication failed"),
        "{refused}"
    );
    run(
        home.postgres_url(),
        &format!("ALTER ROLE {role} PASSWORD 'first'"),
    )
    .await;
    eventually("all is well again", async || it.is_well().await).await;

    let mut holding = PgConnection::connect(home.postgres_url()).await.unwrap();
    let lock = "BEGIN; LOCK TABLE projects IN ACCESS EXCLUSIVE MODE";
    holding.execute(lock).await.unwrap();
    eventually("it is told", async || it.shows("lock timeout").await).await;
    let refused = refresh(&mut projects, 1).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("lock timeout"), "{refused}");
    holding.execute("ROLLBACK").await.unwrap();
    eventually("all is well again", async || it.is_well().await).await;
    refresh(&mut projects, 1).await.unwrap();
    it.service.stop().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn what_may_take_its_time_has_it_and_one_backup_is_made_at_a_time() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let it = Guest::start(&home, "ALTER ROLE NAME SET statement_timeout = '40ms';").await;
    one_token(&mut it.service.tokens().await).await;
    let mut holding = PgConnection::connect(home.postgres_url()).await.unwrap();
    let lock = "BEGIN; LOCK TABLE imports IN ACCESS EXCLUSIVE MODE";
    holding.execute(lock).await.unwrap();
    let mut backups = JoinSet::new();
    for _ in 0..6 {
        let mut database = it.service.database().await;
        backups.spawn(async move {
            let answer = database.back_up(v1::BackUpRequest::default()).await;
            let mut pieces = answer?.into_inner();
            let mut bytes = 0;
            while let Some(piece) = pieces.message().await? {
                bytes += piece.backup.len();
            }
            Ok::<_, Status>(bytes)
        });
    }
    let role = &it.role;
    let waiting = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'
             AND wait_event_type = 'Lock'"
    );
    let mut watching = PgConnection::connect(home.postgres_url()).await.unwrap();
    let mut count = async || -> i64 {
        let statement = AssertSqlSafe(waiting.clone());
        let counted = sqlx::query_scalar(statement).fetch_one(&mut watching);
        counted.await.unwrap()
    };
    eventually("one waits", async || count().await == 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(count().await, 1, "the others wait for that one");
    // Nobody is there any more who wants them.
    backups.shutdown().await;
    eventually("what was asked for them ends", async || count().await == 0).await;

    let mut database = it.service.database().await;
    let backup = tokio::spawn(async move {
        let request = v1::BackUpRequest::default();
        database.back_up(request).await.map(drop)
    });
    eventually("the next one waits", async || count().await == 1).await;
    holding.execute("ROLLBACK").await.unwrap();
    backup.await.unwrap().unwrap();
    it.service.stop().await;
}

/// A way to a server that can break: what is underway on it hangs, and nothing new gets through.
async fn breakable(to: String) -> (SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (broken, mut is_broken) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            let mut near = tokio::select! {
                accepted = listener.accept() => accepted.unwrap().0,
                _ = is_broken.wait_for(|broken| *broken) => break,
            };
            let mut far = TcpStream::connect(&to).await.unwrap();
            let mut breaks = is_broken.clone();
            tokio::spawn(async move {
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                    _ = breaks.wait_for(|broken| *broken) => {}
                }
                // Open, and silent.
                tokio::time::sleep(Duration::from_secs(60)).await;
            });
        }
    });
    (address, broken)
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn a_look_at_a_dead_server_does_not_keep_from_looking_for_the_next() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let (who, place) = home.postgres_url().rsplit_once('@').unwrap();
    let (server, database) = place.split_once('/').unwrap();
    let (way, broken) = breakable(server.to_owned()).await;
    let mut config = home.config();
    config.database = format!("{who}@{way},{server}/{database}").parse().unwrap();
    let service = Service::start(config).await;
    one_token(&mut service.tokens().await).await;
    let mut projects = service.projects().await;
    refresh(&mut projects, 1).await.unwrap();

    // Its look for changes waits for the server when the way to that breaks.
    let mut holding = PgConnection::connect(home.postgres_url()).await.unwrap();
    let lock = "BEGIN; LOCK TABLE projects IN ACCESS EXCLUSIVE MODE";
    holding.execute(lock).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    broken.send_replace(true);
    holding.execute("ROLLBACK").await.unwrap();
    let began = Instant::now();
    while refresh(&mut projects, 1).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        began.elapsed() < Duration::from_secs(7),
        "{:?}",
        began.elapsed()
    );
    service.stop().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn a_pool_that_was_moved_meanwhile_is_written_to_no_more() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let it = Guest::start(&home, "").await;
    let mut projects = it.service.projects().await;
    one_token(&mut it.service.tokens().await).await;
    eventually("all is well", async || it.is_well().await).await;
    let asked = google.fake().counters().oauth.total;
    run(
        home.postgres_url(),
        "INSERT INTO meta (key, value) VALUES ('moved', convert_to('sqlite://new.db', 'UTF8'))",
    )
    .await;
    let told = "has been moved to sqlite://new.db";
    eventually("it is told", async || it.shows(told).await).await;
    let refused = refresh(&mut projects, 1).await.unwrap_err();
    assert!(refused.message().contains(told), "{refused}");
    assert_eq!(google.fake().counters().oauth.total, asked);
    // As long as it is good, it is served.
    one_token(&mut it.service.tokens().await).await;
    run(home.postgres_url(), "DELETE FROM meta WHERE key = 'moved'").await;
    eventually("all is well again", async || it.is_well().await).await;
    refresh(&mut projects, 1).await.unwrap();
    it.service.stop().await;
}
