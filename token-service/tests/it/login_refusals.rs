//! Logins that come to nothing: each says why and what to do, and stores nothing.

use std::time::Duration;

use antigravity_proto::v1;
use fake_google::{
    Account, Action, CLIENT_ID, CLIENT_SECRET, Config, Discovery, Endpoint, ErrorForm, ErrorName,
    Fault,
};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    adversity::{empty, fill},
    logins::{
        REDIRECT, anything, begin, decided, finish, logged_in, parameter, put_client, with_client,
        wrong_field,
    },
    support::{
        Home, ProjectsClient, Service, fake, google, google_with, ids, lossy, project, raw,
        tokens_json,
    },
};

/// A refusal with Google's or our reason; nothing was stored.
async fn refused(admin: &mut ProjectsClient, status: &Status, reason: &str) {
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, reason, "{status:?}");
    assert!(
        status.message().contains("nothing was stored"),
        "{status:?}"
    );
    assert_eq!(ids(admin).await, Vec::<String>::new());
}

#[tokio::test]
async fn accounts_that_may_not_are_told_why_in_googles_words() {
    let of = |number: usize, discovery| Account {
        discovery,
        ..Account::numbered(number)
    };
    let google = google_with(Config {
        accounts: vec![
            of(1, Discovery::ValidationRequired),
            of(2, Discovery::UnsupportedLocation),
            of(3, Discovery::OwnProject),
        ],
        ..Config::default()
    })
    .await;
    let (_home, service, mut admin) = with_client(&google).await;
    let status = logged_in(&mut admin, anything(), 1).await.unwrap_err();
    refused(&mut admin, &status, "VALIDATION_REQUIRED").await;
    let links = status.get_details_help().unwrap().links;
    assert_eq!(links[0].description, "Verify your account");
    assert!(
        links[0]
            .url
            .starts_with("https://accounts.google.com/signin")
    );
    assert!(status.message().contains(&links[0].url), "{status:?}");
    assert!(
        status
            .message()
            .contains("Verify your account to continue.")
    );

    let status = logged_in(&mut admin, anything(), 2).await.unwrap_err();
    refused(&mut admin, &status, "UNSUPPORTED_LOCATION").await;
    assert!(
        status
            .message()
            .contains("not currently available in your location")
    );

    let status = logged_in(&mut admin, anything(), 3).await.unwrap_err();
    refused(&mut admin, &status, "PROJECT_REQUIRED").await;
    assert!(status.message().contains("--project"), "{status:?}");
    let named = v1::BeginLoginRequest {
        google_project_id: "fake-project-3".into(),
        ..anything()
    };
    let done = logged_in(&mut admin, named, 3).await.unwrap();
    assert_eq!(done.project.unwrap().google_project_id, "fake-project-3");
    service.stop().await;
}

#[tokio::test]
async fn consents_that_bring_nothing_change_nothing() {
    let google = google(2).await;
    let (home, service, mut admin) = with_client(&google).await;

    let begun = begin(&mut admin, anything()).await;
    let denied = decided(&begun.authorization_url, 1, "deny").await;
    let (_, status) = finish(&mut admin, &begun.login, &denied).await;
    refused(&mut admin, &status.unwrap(), "ACCESS_DENIED").await;

    // Another login's answer, and one that somebody made up.
    let other = begin(&mut admin, anything()).await;
    let back = decided(&other.authorization_url, 1, "allow").await;
    for answer in [
        back.clone(),
        format!("{REDIRECT}?code=4/0Astolen&state=guessed"),
        format!("{REDIRECT}?code=4/0Astolen"),
    ] {
        let (_, status) = finish(&mut admin, &begun.login, &answer).await;
        let (field, problem) = wrong_field(&status.unwrap());
        assert_eq!(field, "answer");
        assert!(problem.contains("another login"), "{problem}");
    }
    assert_eq!(ids(&mut admin).await, Vec::<String>::new());

    // The same code twice.
    let (_, error) = finish(&mut admin, &other.login, &back).await;
    assert!(error.is_none(), "{error:?}");
    let id = "fake-project-1".to_owned();
    let before = project(&mut admin, &id).await;
    let (_, status) = finish(&mut admin, &other.login, &back).await;
    let status = status.unwrap();
    assert_eq!(
        status.get_details_error_info().unwrap().reason,
        "INVALID_GRANT"
    );
    assert!(status.message().contains("used already"), "{status:?}");
    assert_eq!(project(&mut admin, &id).await, before);
    admin
        .delete_project(v1::DeleteProjectRequest { id })
        .await
        .unwrap();

    // A code that was bound to another verifier.
    let (one, two) = (
        begin(&mut admin, anything()).await,
        begin(&mut admin, anything()).await,
    );
    let back = decided(&one.authorization_url, 1, "allow").await;
    let code = parameter(&back, "code").unwrap();
    let (_, status) = finish(&mut admin, &two.login, &code).await;
    refused(&mut admin, &status.unwrap(), "INVALID_GRANT").await;

    // Too late, by Google's clock and by ours.
    let begun = begin(&mut admin, anything()).await;
    let back = decided(&begun.authorization_url, 1, "allow").await;
    fake(&google).advance(Duration::from_secs(601));
    let (_, status) = finish(&mut admin, &begun.login, &back).await;
    refused(&mut admin, &status.unwrap(), "INVALID_GRANT").await;
    home.clock.advance(Duration::from_secs(601));
    let (_, status) = finish(&mut admin, &begun.login, &back).await;
    let status = status.unwrap();
    assert_eq!(
        status.get_details_error_info().unwrap().reason,
        "LOGIN_EXPIRED"
    );
    service.stop().await;
}

#[tokio::test]
async fn oauth_clients_that_do_not_fit_are_named() {
    let google = google_with(Config {
        redirect_uris: Some(vec!["https://example.com/callback".into()]),
        ..Config::with_accounts(1)
    })
    .await;
    let home = Home::new(&google);
    let service = home.start().await;
    let mut admin = service.projects().await;
    let status = admin.begin_login(anything()).await.unwrap_err();
    let (field, problem) = wrong_field(&status);
    assert_eq!(field, "oauth_client_id");
    assert!(problem.contains("oauth-clients put"), "{problem}");

    put_client(&mut admin, CLIENT_ID, "wrong-secret-of-the-client").await;
    let web = v1::BeginLoginRequest {
        redirect_uri: "https://example.com/callback".into(),
        ..anything()
    };
    let status = logged_in(&mut admin, web.clone(), 1).await.unwrap_err();
    refused(&mut admin, &status, "INVALID_CLIENT").await;
    assert!(status.message().contains("oauth-clients put"), "{status:?}");
    assert!(!status.message().contains("wrong-secret"), "{status:?}");

    put_client(&mut admin, "other", "other-secret").await;
    let status = admin.begin_login(anything()).await.unwrap_err();
    assert!(wrong_field(&status).1.contains("2 OAuth clients"));
    let unknown = v1::BeginLoginRequest {
        oauth_client_id: "nobody".into(),
        ..anything()
    };
    let status = admin.begin_login(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);

    // As the token endpoint says it when the consent did not.
    put_client(&mut admin, CLIENT_ID, CLIENT_SECRET).await;
    for (error, reason, said) in [
        (
            "redirect_uri_mismatch",
            "REDIRECT_URI_MISMATCH",
            "Desktop app",
        ),
        (
            "unauthorized_client",
            "UNAUTHORIZED_CLIENT",
            "another OAuth client",
        ),
        ("invalid_scope", "REFUSED", "invalid_scope"),
    ] {
        let body = json!({"error": error, "error_description": "Bad Request"}).to_string();
        let answer = Fault::once(raw(400, &body));
        fake(&google).script(answer.at(Endpoint::OAuthToken));
        let named = v1::BeginLoginRequest {
            oauth_client_id: CLIENT_ID.into(),
            ..web.clone()
        };
        let status = logged_in(&mut admin, named, 1).await.unwrap_err();
        refused(&mut admin, &status, reason).await;
        assert!(status.message().contains(said), "{status:?}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_login_without_a_lasting_token_or_enough_rights_is_none() {
    let google = google_with(Config {
        accounts: vec![Account {
            withholds_refresh_token: true,
            ..Account::numbered(1)
        }],
        ..Config::default()
    })
    .await;
    let (_home, service, mut admin) = with_client(&google).await;
    let status = logged_in(&mut admin, anything(), 1).await.unwrap_err();
    refused(&mut admin, &status, "NO_REFRESH_TOKEN").await;
    let help = status.get_details_help().unwrap();
    assert!(help.links[0].url.contains("myaccount.google.com"));

    let little = json!({
        "access_token": "ya29.planted", "refresh_token": "1//planted", "expires_in": 3599,
        "scope": "https://www.googleapis.com/auth/userinfo.email",
    });
    let answer = Fault::once(raw(200, &little.to_string()));
    fake(&google).script(answer.at(Endpoint::OAuthToken));
    let status = logged_in(&mut admin, anything(), 1).await.unwrap_err();
    refused(&mut admin, &status, "SCOPE_MISSING").await;
    service.stop().await;
}

#[tokio::test]
async fn a_google_that_does_not_answer_is_told_as_that() {
    let google = google(1).await;
    let (_home, service, mut admin) = with_client(&google).await;
    let failing = Action::Error {
        error: ErrorName::Internal,
        form: ErrorForm::Object,
        retry_after: None,
    };
    for endpoint in [Endpoint::OAuthToken, Endpoint::LoadCodeAssist] {
        fake(&google).script(Fault::once(failing.clone()).at(endpoint));
        let status = logged_in(&mut admin, anything(), 1).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{endpoint:?}: {status:?}");
        assert!(status.message().contains("nothing was stored"));
        assert_eq!(ids(&mut admin).await, Vec::<String>::new());
    }
    service.stop().await;
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let google = google(1).await;
    let (_home, service, mut admin) = with_client(&google).await;
    let with = |field: &str| {
        let mut request = anything();
        match field {
            "redirect_uri" => request.redirect_uri = "http://example.com/".into(),
            "upstream" => request.upstream = 7,
            "id" => request.id = "no spaces".into(),
            "google_project_id" => request.google_project_id = "123456789".into(),
            "location" => request.location = "global".into(),
            "oauth_client_id" => request.oauth_client_id = "a b".into(),
            _ => request.display_name = "x".repeat(257),
        }
        request
    };
    for field in [
        "redirect_uri",
        "upstream",
        "id",
        "google_project_id",
        "location",
        "oauth_client_id",
        "display_name",
    ] {
        let status = admin.begin_login(with(field)).await.unwrap_err();
        assert_eq!(wrong_field(&status).0, field);
    }
    let begun = begin(&mut admin, anything()).await;
    let long = "x".repeat(100_000);
    let tampered = format!("{}AAAA", &begun.login[..begun.login.len() - 4]);
    for login in ["", "!", "AAAA", &long, &tampered] {
        let (_, status) = finish(&mut admin, login, "4/0A").await;
        assert_eq!(wrong_field(&status.unwrap()).0, "login");
    }
    for answer in ["", "\"\"", &long, begun.authorization_url.as_str()] {
        let (_, status) = finish(&mut admin, &begun.login, answer).await;
        assert_eq!(wrong_field(&status.unwrap()).0, "answer");
    }
    assert_eq!(google.fake().counters().oauth.total, 0);
    let mut gateway = service.projects_as(crate::support::GATEWAY_TOKEN).await;
    let status = gateway.begin_login(anything()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    service.stop().await;
}

#[tokio::test]
async fn a_full_disk_is_told_and_a_new_login_heals_it() {
    let google = google(2).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let mut config = home.config();
    // Nothing else is to be kept meanwhile.
    config.refresh_ahead = false;
    let service = Service::start(config).await;
    let mut admin = service.projects().await;
    let before = project(&mut admin, "fake-project-1").await;
    let full = fill(&home, "projects").await;
    for number in [1, 2] {
        let status = logged_in(&mut admin, anything(), number).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert!(status.message().contains("is the disk full"), "{status:?}");
        assert_eq!(project(&mut admin, "fake-project-1").await, before);
        assert_eq!(ids(&mut admin).await, ["fake-project-1"]);
    }
    empty(full).await;
    let done = logged_in(&mut admin, anything(), 2).await.unwrap();
    assert!(done.created && done.proof_error.is_empty(), "{done:?}");
    service.stop().await;
}

#[tokio::test]
async fn a_caller_that_goes_away_before_it_is_stored_leaves_nothing() {
    let google = google(1).await;
    let (home, service, mut admin) = with_client(&google).await;
    let begun = begin(&mut admin, anything()).await;
    let back = decided(&begun.authorization_url, 1, "allow").await;
    let hold = Action::Hold {
        gate: "discovery".into(),
        point: fake_google::HoldPoint::BeforeCommit,
    };
    fake(&google).script(Fault::once(hold).at(Endpoint::LoadCodeAssist));
    let request = v1::FinishLoginRequest {
        login: begun.login.clone(),
        answer: back,
    };
    let steps = admin.finish_login(request).await.unwrap();
    google.fake().reached("discovery", 1).await;
    drop(steps);
    tokio::time::sleep(Duration::from_millis(200)).await;
    google.fake().release("discovery");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(ids(&mut admin).await, Vec::<String>::new());
    service.stop().await;
    assert!(!lossy(&home.database()).contains("fake-project-1"));
}
