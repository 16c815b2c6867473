//! Files of other programs, told by their shape, over gRPC as operators send them.

use antigravity_proto::v1::{
    self, Upstream,
    import_projects_request::{Options, Payload},
    import_projects_response::{Format, Result as Told},
    project::{Credential, State},
};
use fake_google::{API_KEY, CLIENT_ID, CLIENT_SECRET, Config, ServiceAccount};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::{
    admin::put_client,
    support::{Home, ProjectsClient, entry, google_with, ids, one_token, project, tokens_json_of},
    transfers::{PASSPHRASE, export, import},
};

async fn google() -> fake_google::Running {
    google_with(Config {
        service_accounts: vec![ServiceAccount::of_project("robots")],
        ..Config::with_accounts(2)
    })
    .await
}

async fn sent(
    admin: &mut ProjectsClient,
    file: &Value,
    options: Options,
) -> Result<Vec<v1::ImportProjectsResponse>, Status> {
    let text = serde_json::to_string_pretty(file).unwrap();
    let payloads = vec![
        Payload::Options(options),
        Payload::TokensJson(text.into_bytes()),
    ];
    import(admin, payloads).await
}

fn project_option(project: &str) -> Options {
    Options {
        default_google_project_id: project.into(),
        ..Default::default()
    }
}

/// Each file, what it is, and the Google project and upstream of its one good account.
fn files(home: &Home) -> Vec<(Value, Format, &'static str, Upstream)> {
    let antigravity = Upstream::Antigravity;
    let key: Value =
        serde_json::from_str(&ServiceAccount::of_project("robots").key_file(&home.token_url))
            .unwrap();
    vec![
        (
            json!({
                "account": "", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET,
                "quota_project_id": "gcloud-p", "refresh_token": "1//a",
                "type": "authorized_user", "universe_domain": "googleapis.com",
            }),
            Format::GcloudUser,
            "gcloud-p",
            Upstream::Vertex,
        ),
        (
            json!({
                "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "token": "ya29.x",
                "refresh_token": "1//b", "project_id": "library-p", "scopes": ["s"],
                "token_uri": "https://evil.example/token", "expiry": "2026-01-01T00:00:00Z",
            }),
            Format::GcloudUser,
            "library-p",
            Upstream::Vertex,
        ),
        (key, Format::ServiceAccountKey, "robots", Upstream::Vertex),
        (
            json!({
                "access_token": "ya29.x", "refresh_token": "1//c", "scope": "s",
                "token_type": "Bearer", "id_token": "i", "expiry_date": 1_700_000_000_000_i64,
            }),
            Format::GeminiCli,
            "stated-p",
            antigravity,
        ),
        (
            json!({
                "type": "antigravity", "access_token": "ya29.x", "refresh_token": "1//d",
                "email": "d@example.com", "expired": "2026-01-01T00:00:00Z", "expires_in": 3599,
                "project_id": "proxy-p", "timestamp": 1_700_000_000_000_i64,
            }),
            Format::CliProxyApi,
            "proxy-p",
            antigravity,
        ),
        (
            json!({
                "type": "gemini", "email": "e@example.com", "project_id": "proxy-g",
                "auto": true, "checked": true,
                "token": {
                    "access_token": "ya29.x", "client_id": CLIENT_ID,
                    "client_secret": CLIENT_SECRET, "refresh_token": "1//e",
                    "token_uri": "https://evil.example/token", "expiry": "2026-01-01T00:00:00Z",
                },
            }),
            Format::CliProxyApi,
            "proxy-g",
            antigravity,
        ),
        (
            json!({
                "id": "6a8f", "email": "f@example.com", "name": null, "created_at": 1,
                "token": {
                    "access_token": "ya29.x", "refresh_token": "1//f", "expires_in": 3599,
                    "expiry_timestamp": 1_700_000_000, "token_type": "Bearer",
                    "email": "f@example.com", "project_id": "manager-p",
                },
                "quota": {"models": []}, "disabled": false,
            }),
            Format::AntigravityManager,
            "manager-p",
            antigravity,
        ),
        (
            json!([{"email": "g@example.com", "refresh_token": "1//g"}]),
            Format::AntigravityManager,
            "stated-p",
            antigravity,
        ),
        (
            json!({
                "version": 3,
                "accounts": [{
                    "email": "h@example.com", "refreshToken": "1//h", "projectId": "own-p",
                    "managedProjectId": "managed-p", "addedAt": 1, "lastUsed": 1,
                }],
                "activeIndex": 0, "activeIndexByFamily": {"claude": 0, "gemini": 0},
            }),
            Format::OpencodeAntigravityAuth,
            "managed-p",
            antigravity,
        ),
        (
            json!({
                "version": 4,
                "accounts": [{"refreshToken": "1//i|own-p|packed-p", "enabled": true}],
                "activeIndex": 0,
            }),
            Format::OpencodeAntigravityAuth,
            "packed-p",
            antigravity,
        ),
        (
            json!([{
                "access_token": "ya29.x", "refresh_token": "1//j", "expires_in": 3599,
                "timestamp": 1_700_000_000_000_i64, "enable": true, "projectId": "api-p",
            }]),
            Format::Antigravity2api,
            "api-p",
            antigravity,
        ),
        (
            json!({
                "accounts": [{
                    "email": "k@example.com", "source": "oauth", "refreshToken": "1//k",
                    "projectId": "claude-p", "addedAt": "2026-01-01T00:00:00Z",
                    "modelRateLimits": {},
                }],
                "settings": {}, "activeIndex": 0,
            }),
            Format::AntigravityClaudeProxy,
            "claude-p",
            antigravity,
        ),
    ]
}

#[tokio::test]
async fn each_is_recognised_imported_once_and_no_more() {
    let google = google().await;
    let home = Home::new(&google);
    for (file, format, google_project, upstream) in files(&home) {
        let home = Home::new(&google);
        let service = home.start().await;
        let mut admin = service.projects().await;
        put_client(&mut admin, CLIENT_ID, CLIENT_SECRET).await;
        let options = project_option("stated-p");
        let options = match google_project {
            "stated-p" => options,
            _ => Options::default(),
        };
        let answers = sent(&mut admin, &file, options.clone()).await.unwrap();
        let told: Vec<_> = answers.iter().map(|a| (a.result(), a.format())).collect();
        assert_eq!(told, [(Told::Created, format)], "{answers:?}");
        let shown = project(&mut admin, google_project).await;
        assert_eq!(shown.upstream(), upstream, "{file}");
        assert_eq!(shown.google_project_id, google_project);
        assert_eq!(shown.state(), State::Active);
        let again = sent(&mut admin, &file, options.clone()).await.unwrap();
        assert_eq!(again[0].result(), Told::Unchanged, "{file}");
        let request = v1::DeleteProjectRequest {
            id: google_project.into(),
        };
        admin.delete_project(request).await.unwrap();
        let removed = sent(&mut admin, &file, options).await.unwrap();
        assert_eq!(
            removed[0].result(),
            Told::Unchanged,
            "a removal outlasts it"
        );
        assert!(ids(&mut admin).await.is_empty());
        let clients = admin
            .list_o_auth_clients(v1::ListOAuthClientsRequest {})
            .await
            .unwrap()
            .into_inner()
            .clients;
        assert_eq!(clients.len(), 1);
        assert_eq!(
            clients[0].token_url, "",
            "a foreign file says nothing of that"
        );
        service.stop().await;
    }
}

#[tokio::test]
async fn accounts_that_lack_something_are_told_what_to_do() {
    let google = google().await;
    let home = Home::new(&google);
    let service = home.start().await;
    let mut admin = service.projects().await;
    let file = json!([
        {"email": "a@example.com", "refresh_token": "1//a"},
        {"email": "b@example.com", "refresh_token": "1//b", "projectId": "p", "enable": false},
        {"email": "c@example.com", "enable": true},
        {"refresh_token": "1//b", "projectId": "p", "enable": true},
        {"refresh_token": "1//d", "projectId": "123456", "enable": true},
        "planted",
    ]);
    let answers = sent(&mut admin, &file, Options::default()).await.unwrap();
    let messages: Vec<_> = answers.iter().map(|a| a.message.as_str()).collect();
    assert!(
        messages[0].contains("import --project PROJECT_ID"),
        "{messages:?}"
    );
    assert!(messages[0].contains("antigravity-gateway login"));
    assert!(messages[1].contains("oauth-clients put"), "{messages:?}");
    put_client(&mut admin, CLIENT_ID, CLIENT_SECRET).await;
    let answers = sent(&mut admin, &file, Options::default()).await.unwrap();
    let told: Vec<_> = answers.iter().map(|a| (a.line, a.result())).collect();
    assert_eq!(
        told,
        [
            (2, Told::Rejected),
            (6, Told::Created),
            (12, Told::Rejected),
            (16, Told::Rejected),
            (21, Told::Rejected),
            (26, Told::Rejected),
        ]
    );
    assert_eq!(answers[2].message, "refresh_token is missing");
    assert!(
        answers[3].message.contains("line 6"),
        "{}",
        answers[3].message
    );
    assert!(answers[4].message.contains("project number"));
    assert_eq!(answers[5].message, "is text, not an object");
    assert_eq!(project(&mut admin, "p").await.state(), State::Disabled);

    put_client(&mut admin, "second", "s").await;
    let several = json!({"type": "antigravity", "refresh_token": "1//e", "project_id": "q"});
    let answers = sent(&mut admin, &several, Options::default())
        .await
        .unwrap();
    assert!(
        answers[0].message.contains("--oauth-client"),
        "{}",
        answers[0].message
    );
    let named = Options {
        default_oauth_client_id: "second".into(),
        default_upstream: Upstream::Gemini.into(),
        ..Default::default()
    };
    sent(&mut admin, &several, named).await.unwrap();
    let shown = project(&mut admin, "q").await;
    assert_eq!(shown.oauth_client_id, "second");
    assert_eq!(shown.upstream(), Upstream::Gemini);
    let unknown = Options {
        default_oauth_client_id: "third".into(),
        ..Default::default()
    };
    let refused = sent(&mut admin, &several, unknown).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    service.stop().await;
}

#[tokio::test]
async fn what_is_not_recognised_names_what_is() {
    let google = google().await;
    let home = Home::new(&google);
    let service = home.start().await;
    let mut admin = service.projects().await;
    for (file, problem) in [
        (json!({"hello": "planted"}), "gemini-cli's oauth_creds.json"),
        (json!(["planted"]), "application_default_credentials.json"),
        (
            json!({"type": "claude", "access_token": "planted"}),
            "CLIProxyAPI",
        ),
        (json!({"accounts": []}), "Antigravity-Manager"),
        (
            json!({"installed": {"client_secret": "planted"}}),
            "oauth-clients put",
        ),
        (
            json!({"version": "2.0", "accounts": [{"id": "x"}], "current_account_id": "x"}),
            "import the folder `accounts` beside it",
        ),
    ] {
        let refused = sent(&mut admin, &file, Options::default())
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(problem), "{}", refused.message());
        assert!(!refused.message().contains("planted"));
    }
    service.stop().await;
}

#[tokio::test]
async fn a_key_of_another_account_is_a_project_of_its_own() {
    let google = google().await;
    let home = Home::new(&google);
    let service = home.start().await;
    let mut admin = service.projects().await;
    let robot = |name: &str| {
        let mut robot = ServiceAccount::of_project("robots");
        robot.client_email = format!("{name}@robots.iam.gserviceaccount.com");
        serde_json::from_str::<Value>(&robot.key_file(&home.token_url)).unwrap()
    };
    for name in ["one", "two"] {
        let answers = sent(&mut admin, &robot(name), Options::default())
            .await
            .unwrap();
        assert_eq!(answers[0].result(), Told::Created);
    }
    assert_eq!(ids(&mut admin).await, ["robots", "robots-2"]);
    let foreign = {
        let mut key = robot("three");
        key["token_uri"] = json!("https://evil.example/token");
        key
    };
    let answers = sent(&mut admin, &foreign, Options::default())
        .await
        .unwrap();
    assert_eq!(answers[0].result(), Told::Rejected);
    assert!(
        answers[0]
            .message
            .contains("not Google's (https://evil.example)")
    );
    service.stop().await;
}

#[tokio::test]
async fn an_export_carries_every_kind_and_tells_itself() {
    let google = google().await;
    let home = Home::new(&google);
    let service = home.start().await;
    let mut admin = service.projects().await;
    let key: Value =
        serde_json::from_str(&ServiceAccount::of_project("robots").key_file(&home.token_url))
            .unwrap();
    let all = tokens_json_of([
        entry(1),
        json!({"service_account_key": key}),
        json!({"service_account_key": key.to_string(), "project_id": "other", "upstream": "gemini"}),
        json!({"api_key": API_KEY, "display_name": "mine"}),
        json!({"api_key": "k", "refresh_token": "1//x", "project_id": "two"}),
        json!({"api_key": "k", "upstream": "vertex"}),
        json!({"api_key": "k", "oauth_client": CLIENT_ID}),
        json!({"service_account_key": {"type": "service_account"}}),
    ]);
    let answers = sent(&mut admin, &all, Options::default()).await.unwrap();
    let created = answers
        .iter()
        .filter(|a| a.result() == Told::Created)
        .count();
    assert_eq!(created, 4, "{answers:?}");
    let problems: Vec<_> = answers[4..].iter().map(|a| a.message.as_str()).collect();
    assert!(
        problems[0].contains("api_key stands beside refresh_token"),
        "{problems:?}"
    );
    assert!(problems[1].contains("upstream is vertex, which takes no API key"));
    assert!(problems[2].contains("oauth_client is for refresh tokens"));
    assert!(problems[3].contains("has no private_key"));
    let before = ids(&mut admin).await;
    let sealed = export(&mut admin).await;
    for secret in [API_KEY, "PRIVATE KEY", "1//fake"] {
        assert!(!String::from_utf8_lossy(&sealed).contains(secret));
    }
    service.stop().await;

    let clean = Home::new(&google);
    let service = clean.start().await;
    let mut admin = service.projects().await;
    let options = Options {
        passphrase: PASSPHRASE.into(),
        ..Default::default()
    };
    // Told by its shape, whatever it is sent as.
    let mut payloads = vec![Payload::Options(options)];
    payloads.extend(
        sealed
            .chunks(99)
            .map(|piece| Payload::TokensJson(piece.to_vec())),
    );
    let answers = import(&mut admin, payloads).await.unwrap();
    assert!(answers.iter().all(|a| a.format() == Format::SealedExport));
    assert_eq!(ids(&mut admin).await, before);
    for (id, kind) in [
        ("fake-project-1", Credential::RefreshToken),
        ("robots", Credential::ServiceAccountKey),
        ("other", Credential::ServiceAccountKey),
    ] {
        assert_eq!(project(&mut admin, id).await.credential(), kind);
    }
    for _ in 0..4 {
        one_token(&mut service.tokens().await).await;
    }
    service.stop().await;
}

#[tokio::test]
async fn an_import_tells_how_far_it_is_when_it_is_asked_to() {
    let google = google().await;
    let home = Home::new(&google);
    let service = home.start().await;
    let mut admin = service.projects().await;
    let entries = (0..100).map(|n| json!({"project_id": format!("p{n}"), "refresh_token": "1//x"}));
    let file = tokens_json_of(entries);
    let options = Options {
        progress: true,
        ..Default::default()
    };
    let answers = sent(&mut admin, &file, options).await.unwrap();
    let (steps, results): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.progress.is_some());
    assert_eq!(results.len(), 100);
    let steps: Vec<_> = steps.iter().filter_map(|step| step.progress).collect();
    assert!(steps.is_sorted_by_key(|step| step.written));
    let last = steps.last().unwrap();
    assert_eq!(last.written, last.total);
    assert!(!steps.is_empty() && last.total == 100, "{steps:?}");
    let quiet = sent(&mut admin, &file, Options::default()).await.unwrap();
    assert!(quiet.iter().all(|answer| answer.progress.is_none()));
    service.stop().await;
}
