//! What projects log in with besides refresh tokens: service-account keys and API keys.

use antigravity_proto::v1::{
    self, Scheme, Upstream,
    project::{Credential, State},
};
use fake_google::{API_KEY, Account, Config, ServiceAccount};
use serde_json::{Value, json};
use sqlx::Connection as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{
    Home, ProjectsClient, dealt, eventually, fake, google, google_with, ids, lossy, one_token,
    project, raw, set_disabled, tokens_json, wanted,
};

const ROBOT: &str = "robot@robots.iam.gserviceaccount.com";

fn robots() -> ServiceAccount {
    ServiceAccount::of_project("robots")
}

async fn google_of_all_kinds() -> fake_google::Running {
    google_with(Config {
        service_accounts: vec![robots()],
        ..Config::with_accounts(1)
    })
    .await
}

/// The key of a service account whose tokens come from where the service asks.
fn key(home: &Home) -> String {
    robots().key_file(&home.token_url)
}

fn with_key(key: String) -> v1::CreateProjectRequest {
    v1::CreateProjectRequest {
        project: Some(v1::Project::default()),
        service_account_key: key,
        ..Default::default()
    }
}

fn with_api_key(key: &str) -> v1::CreateProjectRequest {
    v1::CreateProjectRequest {
        project: Some(v1::Project::default()),
        api_key: key.into(),
        ..Default::default()
    }
}

async fn created(
    admin: &mut ProjectsClient,
    request: v1::CreateProjectRequest,
) -> Result<v1::Project, Status> {
    let answer = admin.create_project(request).await?;
    Ok(answer.into_inner())
}

async fn refresh(admin: &mut ProjectsClient, id: &str) -> Result<v1::Project, Status> {
    let request = v1::RefreshProjectRequest { id: id.into() };
    Ok(admin.refresh_project(request).await?.into_inner())
}

async fn set(
    admin: &mut ProjectsClient,
    id: &str,
    request: v1::UpdateProjectRequest,
    paths: &[&str],
) -> Result<v1::Project, Status> {
    let mut request = request;
    request.project.get_or_insert_default().id = id.into();
    request.update_mask = Some(prost_types::FieldMask {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
    });
    Ok(admin.update_project(request).await?.into_inner())
}

/// Tells that Google refused a token; its successor, if there is one.
async fn reject(
    service: &crate::support::Service,
    token: &v1::AccessToken,
    reason: &str,
) -> Option<String> {
    let request = v1::AcquireTokensRequest {
        rejected: vec![v1::RejectedToken {
            project_id: token.project_id.clone(),
            fingerprint: token.fingerprint.clone(),
            reason: reason.into(),
        }],
        ..wanted(0)
    };
    let answer = service.tokens().await.acquire_tokens(request).await;
    let refreshed = answer.unwrap().into_inner().refreshed.pop();
    refreshed.map(|token| token.access_token)
}

#[tokio::test]
async fn a_service_account_is_dealt_with_tokens_of_its_own_and_outlives_a_restart() {
    let google = google_of_all_kinds().await;
    let home = Home::new(&google);
    let service = home.start().await;
    let mut admin = service.projects().await;
    let made = created(&mut admin, with_key(key(&home))).await.unwrap();
    assert_eq!(
        (made.id.as_str(), made.upstream()),
        ("robots", Upstream::Vertex)
    );
    assert_eq!(made.location, "global");
    assert_eq!(made.credential(), Credential::ServiceAccountKey);
    assert_eq!(
        (made.account.as_str(), made.oauth_client_id.as_str()),
        (ROBOT, "")
    );
    let mut tokens = service.tokens().await;
    let (first, second) = tokio::join!(one_token(&mut tokens), async {
        one_token(&mut service.tokens().await).await
    });
    assert!(first.access_token.starts_with("ya29."));
    assert_eq!(first.access_token, second.access_token);
    assert_eq!(first.scheme(), Scheme::Bearer);
    assert!(first.expires_at.is_some());
    let asked = || fake(&google).counters().refreshes(ROBOT);
    assert_eq!((asked().calls, asked().in_flight_max), (1, 1));
    service.stop().await;

    let stored = lossy(&home.database());
    assert!(!stored.contains("PRIVATE KEY") && stored.contains("service_account_key"));
    let service = home.start().await;
    let again = one_token(&mut service.tokens().await).await;
    assert_eq!(again.access_token, first.access_token);
    home.clock.advance(std::time::Duration::from_secs(3500));
    google.fake().advance(std::time::Duration::from_secs(3500));
    let fresh = one_token(&mut service.tokens().await).await;
    assert_ne!(fresh.access_token, first.access_token);
    assert_eq!(asked().calls, 2);
    service.stop().await;
}

#[tokio::test]
async fn a_service_account_that_google_refuses_for_good_needs_a_new_key() {
    for disabled in [false, true] {
        let google = google_of_all_kinds().await;
        let home = Home::new(&google);
        let service = home.start().await;
        let mut admin = service.projects().await;
        created(&mut admin, with_key(key(&home))).await.unwrap();
        let said = if disabled {
            assert!(google.fake().disable_service_account(ROBOT));
            "invalid_grant: Robot is disabled."
        } else {
            assert!(google.fake().revoke(ROBOT));
            "invalid_grant: Invalid JWT Signature."
        };
        let refused = refresh(&mut admin, "robots").await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        let expected = format!("Google refuses the service-account key: {said}; make a new key");
        assert!(refused.message().starts_with(&expected), "{refused}");
        let shown = project(&mut admin, "robots").await;
        assert_eq!(shown.state(), State::NeedsLogin);
        assert!(
            shown.state_reason.starts_with(said),
            "{}",
            shown.state_reason
        );
        assert!(shown.state_reason.contains("make a new key"));
        let calls = fake(&google).counters().refreshes(ROBOT).calls;
        let none = service.tokens().await.acquire_tokens(wanted(1)).await;
        assert_eq!(none.unwrap_err().code(), Code::FailedPrecondition);
        assert_eq!(fake(&google).counters().refreshes(ROBOT).calls, calls);

        // Another account's key is another credential of the same project.
        let other = Account::numbered(1);
        crate::admin::put_client(&mut admin, &other.client_id, &other.client_secret).await;
        let request = v1::UpdateProjectRequest {
            refresh_token: other.refresh_token,
            ..Default::default()
        };
        let mended = set(&mut admin, "robots", request, &["refresh_token"]).await;
        let mended = mended.unwrap();
        assert_eq!(mended.state(), State::Active);
        assert_eq!(mended.credential(), Credential::RefreshToken);
        assert_eq!(mended.oauth_client_id, other.client_id);
        assert_eq!(mended.account, "");
        let token = one_token(&mut service.tokens().await).await;
        assert!(token.access_token.starts_with("ya29."));
        service.stop().await;
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_condemns_no_key() {
    let google = google_of_all_kinds().await;
    let home = Home::new(&google);
    let service = home.start().await;
    let mut admin = service.projects().await;
    created(&mut admin, with_key(key(&home))).await.unwrap();
    google
        .fake()
        .advance(std::time::Duration::from_secs(86_400));
    let refused = refresh(&mut admin, "robots").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(
        refused.message().contains("set this machine's clock"),
        "{refused}"
    );
    assert_eq!(project(&mut admin, "robots").await.state(), State::Active);
    service.stop().await;
}

#[tokio::test]
async fn an_api_key_is_dealt_as_it_is_until_google_refuses_it() {
    let google = google_of_all_kinds().await;
    let home = Home::new(&google);
    let service = home.start().await;
    let mut admin = service.projects().await;
    let made = created(&mut admin, with_api_key(API_KEY)).await.unwrap();
    let id = made.id.clone();
    assert!(id.starts_with("gemini-api-key-") && id.len() == 23, "{id}");
    assert_eq!(made.upstream(), Upstream::Gemini);
    assert_eq!(made.credential(), Credential::ApiKey);
    assert_eq!(
        (made.google_project_id.as_str(), made.token_expires_at),
        ("", None)
    );
    assert_eq!(made.token_fingerprint.len(), 16);
    let token = one_token(&mut service.tokens().await).await;
    assert_eq!(
        (token.access_token.as_str(), token.expires_at),
        (API_KEY, None)
    );
    assert_eq!(token.scheme(), Scheme::ApiKey);
    assert_eq!(
        refresh(&mut admin, &id).await.unwrap().state(),
        State::Active
    );
    home.clock
        .advance(std::time::Duration::from_secs(10 * 86_400));
    assert_eq!(
        one_token(&mut service.tokens().await).await.access_token,
        API_KEY
    );
    assert_eq!(fake(&google).counters().oauth.total, 0);

    let said = format!("API key not valid: {API_KEY}\nreally");
    assert_eq!(reject(&service, &token, &said).await, None);
    let shown = project(&mut admin, &id).await;
    assert_eq!(shown.state(), State::NeedsLogin);
    let reason = "Google refuses the API key: API key not valid: [secret] really; make a new key";
    assert!(
        shown.state_reason.starts_with(reason),
        "{}",
        shown.state_reason
    );
    let none = service
        .tokens()
        .await
        .acquire_tokens(wanted(1))
        .await
        .unwrap_err();
    assert_eq!(none.code(), Code::FailedPrecondition);
    service.stop().await;
    assert!(!lossy(&home.database()).contains(API_KEY));

    let service = home.start().await;
    let mut admin = service.projects().await;
    assert_eq!(project(&mut admin, &id).await.state(), State::NeedsLogin);
    // The operator knows better: it is tried again.
    assert_eq!(
        refresh(&mut admin, &id).await.unwrap().state(),
        State::Active
    );
    let token = one_token(&mut service.tokens().await).await;
    assert_eq!(reject(&service, &token, "").await, None);
    let request = v1::UpdateProjectRequest {
        api_key: "AIzaAnother".into(),
        ..Default::default()
    };
    let mended = set(&mut admin, &id, request, &["api_key"]).await.unwrap();
    assert_eq!(mended.state(), State::Active);
    // A late word about the old key says nothing of the new one.
    let successor = reject(&service, &token, "late").await;
    assert_eq!(successor.as_deref(), Some("AIzaAnother"));
    let token = one_token(&mut service.tokens().await).await;
    assert_eq!(token.access_token, "AIzaAnother");
    service.stop().await;
}

#[tokio::test]
async fn all_kinds_take_turns() {
    let google = google_of_all_kinds().await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut admin = service.projects().await;
    created(&mut admin, with_key(key(&home))).await.unwrap();
    created(&mut admin, with_api_key(API_KEY)).await.unwrap();
    let turns = dealt(&mut service.tokens().await, wanted(6)).await;
    let turns: Vec<_> = turns.split(' ').collect();
    assert_eq!(turns[..3], turns[3..]);
    assert_eq!(turns[..2], ["1", "robots"]);
    let asked = |upstream: Upstream| v1::AcquireTokensRequest {
        upstreams: vec![upstream.into()],
        tokens: 8,
        ..wanted(1)
    };
    for (upstream, schemes) in [
        (Upstream::Gemini, [Scheme::ApiKey]),
        (Upstream::Vertex, [Scheme::Bearer]),
    ] {
        let answer = service.tokens().await.acquire_tokens(asked(upstream)).await;
        let answer = answer.unwrap().into_inner();
        let told: Vec<_> = answer.tokens.iter().map(v1::AccessToken::scheme).collect();
        assert_eq!(told, schemes);
    }
    set_disabled(&mut admin, "robots", true).await;
    assert!(
        !dealt(&mut service.tokens().await, wanted(4))
            .await
            .contains("robots")
    );
    service.stop().await;
}

fn edited(home: &Home, change: impl FnOnce(&mut Value)) -> String {
    let mut key: Value = serde_json::from_str(&key(home)).unwrap();
    change(&mut key);
    key.to_string()
}

#[tokio::test]
async fn credentials_that_are_none_are_told_and_nothing_is_added() {
    let google = google_of_all_kinds().await;
    let home = Home::new(&google);
    let service = home.start().await;
    let mut admin = service.projects().await;
    let other_pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let whole = key(&home);
    let keys = [
        (whole[..900].to_owned(), "is not JSON (line 1, column 900"),
        ("[]".to_owned(), "is not a JSON object"),
        ("{}".to_owned(), "has no type"),
        (
            json!({"type": "authorized_user"}).to_string(),
            "`antigravity-gateway import FILE`",
        ),
        (json!({"installed": {}}).to_string(), "is an OAuth client"),
        (
            json!({"type": "external_account"}).to_string(),
            "\"external_account\"",
        ),
        (
            edited(&home, |key| key["private_key"] = Value::Null),
            "has no private_key",
        ),
        (
            edited(&home, |key| key["private_key"] = json!("planted")),
            "not a whole PEM block",
        ),
        (
            edited(&home, |key| key["private_key"] = json!(["planted"])),
            "has a private_key that is none",
        ),
        (
            edited(&home, |key| key["private_key"] = json!(other_pem)),
            "is not an RSA key",
        ),
        (
            edited(&home, |key| {
                key["private_key"] =
                    json!("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n");
            }),
            "PKCS#1",
        ),
        (
            edited(&home, |key| key["client_email"] = json!("nobody")),
            "has a client_email",
        ),
        (
            edited(&home, |key| key["token_uri"] = json!("nowhere")),
            "has a token_uri",
        ),
        (
            edited(&home, |key| {
                key["token_uri"] = json!("https://oauth2.googleapis.com.evil.example/token");
            }),
            "is not Google's (https://oauth2.googleapis.com.evil.example)",
        ),
        (
            edited(&home, |key| {
                key["token_uri"] = json!("http://oauth2.googleapis.com/token");
            }),
            "is not Google's (http://oauth2.googleapis.com)",
        ),
    ];
    for (key, problem) in keys {
        let refused = created(&mut admin, with_key(key)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(
            refused.message().contains(problem),
            "{problem}: {}",
            refused.message()
        );
        assert!(!refused.message().contains("planted"));
        let details = refused.get_details_bad_request().unwrap();
        assert_eq!(details.field_violations[0].field, "service_account_key");
    }
    let on = |request: v1::CreateProjectRequest, upstream: Upstream| v1::CreateProjectRequest {
        project: Some(v1::Project {
            google_project_id: "p".into(),
            upstream: upstream.into(),
            ..Default::default()
        }),
        ..request
    };
    let with_client = v1::Project {
        oauth_client_id: "c".into(),
        ..Default::default()
    };
    let cases = [
        (
            v1::CreateProjectRequest::default(),
            "one of the three is required",
        ),
        (
            v1::CreateProjectRequest {
                refresh_token: "1//x".into(),
                ..with_api_key("k")
            },
            "give one of them",
        ),
        (with_api_key("{\"type\": 1}"), "is JSON, not an API key"),
        (with_api_key("1//0refresh"), "is a refresh token"),
        (with_api_key("ya29.x"), "is an access token"),
        (
            on(with_api_key("k"), Upstream::Vertex),
            "takes no API key; that is for gemini alone",
        ),
        (
            on(with_key(whole.clone()), Upstream::Antigravity),
            "takes no service-account key",
        ),
        (
            v1::CreateProjectRequest {
                access_token: "t".into(),
                ..with_api_key("k")
            },
            "needs none",
        ),
        (
            v1::CreateProjectRequest {
                project: Some(with_client),
                ..with_api_key("k")
            },
            "is for refresh tokens; an API key has none",
        ),
    ];
    for (request, problem) in cases {
        let refused = created(&mut admin, request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(
            refused.message().contains(problem) || {
                let details = refused.get_details_bad_request().unwrap();
                details
                    .field_violations
                    .iter()
                    .any(|field| field.description.contains(problem))
            },
            "{problem}: {}",
            refused.message()
        );
    }
    assert!(ids(&mut admin).await.is_empty());
    assert_eq!(fake(&google).counters().oauth.total, 0);
    created(&mut admin, with_key(whole.clone())).await.unwrap();
    let mut again = with_key(whole);
    again.project.get_or_insert_default().id = "again".into();
    let refused = created(&mut admin, again).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert!(refused.message().contains("\"robots\""), "{refused}");
    let request = v1::UpdateProjectRequest {
        project: Some(v1::Project {
            upstream: Upstream::Antigravity.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let refused = set(&mut admin, "robots", request, &["upstream"])
        .await
        .unwrap_err();
    assert!(refused.message().contains("takes no service-account key"));
    service.stop().await;
}

#[tokio::test]
async fn a_credential_is_checked_before_it_is_added() {
    let google = google(2).await;
    let home = Home::new(&google);
    let service = home.start().await;
    let mut admin = service.projects().await;
    let account = Account::numbered(1);
    crate::admin::put_client(&mut admin, &account.client_id, &account.client_secret).await;
    let checked = |token: &str| v1::CreateProjectRequest {
        project: Some(v1::Project {
            google_project_id: "p".into(),
            ..Default::default()
        }),
        refresh_token: token.into(),
        check: true,
        ..Default::default()
    };
    let refused = created(&mut admin, checked("1//unknown"))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused
            .message()
            .contains("Google refuses the refresh token"),
        "{refused}"
    );
    google.fake().script(crate::support::at_refresh(
        2,
        raw(401, r#"{"error":"unauthorized_client"}"#),
    ));
    let refused = created(&mut admin, checked(&Account::numbered(2).refresh_token)).await;
    let refused = refused.unwrap_err();
    assert!(
        refused
            .message()
            .contains("refuses the OAuth client for this refresh token"),
        "{refused}"
    );
    google
        .fake()
        .script(crate::support::at_refresh(1, raw(503, "{}")).times(1));
    let away = created(&mut admin, checked(&account.refresh_token))
        .await
        .unwrap_err();
    assert_eq!(away.code(), Code::Unavailable);
    assert!(ids(&mut admin).await.is_empty());

    let made = created(&mut admin, checked(&account.refresh_token))
        .await
        .unwrap();
    assert!(made.refreshed_at.is_some() && made.token_expires_at.is_some());
    let calls = crate::support::refreshes(google.fake(), 1);
    one_token(&mut service.tokens().await).await;
    assert_eq!(
        crate::support::refreshes(google.fake(), 1),
        calls,
        "it has its token already"
    );
    service.stop().await;
}

#[tokio::test]
async fn a_kind_that_was_doctored_in_the_database_does_not_open() {
    let google = google_of_all_kinds().await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    home.start().await.stop().await;
    let url = format!("sqlite://{}", home.database().display());
    let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("UPDATE projects SET credential_kind = 'api_key'")
        .execute(&mut database)
        .await
        .unwrap();
    database.close().await.unwrap();
    let error = home.refused().await.to_string();
    assert!(error.contains("api_key of fake-project-1"), "{error}");
}

/// A database of the version before this: its first migration alone, with the same rows.
async fn as_before(home: &Home) {
    let new = home.path("data/new.db");
    std::fs::rename(home.database(), &new).unwrap();
    let url = format!("sqlite://{}?mode=rwc", home.database().display());
    let mut old = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let first = include_str!("../../../migrations/sqlite/0001_projects.sql");
    sqlx::raw_sql(first).execute(&mut old).await.unwrap();
    let attach = format!("ATTACH '{}' AS new", new.display());
    sqlx::raw_sql(sqlx::AssertSqlSafe(attach))
        .execute(&mut old)
        .await
        .unwrap();
    sqlx::raw_sql(
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
             installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL,
             checksum BLOB NOT NULL, execution_time BIGINT NOT NULL);
         INSERT INTO _sqlx_migrations SELECT * FROM new._sqlx_migrations WHERE version = 1;
         INSERT INTO meta SELECT * FROM new.meta;
         INSERT INTO oauth_clients SELECT * FROM new.oauth_clients;
         INSERT INTO projects (id, position, google_project_id, upstream, location,
             oauth_client_id, display_name, disabled, status, status_reason, action_url,
             refresh_token_sealed, credential, access_token_sealed, access_token_expires_at,
             access_token_lifetime, refreshed_at, created_at, updated_at)
         SELECT id, position, google_project_id, upstream, location,
             oauth_client_id, display_name, disabled, status, status_reason, action_url,
             refresh_token_sealed, credential, access_token_sealed, access_token_expires_at,
             access_token_lifetime, refreshed_at, created_at, updated_at FROM new.projects;
         INSERT INTO cooldowns VALUES ('fake-project-3', 'gemini', 4102444800000);
         INSERT INTO rotation SELECT * FROM new.rotation;
         INSERT INTO imports SELECT * FROM new.imports;
         INSERT INTO client_imports SELECT * FROM new.client_imports;",
    )
    .execute(&mut old)
    .await
    .unwrap();
    old.close().await.unwrap();
}

#[tokio::test]
async fn a_database_of_the_version_before_is_taken_over_whole() {
    let google = google(3).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=3));
    let service = home.start().await;
    assert_eq!(dealt(&mut service.tokens().await, wanted(2)).await, "1 2");
    let mut admin = service.projects().await;
    set_disabled(&mut admin, "fake-project-2", true).await;
    let before = project(&mut admin, "fake-project-1").await;
    service.stop().await;
    as_before(&home).await;

    let service = home.start().await;
    let mut admin = service.projects().await;
    let after = project(&mut admin, "fake-project-1").await;
    assert_eq!(after.token_fingerprint, before.token_fingerprint);
    assert_eq!(after.created_at, before.created_at);
    assert_eq!(after.credential(), Credential::RefreshToken);
    let cooling = project(&mut admin, "fake-project-3").await;
    assert_eq!(cooling.cooldowns[0].model_group, "gemini");
    let second = project(&mut admin, "fake-project-2").await;
    assert_eq!(second.state(), State::Disabled);
    // The place in the rotation is the old one: 3 has waited longest.
    let turns = dealt(&mut service.tokens().await, wanted(3)).await;
    assert_eq!(turns, "3 1 3");
    created(&mut admin, with_api_key(API_KEY)).await.unwrap();
    let refused = admin
        .delete_o_auth_client(v1::DeleteOAuthClientRequest {
            client_id: fake_google::CLIENT_ID.into(),
        })
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
    service.stop().await;
    home.start().await.stop().await;
}

#[tokio::test]
async fn an_edited_entry_leaves_a_credential_that_an_operator_set() {
    let google = google_of_all_kinds().await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut admin = service.projects().await;
    let request = v1::UpdateProjectRequest {
        project: Some(v1::Project {
            upstream: Upstream::Gemini.into(),
            ..Default::default()
        }),
        api_key: API_KEY.into(),
        ..Default::default()
    };
    let set = set(
        &mut admin,
        "fake-project-1",
        request,
        &["api_key", "upstream"],
    )
    .await;
    assert_eq!(set.unwrap().oauth_client_id, "");
    service.stop().await;

    let mut edited = tokens_json([1]);
    edited["projects"][0]["display_name"] = json!("mine");
    home.write_tokens(&edited);
    let service = home.start().await;
    let shown = project(&mut service.projects().await, "fake-project-1").await;
    assert_eq!(shown.display_name, "mine");
    assert_eq!(shown.credential(), Credential::ApiKey);
    assert_eq!(shown.upstream(), Upstream::Gemini);
    assert_eq!(shown.oauth_client_id, "");
    let token = one_token(&mut service.tokens().await).await;
    assert_eq!(token.access_token, API_KEY);
    service.stop().await;
}

#[tokio::test]
async fn what_google_says_of_a_key_is_kept_though_the_caller_goes_away() {
    let google = google_of_all_kinds().await;
    let home = Home::new(&google);
    let service = home.start().await;
    let mut admin = service.projects().await;
    let id = created(&mut admin, with_api_key(API_KEY)).await.unwrap().id;
    let token = one_token(&mut service.tokens().await).await;
    assert_eq!(reject(&service, &token, "gone").await, None);
    let url = format!("sqlite://{}?mode=ro", home.database().display());
    eventually("it is stored", async || {
        let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let status: String = sqlx::query_scalar("SELECT status FROM projects WHERE id = ?")
            .bind(&id)
            .fetch_one(&mut database)
            .await
            .unwrap();
        status == "needs_login"
    })
    .await;
    service.stop().await;
}

#[tokio::test]
async fn every_kind_is_sealed_anew_restored_and_given_up() {
    let google = google_of_all_kinds().await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut admin = service.projects().await;
    created(&mut admin, with_key(key(&home))).await.unwrap();
    let api_key = with_api_key(API_KEY);
    created(&mut admin, api_key).await.unwrap();
    let all = ids(&mut admin).await;
    assert_eq!(all.len(), 3);
    let mut database = service.database().await;
    let mut pieces = database
        .back_up(v1::BackUpRequest {})
        .await
        .unwrap()
        .into_inner();
    let rotated = database.rotate_encryption_key(v1::RotateEncryptionKeyRequest {});
    rotated.await.unwrap();
    service.stop().await;
    let service = home.start().await;
    let dealt = dealt(&mut service.tokens().await, wanted(3)).await;
    assert_eq!(dealt.split(' ').count(), 3, "{dealt}");

    let mut restores = Vec::new();
    while let Some(piece) = pieces.message().await.unwrap() {
        let payload = v1::restore_request::Payload::Backup(piece.backup);
        restores.push(v1::RestoreRequest {
            payload: Some(payload),
        });
    }
    let mut database = service.database().await;
    let restored = database.restore(tokio_stream::iter(restores)).await;
    assert_eq!(restored.unwrap().into_inner().projects, 3);
    let answer = service.tokens().await.acquire_tokens(wanted(3)).await;
    assert_eq!(answer.unwrap().into_inner().turns.len(), 3);
    service.stop().await;

    std::fs::remove_file(home.path("data/encryption.key")).unwrap();
    std::fs::rename(home.tokens_file(), home.path("elsewhere.json")).unwrap();
    let forgotten = token_service::forget_secrets(&home.config()).await.unwrap();
    assert_eq!(forgotten.projects, 3);
    let service = home.start().await;
    let mut admin = service.projects().await;
    assert_eq!(ids(&mut admin).await, all);
    for id in all {
        let project = project(&mut admin, &id).await;
        assert_eq!(project.state(), State::NeedsLogin, "{id}");
    }
    service.stop().await;
}
