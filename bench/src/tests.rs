//! Whether the parts work together: a fake Google, a token-service and a gateway in this
//! process, the pass-through and the load. Nothing here holds a figure to a limit.

use std::{sync::Arc, time::Duration};

use antigravity_runtime::{config::Environment, shutdown::Shutdown};
use clap::CommandFactory as _;
use fake_google::{Config, Running};
use tokio::net::TcpListener;

use crate::{
    Options,
    client::{Call, Door, headers},
    events, hostile,
    load::{self, Lengths},
    pass_through,
    process::Meter,
    tls,
    workload::{Load, Requests, WORKLOADS, Workload},
};

const API_KEY: &str = "sk-planted-api-key";
const LENGTHS: Lengths = Lengths {
    warm_up: Duration::from_millis(20),
    measured: Duration::from_millis(100),
    waves: 2,
};

fn workload(name: &str) -> &'static Workload {
    WORKLOADS.iter().find(|one| one.name == name).unwrap()
}

fn direct(google: &Running, requests: &Requests) -> Call {
    let tls = google.ca_pem().map(|ca| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, ca).unwrap();
        Arc::new(tls::trusting(Some(&file)).unwrap())
    });
    Call {
        door: Door {
            address: google.address(),
            tls,
        },
        path: requests.google_path.clone(),
        headers: headers(None).unwrap(),
        body: requests.google.clone(),
        end_mark: "\"finishReason\"",
    }
}

async fn passed_through(google: &Running, requests: &Requests) -> Call {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (to, ca) = (google.base_url(), google.ca_pem().map(str::to_owned));
    tokio::spawn(async move {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let ca = ca.map(|ca| std::fs::write(&file, ca).map(|()| file).unwrap());
        let to = to.parse().unwrap();
        pass_through::serve(listener, &to, ca.as_deref())
            .await
            .unwrap();
    });
    Call {
        door: Door { address, tls: None },
        ..direct(google, requests)
    }
}

/// The call of a gateway in front of `google`; the services run as long as the test does.
async fn ours(google: &Running, requests: &Requests) -> Call {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let account = fake_google::Account::numbered(1);
    let tokens = serde_json::json!({
        "oauth_config": {"client_id": fake_google::CLIENT_ID,
            "client_secret": fake_google::CLIENT_SECRET},
        "projects": [{"project_id": account.projects[0], "refresh_token": account.refresh_token}],
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let grpc = listener.local_addr().unwrap();
    let mut variables = vec![
        ("TOKENS_FILE", write("tokens.json", &tokens.to_string())),
        ("DATABASE_URL", "sqlite::memory:".to_owned()),
        ("OAUTH_TOKEN_URL", format!("{}/token", google.base_url())),
        ("GATEWAY_TOKEN", "planted-gateway-token".to_owned()),
        ("ADMIN_TOKEN", "planted-admin-token".to_owned()),
        ("TOKEN_SERVICE_URL", format!("http://{grpc}")),
        ("API_KEYS", format!("tests={API_KEY}")),
        ("ANTIGRAVITY_BASE_URLS", google.base_url()),
    ];
    variables.extend(
        google
            .ca_pem()
            .map(|ca| ("UPSTREAM_CA_FILE", write("ca.pem", ca))),
    );
    let environment = Environment::of(variables);
    let config = token_service::Config::from_environment(&environment).unwrap();
    tokio::spawn(async move {
        let _folder = folder;
        token_service::serve(config, listener, Shutdown::new()).await
    });
    let nothing = gateway::config::Defaults::default();
    let config = gateway::config::Config::from_environment(&environment, nothing).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(gateway::serve(config, listener, Shutdown::new()));
    Call {
        door: Door { address, tls: None },
        path: "/v1/chat/completions".to_owned(),
        headers: headers(Some(API_KEY)).unwrap(),
        body: requests.openai.clone(),
        end_mark: "[DONE]",
    }
}

#[tokio::test]
async fn every_target_answers_the_load() {
    for https in [false, true] {
        let google = Config {
            prepared: true,
            text_chunks: 20,
            ..Config::default()
        };
        let google = Running::start(google, https).await.unwrap();
        let requests = workload("stream-small-32").requests();
        let calls = [
            direct(&google, &requests),
            passed_through(&google, &requests).await,
            ours(&google, &requests).await,
        ];
        for call in calls.map(Arc::new) {
            let mut connection = call.door.connect().await.unwrap();
            let answer = connection.call(&call, true).await.unwrap();
            assert_eq!(events::check(&answer.body), Ok(20), "https: {https}");
            let load = Load::Closed { connections: 3 };
            let meter = Meter::of_this_process();
            let told = load::measure(load, &[call], LENGTHS, &meter).await.unwrap();
            assert_eq!((told.failures, told.failure), (0, None));
            assert!(told.answers >= 3);
        }
    }
}

#[tokio::test]
async fn what_goes_wrong_is_counted_and_told() {
    let google = Running::start(Config::default(), false).await.unwrap();
    let requests = workload("unary-small-32").requests();
    let call = Arc::new(direct(&google, &requests));
    let load = Load::Closed { connections: 2 };
    let meter = Meter::of_this_process();
    // Google wants a token.
    let told = load::measure(load, &[call], LENGTHS, &meter).await.unwrap();
    assert_eq!(told.answers, 0);
    assert!(told.failures >= 2);
    assert!(told.failure.unwrap().contains("401"));
}

#[tokio::test]
async fn slow_streams_are_looked_at_event_by_event() {
    let config = |prepared| Config {
        prepared,
        text_chunks: 3,
        event_delay: Duration::from_millis(5),
        ..Config::default()
    };
    let requests = workload("slow-500").requests();
    let load = Load::Slow { streams: 4 };
    let meter = Meter::of_this_process();
    let google = Running::start(config(true), false).await.unwrap();
    let call = Arc::new(direct(&google, &requests));
    let told = load::measure(load, &[call], LENGTHS, &meter).await.unwrap();
    assert_eq!((told.answers, told.failure), (8, None));
    assert!(told.longest_gap >= 5.0);
}

#[tokio::test]
async fn requests_in_segments_of_one_byte_are_requests() {
    let google = Running::start(Config::default(), false).await.unwrap();
    let call = ours(&google, &workload("unary-small-32").requests()).await;
    let text = hostile::as_text(&call);
    hostile::write_once(call.door.address, &text).await.unwrap();
}

#[test]
fn the_command_line_holds_together() {
    Options::command().debug_assert();
}
