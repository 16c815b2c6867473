//! `serve`: what users of the FastAPI version have works as it is, a first start needs
//! nothing, and a shutdown loses nothing.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use fake_google::Config;
use serde_json::Value;

use crate::support::{
    API_KEY, CLIENT_SECRET, Folder, account, at, borrowed, chat, google, http, tokens_json,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_the_fastapi_version_work_unchanged() {
    let google = google(Config::default()).await;
    let folder = Folder::new();
    let env = format!("API_KEYS=[\"{API_KEY}\", \"sk-another\"]\nHOST=127.0.0.1\nPORT=0\n");
    folder.write(".env", &env);
    folder.write("data/tokens.json", &tokens_json());
    let mut environment = at(&google, &folder);
    environment.push(("LOG_LEVEL", "trace".to_owned()));
    let serving = folder.serve(&borrowed(&environment));
    let url = serving.url("/v1/chat/completions");

    let unary = chat(&url, API_KEY, false).await;
    assert_eq!(unary.status(), 200);
    let unary: Value = serde_json::from_str(&unary.text().await.unwrap()).unwrap();
    let said = unary["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(said.contains("rivers"), "{unary}");

    let stream = chat(&url, "sk-another", true).await;
    assert_eq!(stream.status(), 200);
    let stream = stream.text().await.unwrap();
    assert!(stream.ends_with("data: [DONE]\n\n"), "{stream}");

    let models = http().get(serving.url("/v1/models")).bearer_auth(API_KEY);
    let models = models.send().await.unwrap().text().await.unwrap();
    assert!(models.contains("gemini-2.5-flash"), "{models}");

    assert_eq!(chat(&url, "sk-wrong", false).await.status(), 401);
    for _ in 0..4 {
        assert_eq!(chat(&url, API_KEY, false).await.status(), 200);
    }
    let counters = google.fake().counters();
    for n in 1..=3 {
        assert_eq!(counters.project(&format!("project-{n}")), 2, "{counters:?}");
    }

    let done = serving.end().exits_with(0);
    for n in 1..=3 {
        done.tells_no(&account(n).refresh_token);
    }
    done.tells_no("ya29.")
        .tells_no(API_KEY)
        .tells_no("sk-another")
        .tells_no(CLIENT_SECRET)
        .tells_no("rivers");
    for name in ["admin_token", "gateway_token", "encryption.key"] {
        done.tells_no(folder.read(&format!("data/{name}")).trim());
    }
    assert_eq!(folder.read(".env"), env);
    assert_eq!(folder.read("data/tokens.json"), tokens_json());
    assert!(!folder.has("data/api_key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_needs_nothing_and_says_what_comes_next() {
    let folder = Folder::new();
    let serving = folder.serve(&[]);
    let key = folder.read("data/api_key");
    assert!(key.starts_with("sk-"), "as OpenAI's look");
    let mode = std::fs::metadata(folder.path().join("data/api_key")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    let answer = chat(&serving.url("/v1/chat/completions"), key.trim(), false).await;
    assert!(answer.status().is_server_error(), "{answer:?}");

    let done = serving.end().exits_with(0);
    done.says("antigravity-gateway import data/tokens.json")
        .says("data/api_key")
        .tells_no(key.trim());

    let again = folder.serve(&[]);
    assert_eq!(folder.read("data/api_key"), key);
    again.end().exits_with(0).tells_no(key.trim());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_stream_ends_whole_after_sigterm() {
    let google = google(Config {
        text_chunks: 20,
        event_delay: Duration::from_millis(20),
        ..Config::default()
    })
    .await;
    let folder = Folder::new();
    folder.write("data/tokens.json", &tokens_json());
    let mut environment = at(&google, &folder);
    environment.push(("API_KEYS", API_KEY.to_owned()));
    let serving = folder.serve(&borrowed(&environment));

    let mut stream = chat(&serving.url("/v1/chat/completions"), API_KEY, true).await;
    let mut text = stream.chunk().await.unwrap().unwrap().to_vec();
    serving.process.terminate();
    while let Some(piece) = stream.chunk().await.unwrap() {
        text.extend_from_slice(&piece);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    serving.process.wait().exits_with(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_waits_for_nobody() {
    let google = google(Config {
        event_delay: Duration::from_secs(600),
        ..Config::default()
    })
    .await;
    let folder = Folder::new();
    folder.write("data/tokens.json", &tokens_json());
    let mut environment = at(&google, &folder);
    environment.push(("API_KEYS", API_KEY.to_owned()));
    let serving = folder.serve(&borrowed(&environment));

    let mut stream = chat(&serving.url("/v1/chat/completions"), API_KEY, true).await;
    stream.chunk().await.unwrap();
    serving.process.terminate();
    serving.process.log_with("a second signal ends at once");
    serving.process.terminate();
    serving.process.wait().exits_with(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_services_answer_the_healthcheck() {
    let folder = Folder::new();
    let serving = folder.serve(&[]);
    let port = serving.gateway.port().to_string();
    let grpc = serving.token_service.to_string();
    let environment = [("PORT", port.as_str()), ("TOKEN_SERVICE_LISTEN", &grpc)];
    folder.run(&["healthcheck"], &environment).exits_with(0);
    serving.end().exits_with(0);
    // A port that nobody gets by asking for any.
    let dead = folder.run(&["healthcheck"], &[("PORT", "9")]).exits_with(1);
    dead.says("the gateway on 127.0.0.1:9 does not live");
}

#[test]
fn misspelt_names_are_told_with_their_lines() {
    let folder = Folder::new();
    folder.write(".env", "HOST=127.0.0.1\n\nAPI_KEY=sk-planted-too\n");
    let done = folder.serve(&[]).end().exits_with(0);
    done.says("\"name\":\"API_KEY\"")
        .says("line 3 of .env")
        .tells_no("sk-planted-too");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_service_has_its_own_metrics() {
    let google = google(Config::default()).await;
    let folder = Folder::new();
    folder.write("data/tokens.json", &tokens_json());
    let [gateway, token_service] =
        std::array::from_fn(|_| fake_google::unused_address().unwrap().to_string());
    let mut environment = at(&google, &folder);
    let keys = format!("[\"{API_KEY}\"]");
    environment.push(("API_KEYS", keys));
    environment.push(("ADMIN_LISTEN", gateway.clone()));
    environment.push(("TOKEN_SERVICE_ADMIN_LISTEN", token_service.clone()));
    let serving = folder.serve(&borrowed(&environment));
    let url = serving.url("/v1/chat/completions");
    assert_eq!(chat(&url, API_KEY, false).await.status(), 200);
    for (address, ours, others) in [
        (
            &gateway,
            "antigravity_gateway_",
            "antigravity_token_service_",
        ),
        (
            &token_service,
            "antigravity_token_service_",
            "antigravity_gateway_",
        ),
    ] {
        let text = http().get(format!("http://{address}/metrics")).send().await;
        let text = text.unwrap().text().await.unwrap();
        assert!(text.contains(ours) && !text.contains(others), "{text}");
    }
    // A command that brings a service of its own needs no listener for it.
    serving.end().exits_with(0);
    let taken = std::net::TcpListener::bind(&token_service).unwrap();
    let list = folder.run(&["projects", "list"], &borrowed(&environment));
    list.exits_with(0);
    folder
        .run(&["serve"], &borrowed(&environment))
        .exits_with(1)
        .says("TOKEN_SERVICE_ADMIN_LISTEN")
        .says(&token_service);
    drop(taken);
}

/// As in the token-service's image, which has the operators' commands beside the service.
#[test]
fn a_link_by_the_services_name_is_the_token_service() {
    let folder = Folder::new();
    let link = folder.path().join("token-service");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_antigravity-gateway"), &link).unwrap();
    let run = |argument: &str| {
        let output = std::process::Command::new(&link)
            .arg(argument)
            .current_dir(folder.path())
            .env_clear()
            .env("TOKEN_SERVICE_LISTEN", "127.0.0.1:9")
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let version = format!("token-service {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run("--version"), (Some(0), version));
    let (code, told) = run("healthcheck");
    assert!(code == Some(1) && told.contains("127.0.0.1:9"), "{told}");
    // It has none of the operators' commands.
    assert_eq!(run("projects").0, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_while_the_database_is_away() {
    let folder = Folder::new();
    let keys = format!("[\"{API_KEY}\"]");
    let process = folder.start(
        &["serve"],
        &[
            ("PORT", "0"),
            ("SHUTDOWN_DELAY", "0s"),
            // A port that nobody gets by asking for any.
            ("DATABASE_URL", "postgres://nobody:planted@127.0.0.1:9/none"),
            (
                "ENCRYPTION_KEY",
                "dGhlIGtleSBvZiB0aGUgdGVzdHMsIDMyIGJ5dGVzISE=",
            ),
            ("GATEWAY_TOKEN", "0123456789abcdef0123"),
            ("ADMIN_TOKEN", "another-0123456789abcdef"),
            ("API_KEYS", &keys),
        ],
    );
    let gateway = process.address_in("\"the gateway listens\"");
    let url = format!("http://{gateway}/v1/chat/completions");
    let answer = tokio::time::timeout(Duration::from_secs(20), chat(&url, API_KEY, false));
    let answer = answer.await.expect("it hangs");
    assert_eq!(answer.status(), 503);
    process.terminate();
    let ended = process.wait().exits_with(0);
    ended.says("cannot start without the database");
    ended.tells_no("planted");
}
