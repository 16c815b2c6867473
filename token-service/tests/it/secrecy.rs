//! Planted secrets are in no file but the tokens file, in no log line and in no `Debug`.

use std::process::{Command, Stdio};

use antigravity_proto::v1::{self, token_service_client::TokenServiceClient};
use antigravity_runtime::config::Environment;
use fake_google::{Account, Action, Fault};
use serde_json::json;
use token_service::Config;

use crate::support::{
    ADMIN_TOKEN, Bearer, GATEWAY_TOKEN, Home, channel, eventually, fake, google_with, lossy,
    one_token, tokens_json_of, wanted,
};

const REFRESH: &str = "1//planted-refresh-token-0123456789";
const ACCESS: &str = "ya29.planted-access-token-0123456789";
const CLIENT_SECRET: &str = "GOCSPX-planted-client-secret";
const KEY: &str = "cGxhbnRlZC1lbmNyeXB0aW9uLWtleS0wMTIzNDU2Nzg=";

#[tokio::test]
async fn nothing_planted_is_found_in_the_clear() {
    let mut account = Account::new(REFRESH, "planted-project");
    account.client_id = "planted-client".into();
    account.client_secret = CLIENT_SECRET.into();
    let google = google_with(fake_google::Config {
        accounts: vec![account],
        rotate_refresh_tokens: true,
        ..fake_google::Config::default()
    })
    .await;
    // A token endpoint that repeats what it was sent.
    let echo = json!({
        "error": "temporarily_unavailable",
        "error_description": format!("{REFRESH} {CLIENT_SECRET}"),
    });
    fake(&google).script(
        Fault::once(Action::Raw {
            status: 503,
            content_type: "application/json".into(),
            body: echo.to_string(),
        })
        .refresh_token(REFRESH),
    );
    let home = Home::new(&google);
    let mut file = tokens_json_of([
        json!({
            "project_id": "planted-project", "refresh_token": REFRESH,
            "access_token": ACCESS, "expires_at": home.clock.now().as_second() + 60,
        }),
        json!({"project_id": REFRESH, "refresh_token": ACCESS}),
        json!({"project_id": "typo", "refresh_token": {"value": ACCESS}}),
    ]);
    file["oauth_config"] = json!({"client_id": "planted-client", "client_secret": CLIENT_SECRET});
    home.write_tokens(&file);

    let log = home.path("log");
    let mut variables = home.variables();
    variables.push(("ENCRYPTION_KEY", KEY.to_owned()));
    variables.push(("LOG_LEVEL", "trace".to_owned()));
    let mut child = Command::new(env!("CARGO_BIN_EXE_token-service"))
        .env_clear()
        .envs(variables.clone())
        .current_dir(home.folder.path())
        .stderr(std::fs::File::create(&log).unwrap())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let listening = || {
        let log = lossy(&log);
        let line = log.lines().find(|line| line.contains("listening"))?;
        let (_, address) = line.split_once("address=")?;
        address.split_whitespace().next()?.parse().ok()
    };
    eventually("it listens", async || listening().is_some()).await;
    let channel = channel(listening().unwrap()).await;
    let bearer = Bearer(GATEWAY_TOKEN.into());
    let mut gateway = TokenServiceClient::with_interceptor(channel, bearer);
    let mut token = None;
    eventually("a token is dealt", async || {
        let answer = gateway.acquire_tokens(wanted(1)).await;
        token = answer
            .ok()
            .and_then(|answer| answer.into_inner().turns.pop());
        token.as_ref().is_some_and(|turn| {
            turn.token
                .as_ref()
                .is_some_and(|token| token.access_token != ACCESS)
        })
    })
    .await;
    let refused = one_token(&mut gateway).await;
    let request = v1::AcquireTokensRequest {
        rejected: vec![v1::RejectedToken {
            project_id: refused.project_id.clone(),
            fingerprint: refused.fingerprint.clone(),
            ..Default::default()
        }],
        ..wanted(1)
    };
    let answer = gateway.acquire_tokens(request).await.unwrap().into_inner();
    let issued = [
        refused.access_token.clone(),
        answer.refreshed[0].access_token.clone(),
    ];

    let data = home.path("data");
    let mut seen = vec![("log".to_owned(), lossy(&log))];
    for entry in std::fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        seen.push((path.display().to_string(), lossy(&path)));
    }
    let names: Vec<_> = seen.iter().map(|(name, _)| name.clone()).collect();
    assert!(names.iter().any(|name| name.ends_with("-wal")), "{names:?}");
    assert!(names.iter().any(|name| name.ends_with("-shm")), "{names:?}");
    child.kill().unwrap();
    child.wait().unwrap();

    let config = Config::from_environment(&Environment::of(variables)).unwrap();
    seen.push((
        "Debug of the configuration".to_owned(),
        format!("{config:?}"),
    ));
    seen.push(("Debug of the answer".to_owned(), format!("{answer:?}")));
    for (place, text) in seen {
        assert!(
            !text.is_empty() || place.ends_with("-wal") || place.ends_with("lock"),
            "{place}"
        );
        for secret in [
            REFRESH,
            ACCESS,
            CLIENT_SECRET,
            KEY,
            GATEWAY_TOKEN,
            ADMIN_TOKEN,
        ] {
            assert!(!text.contains(secret), "{secret} in {place}");
        }
        for secret in &issued {
            assert!(
                !text.contains(secret.as_str()),
                "an access token in {place}"
            );
        }
    }
    assert!(
        lossy(&log).contains("[secret]"),
        "the endpoint's words were logged"
    );
}
