//! Logins by RPC, with a fake Google's consent page in place of a browser.

use antigravity_proto::v1::{
    self, Upstream, finish_login_response::Done, finish_login_response::Step, project::State,
};
use fake_google::{
    Account, Action, CLIENT_ID, CLIENT_SECRET, Config, Discovery, Endpoint, ErrorForm, ErrorName,
    Fault,
};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use url::Url;

use crate::support::{
    Home, ProjectsClient, Service, dealt, fake, google, google_with, ids, project, refreshes,
    tokens_json, wanted,
};

pub(crate) const REDIRECT: &str = "http://127.0.0.1:8085/oauth-callback";

pub(crate) async fn with_client(google: &fake_google::Running) -> (Home, Service, ProjectsClient) {
    let home = Home::new(google);
    let service = home.start().await;
    let mut admin = service.projects().await;
    put_client(&mut admin, CLIENT_ID, CLIENT_SECRET).await;
    (home, service, admin)
}

pub(crate) async fn put_client(admin: &mut ProjectsClient, id: &str, secret: &str) {
    let client = v1::OAuthClient {
        client_id: id.to_owned(),
        ..Default::default()
    };
    admin
        .put_o_auth_client(v1::PutOAuthClientRequest {
            client: Some(client),
            client_secret: secret.to_owned(),
        })
        .await
        .unwrap();
}

pub(crate) fn anything() -> v1::BeginLoginRequest {
    v1::BeginLoginRequest {
        redirect_uri: REDIRECT.to_owned(),
        ..Default::default()
    }
}

pub(crate) async fn begin(
    admin: &mut ProjectsClient,
    request: v1::BeginLoginRequest,
) -> v1::BeginLoginResponse {
    admin.begin_login(request).await.unwrap().into_inner()
}

pub(crate) fn parameter(url: &str, name: &str) -> Option<String> {
    let url = Url::parse(url).unwrap();
    let mut pairs = url.query_pairs();
    pairs
        .find(|(own, _)| own == name)
        .map(|(_, value)| value.into_owned())
}

/// Where the browser ends when account `number` decides.
pub(crate) async fn decided(authorization_url: &str, number: usize, decision: &str) -> String {
    antigravity_runtime::tls::install_crypto_provider();
    let browser = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let url = Url::parse(authorization_url).unwrap();
    let mut form: Vec<_> = url.query_pairs().into_owned().collect();
    form.retain(|(name, _)| name != "login_hint");
    form.push((
        "login_hint".into(),
        format!("fake-project-{number}@example.com"),
    ));
    form.push(("decision".into(), decision.into()));
    let mut page = url.clone();
    page.set_query(None);
    let answer = browser.post(page).form(&form).send().await.unwrap();
    assert_eq!(answer.status(), 302);
    answer.headers()["location"].to_str().unwrap().to_owned()
}

/// All that is told, and how it ends.
pub(crate) async fn finish(
    admin: &mut ProjectsClient,
    login: &str,
    answer: &str,
) -> (Vec<v1::FinishLoginResponse>, Option<Status>) {
    let request = v1::FinishLoginRequest {
        login: login.to_owned(),
        answer: answer.to_owned(),
    };
    let mut steps = match admin.finish_login(request).await {
        Ok(steps) => steps.into_inner(),
        Err(status) => return (Vec::new(), Some(status)),
    };
    let mut told = Vec::new();
    loop {
        match steps.message().await {
            Ok(Some(step)) => told.push(step),
            Ok(None) => return (told, None),
            Err(status) => return (told, Some(status)),
        }
    }
}

pub(crate) async fn logged_in(
    admin: &mut ProjectsClient,
    request: v1::BeginLoginRequest,
    number: usize,
) -> Result<Done, Status> {
    let begun = begin(admin, request).await;
    let back = decided(&begun.authorization_url, number, "allow").await;
    let (told, error) = finish(admin, &begun.login, &back).await;
    match error {
        Some(status) => Err(status),
        None => Ok(told.last().unwrap().done.clone().unwrap()),
    }
}

pub(crate) fn wrong_field(status: &Status) -> (String, String) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let violations = status.get_details_bad_request().unwrap().field_violations;
    let [violation] = violations.as_slice() else {
        panic!("{violations:?}");
    };
    (violation.field.clone(), violation.description.clone())
}

#[tokio::test]
async fn an_account_is_brought_in_proven_and_dealt() {
    let google = google(3).await;
    let (home, service, mut admin) = with_client(&google).await;
    let begun = begin(&mut admin, anything()).await;
    let url = &begun.authorization_url;
    for (name, value) in [
        ("client_id", CLIENT_ID),
        ("redirect_uri", REDIRECT),
        ("response_type", "code"),
        ("access_type", "offline"),
        ("prompt", "consent"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(parameter(url, name).as_deref(), Some(value));
    }
    assert_eq!(parameter(url, "scope").unwrap().split(' ').count(), 5);
    let back = decided(url, 2, "allow").await;
    let (told, error) = finish(&mut admin, &begun.login, &back).await;
    assert!(error.is_none(), "{error:?}");
    let steps: Vec<_> = told.iter().map(v1::FinishLoginResponse::step).collect();
    assert_eq!(
        steps,
        [
            Step::Exchanging,
            Step::Discovering,
            Step::Storing,
            Step::Proving,
            Step::Done
        ]
    );
    let done = told.last().unwrap().done.clone().unwrap();
    assert!(done.created && done.proof_error.is_empty(), "{done:?}");
    assert_eq!(done.account, "fake-project-2@example.com");
    let project = done.project.unwrap();
    assert_eq!(project.id, "fake-project-2");
    assert_eq!(project.display_name, "fake-project-2@example.com");
    assert_eq!(project.state(), State::Active);
    assert_eq!(project.oauth_client_id, CLIENT_ID);
    assert_eq!(project.requests_last_hour, 1);
    assert_eq!(google.fake().counters().project("fake-project-2"), 1);
    assert_eq!(
        google.fake().counters().by_model.keys().next(),
        Some(&done.proof_model)
    );
    let mut gateway = service.tokens().await;
    assert_eq!(dealt(&mut gateway, wanted(2)).await, "2 2");
    // The tokens of the consent are there still, and no refresh was needed.
    service.stop().await;
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    assert_eq!(dealt(&mut gateway, wanted(1)).await, "2");
    assert_eq!(google.fake().counters().oauth.total, 1);
    service.stop().await;
}

#[tokio::test]
async fn an_operators_headers_go_with_it_and_ours_before_them() {
    let google = google_with(Config {
        keep_requests: 1,
        ..Config::with_accounts(1)
    })
    .await;
    let home = Home::new(&google);
    let mut config = home.config();
    let headers = json!({"x-of-the-operator": "yes", "user-agent": "his", "authorization": "no"});
    config.upstream_headers =
        antigravity_runtime::config::header_map(&headers.to_string()).unwrap();
    let service = Service::start(config).await;
    let mut admin = service.projects().await;
    put_client(&mut admin, CLIENT_ID, CLIENT_SECRET).await;
    let done = logged_in(&mut admin, anything(), 1).await.unwrap();
    assert_eq!(done.proof_error, "");
    let sent = serde_json::to_string(&google.fake().requests()).unwrap();
    assert!(
        sent.contains("x-of-the-operator") && sent.contains("his"),
        "{sent}"
    );
    service.stop().await;
}

#[tokio::test]
async fn another_replica_finishes_it_after_a_restart() {
    let google = google(1).await;
    let (home, service, mut admin) = with_client(&google).await;
    let begun = begin(&mut admin, anything()).await;
    service.stop().await;
    let service = home.start().await;
    let mut admin = service.projects().await;
    let back = decided(&begun.authorization_url, 1, "allow").await;
    let code = parameter(&back, "code").unwrap();
    // As a person pastes the code alone.
    let (_, error) = finish(&mut admin, &begun.login, &format!(" '{code}'\n")).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(ids(&mut admin).await, ["fake-project-1"]);
    service.stop().await;
}

#[tokio::test]
async fn gemini_and_vertex_have_their_scopes_and_a_named_project() {
    let google = google(2).await;
    let (_home, service, mut admin) = with_client(&google).await;
    for (upstream, scope, scopes) in [
        (Upstream::Gemini, "generative-language", 3),
        (Upstream::Vertex, "cloud-platform", 2),
    ] {
        let request = v1::BeginLoginRequest {
            upstream: upstream.into(),
            ..anything()
        };
        let status = admin.begin_login(request.clone()).await.unwrap_err();
        assert_eq!(wrong_field(&status).0, "google_project_id");
        let request = v1::BeginLoginRequest {
            google_project_id: "fake-project-1".into(),
            id: format!("{upstream:?}"),
            display_name: "Mine".into(),
            ..request
        };
        let begun = begin(&mut admin, request.clone()).await;
        let asked = parameter(&begun.authorization_url, "scope").unwrap();
        assert!(asked.contains(scope), "{asked}");
        assert_eq!(asked.split(' ').count(), scopes);
        let done = logged_in(&mut admin, request, 1).await.unwrap();
        assert_eq!(done.proof_error, "");
        let project = done.project.unwrap();
        assert_eq!(project.display_name, "Mine");
        let location = match upstream {
            Upstream::Vertex => "global",
            _ => "",
        };
        assert_eq!(project.location, location);
    }
    assert_eq!(google.fake().counters().generations(), 2);
    service.stop().await;
}

#[tokio::test]
async fn a_login_cures_needs_login_by_its_id_and_by_its_google_project() {
    let google = google(2).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1, 2]));
    let service = home.start().await;
    let mut admin = service.projects().await;
    for (id, request) in [
        ("fake-project-1", anything()),
        (
            "fake-project-2",
            v1::BeginLoginRequest {
                id: "fake-project-2".into(),
                ..anything()
            },
        ),
    ] {
        let number = id.trim_start_matches("fake-project-").parse().unwrap();
        fake(&google).revoke(&Account::numbered(number).refresh_token);
        let status = admin
            .refresh_project(v1::RefreshProjectRequest { id: id.into() })
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(
            project(&mut admin, id).await.state(),
            State::NeedsLogin,
            "{id}"
        );
        let done = logged_in(&mut admin, request, number).await.unwrap();
        assert!(!done.created && done.proof_error.is_empty(), "{done:?}");
        assert_eq!(done.project.unwrap().state(), State::Active);
        let refreshed = admin
            .refresh_project(v1::RefreshProjectRequest { id: id.into() })
            .await
            .unwrap();
        assert_eq!(refreshed.into_inner().state(), State::Active);
    }
    assert_eq!(refreshes(google.fake(), 1), 1, "its old token is forgotten");
    assert_eq!(ids(&mut admin).await.len(), 2);

    // The wrong account was chosen: the project keeps what it has.
    let before = project(&mut admin, "fake-project-1").await;
    let request = v1::BeginLoginRequest {
        id: "fake-project-1".into(),
        ..anything()
    };
    let status = logged_in(&mut admin, request, 2).await.unwrap_err();
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, "OTHER_ACCOUNT");
    assert!(status.message().contains("fake-project-2@example.com"));
    assert_eq!(project(&mut admin, "fake-project-1").await, before);

    let request = v1::BeginLoginRequest {
        id: "fake-project-1".into(),
        upstream: Upstream::Vertex.into(),
        google_project_id: "fake-project-1".into(),
        ..anything()
    };
    let status = admin.begin_login(request).await.unwrap_err();
    assert_eq!(wrong_field(&status).0, "upstream");
    let request = v1::BeginLoginRequest {
        upstream: Upstream::Vertex.into(),
        google_project_id: "fake-project-1".into(),
        ..anything()
    };
    let status = admin.begin_login(request).await.unwrap_err();
    assert_eq!(
        status.get_details_error_info().unwrap().reason,
        "ALREADY_EXISTS"
    );
    service.stop().await;
}

#[tokio::test]
async fn an_account_that_is_new_to_code_assist_is_onboarded() {
    let google = google_with(Config {
        accounts: vec![Account {
            discovery: Discovery::NotOnboarded,
            ..Account::numbered(1)
        }],
        onboarding_polls: 2,
        ..Config::default()
    })
    .await;
    let (_home, service, mut admin) = with_client(&google).await;
    let begun = begin(&mut admin, anything()).await;
    let back = decided(&begun.authorization_url, 1, "allow").await;
    // One question is answered by what does not know of operations.
    let unknown = Action::Error {
        error: ErrorName::NotFound,
        form: ErrorForm::Object,
        retry_after: None,
    };
    fake(&google).script(Fault::once(unknown).at(Endpoint::Operation));
    let (told, error) = finish(&mut admin, &begun.login, &back).await;
    assert!(error.is_none(), "{error:?}");
    let onboarding: Vec<_> = told
        .iter()
        .filter(|step| step.step() == Step::Onboarding)
        .collect();
    assert!(onboarding.len() >= 2, "{told:?}");
    assert!(onboarding.last().unwrap().message.ends_with(" s"));
    let counters = google.fake().counters();
    assert_eq!(counters.requests_at(Endpoint::OnboardUser), 2);
    assert_eq!(counters.requests_at(Endpoint::Operation), 2);
    assert_eq!(ids(&mut admin).await, ["fake-project-1"]);
    service.stop().await;
}

#[tokio::test]
async fn a_failing_proof_is_told_and_undoes_nothing() {
    for (error, state, said) in [
        (
            ErrorName::ValidationRequired,
            State::NeedsValidation,
            "projects refresh fake-project-1",
        ),
        (ErrorName::TermsOfService, State::Suspended, "appeal"),
        (
            ErrorName::ServiceDisabled,
            State::Denied,
            "console.developers.google.com",
        ),
        (ErrorName::RateLimited, State::Active, "its limit ends"),
        (ErrorName::Internal, State::Active, "next time"),
        (ErrorName::OldClient, State::Active, "newer versions"),
    ] {
        let google = google(1).await;
        let (_home, service, mut admin) = with_client(&google).await;
        let action = Action::Error {
            error,
            form: ErrorForm::Object,
            retry_after: None,
        };
        let fault = Fault::always(action).at(Endpoint::GenerateContent);
        fake(&google).script(fault);
        let done = logged_in(&mut admin, anything(), 1).await.unwrap();
        assert!(done.proof_error.contains(said), "{error:?}: {done:?}");
        let project = done.project.unwrap();
        assert_eq!(project.state(), state, "{error:?}: {}", done.proof_error);
        service.stop().await;
    }
}
