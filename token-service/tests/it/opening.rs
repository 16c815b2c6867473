//! A service whose database is there, and is being opened by somebody else.

use std::time::{Duration, Instant};

use antigravity_proto::v1;
use sqlx::{Connection as _, PgConnection};
use tonic::Code;

use crate::support::{Home, Service, eventually, google};

/// The advisory lock of those who open the database.
const OPENING: i64 = 0x4147_544b + 1;

#[tokio::test]
#[ignore = "needs PostgreSQL: TEST_DATABASE_URL"]
async fn while_another_service_migrates_calls_are_answered_and_the_end_is_not_waited_for() {
    let google = google(1).await;
    let home = Home::new(&google);
    let mut other = PgConnection::connect(home.postgres_url()).await.unwrap();
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(OPENING)
        .execute(&mut other)
        .await
        .unwrap();

    let mut config = home.config();
    let admin = fake_google::unused_address().unwrap();
    config.admin_listen = Some(admin);
    let service = Service::start(config).await;
    let began = Instant::now();
    let mut operator = service.projects().await;
    let refused = operator
        .list_projects(v1::ListProjectsRequest::default())
        .await
        .unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(10), "{refused:?}");
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("is being opened"), "{refused:?}");
    let client = reqwest::Client::builder()
        .tls_certs_only([])
        .build()
        .unwrap();
    let ready = client.get(format!("http://{admin}/readyz"));
    let ready = ready.send().await.unwrap().text().await.unwrap();
    assert!(ready.contains("is being opened"), "{ready}");
    let began = Instant::now();
    service.stop().await;
    assert!(began.elapsed() < Duration::from_secs(2));

    // The next one is there once the other has ended.
    let service = home.start().await;
    drop(other);
    eventually("it serves", async || {
        let mut operator = service.projects().await;
        let list = operator.list_projects(v1::ListProjectsRequest::default());
        list.await.is_ok()
    })
    .await;
    service.stop().await;
}
