//! SIGKILL at each point of a refresh that rotates the refresh token: what is stored
//! still refreshes.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use antigravity_proto::v1::{
    token_service_client::TokenServiceClient, usage_service_client::UsageServiceClient,
};
use fake_google::Account;
use sqlx::Connection as _;

use crate::support::{
    ADMIN_TOKEN, Bearer, GATEWAY_TOKEN, Home, TokensClient, UsageClient, channel, dealt,
    eventually, fake, one_token, refreshes, rotating_google, slow, tokens_json, wanted,
};

/// The real binary, killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    pub(crate) fn start(home: &Home) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_token-service"))
            .env_clear()
            .envs(home.variables())
            .env("LOG_FORMAT", "json")
            .current_dir(home.folder.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| {
                let line: serde_json::Value = serde_json::from_str(&line).unwrap();
                let address = line.get("address")?.as_str()?.parse().unwrap();
                Some(address)
            })
            .expect("it has ended");
        // A full pipe would hold the process up.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    pub(crate) async fn tokens(&self) -> TokensClient {
        let channel = channel(self.address).await;
        TokenServiceClient::with_interceptor(channel, Bearer(GATEWAY_TOKEN.into()))
    }

    pub(crate) async fn usage(&self) -> UsageClient {
        let channel = channel(self.address).await;
        UsageServiceClient::with_interceptor(channel, Bearer(ADMIN_TOKEN.into()))
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn refreshes_after_a_restart(home: &Home) {
    let process = Process::start(home);
    one_token(&mut process.tokens().await).await;
    process.kill();
    let process = Process::start(home);
    one_token(&mut process.tokens().await).await;
    process.kill();
}

#[tokio::test]
async fn before_google_takes_the_request() {
    let google = rotating_google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    fake(&google).script(slow(60_000, 0));
    let process = Process::start(&home);
    eventually("the request is under way", async || {
        refreshes(google.fake(), 1) == 1
    })
    .await;
    process.kill();
    refreshes_after_a_restart(&home).await;
}

#[tokio::test]
async fn after_google_has_rotated_and_before_it_answers() {
    let google = rotating_google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    fake(&google).script(slow(0, 60_000));
    let process = Process::start(&home);
    eventually("Google has rotated", async || {
        let name = fake_google::fingerprint(&Account::numbered(1).refresh_token);
        let counters = google.fake().counters();
        let of_token = counters.oauth.by_refresh_token.get(&name);
        of_token.is_some_and(|refreshes| refreshes.granted == 1)
    })
    .await;
    process.kill();
    refreshes_after_a_restart(&home).await;
}

#[tokio::test]
async fn after_the_answer_and_before_it_is_stored() {
    let google = rotating_google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    fake(&google).script(slow(1500, 0));
    let process = Process::start(&home);
    // Holds up every commit of the service.
    let url = format!("sqlite://{}", home.database().display());
    let mut lock = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let held = lock.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let mut gateway = process.tokens().await;
    let call = tokio::spawn(async move { gateway.acquire_tokens(wanted(1)).await });
    eventually("Google has answered", async || {
        let counters = google.fake().counters();
        counters.statuses.get(&200) == Some(&1) && counters.in_flight == 0
    })
    .await;
    assert!(
        !call.is_finished(),
        "nothing is handed out before it is stored"
    );
    process.kill();
    assert!(call.await.unwrap().is_err());
    held.rollback().await.unwrap();
    lock.close().await.unwrap();
    refreshes_after_a_restart(&home).await;
}

#[tokio::test]
async fn after_it_is_stored() {
    let google = rotating_google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let process = Process::start(&home);
    let before = one_token(&mut process.tokens().await).await;
    process.kill();
    let process = Process::start(&home);
    assert_eq!(one_token(&mut process.tokens().await).await, before);
    process.kill();
    assert_eq!(refreshes(google.fake(), 1), 1);
}

#[tokio::test]
async fn the_rotation_does_not_start_over() {
    let google = rotating_google(3).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=3));
    let process = Process::start(&home);
    assert_eq!(dealt(&mut process.tokens().await, wanted(1)).await, "1");
    eventually("the order is saved", async || {
        let url = format!("sqlite://{}?mode=ro", home.database().display());
        let mut reader = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let saved: i64 = sqlx::query_scalar("SELECT count(*) FROM rotation")
            .fetch_one(&mut reader)
            .await
            .unwrap();
        reader.close().await.unwrap();
        saved == 1
    })
    .await;
    process.kill();
    let process = Process::start(&home);
    assert_eq!(dealt(&mut process.tokens().await, wanted(3)).await, "2 3 1");
    process.kill();
}
