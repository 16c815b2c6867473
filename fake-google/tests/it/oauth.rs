//! The token endpoint, consent, and what tokens are good for.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fake_google::{
    Account, Action, CLIENT_ID, CLIENT_SECRET, Config, Endpoint, ErrorForm, ErrorName, Fault,
    InvalidGrant,
};
use sha2::{Digest, Sha256};

use crate::support::{Google, client, say};

/// Name and value.
type Field<'a> = (&'a str, &'a str);

const FIRST: &str = "1//fake-refresh-token-1";

#[tokio::test]
async fn a_refresh_grants_an_access_token() {
    let google = Google::start(Config::default()).await;
    let answer = google.refresh(FIRST).await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert!(body["access_token"].as_str().unwrap().starts_with("ya29."));
    assert_eq!(body["expires_in"], 3599);
    assert_eq!(body["token_type"], "Bearer");
    assert!(body.get("refresh_token").is_none());
    let refreshes = google.running.fake().counters().refreshes(FIRST);
    assert_eq!(
        (refreshes.calls, refreshes.granted, refreshes.in_flight_max),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn bad_clients_and_grants_are_told_in_oauths_own_words() {
    let google = Google::start(Config {
        accounts: vec![
            Account::numbered(1),
            Account {
                client_id: "other".into(),
                client_secret: "other".into(),
                ..Account::numbered(2)
            },
            Account {
                invalid_grant: Some(InvalidGrant::AccountDeleted),
                ..Account::numbered(3)
            },
            Account {
                invalid_grant: Some(InvalidGrant::InvalidRapt),
                ..Account::numbered(4)
            },
        ],
        ..Config::default()
    })
    .await;
    let grant = ("grant_type", "refresh_token");
    let (id, secret) = (("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET));
    let cases: [(&[Field<'_>], u16, &str, &str); 9] = [
        (
            &[id, grant, ("refresh_token", FIRST)],
            400,
            "invalid_request",
            "client_secret is missing.",
        ),
        (
            &[
                ("client_id", "nobody"),
                secret,
                grant,
                ("refresh_token", FIRST),
            ],
            401,
            "invalid_client",
            "The OAuth client was not found.",
        ),
        (
            &[
                id,
                ("client_secret", "wrong"),
                grant,
                ("refresh_token", FIRST),
            ],
            401,
            "invalid_client",
            "Unauthorized",
        ),
        (
            &[id, secret, grant, ("refresh_token", "1//nobody's")],
            400,
            "invalid_grant",
            "Bad Request",
        ),
        (
            &[
                id,
                secret,
                grant,
                ("refresh_token", "1//fake-refresh-token-2"),
            ],
            401,
            "unauthorized_client",
            "Unauthorized",
        ),
        (
            &[
                id,
                secret,
                grant,
                ("refresh_token", "1//fake-refresh-token-3"),
            ],
            400,
            "invalid_grant",
            "Account has been deleted",
        ),
        (
            &[
                id,
                secret,
                grant,
                ("refresh_token", "1//fake-refresh-token-4"),
            ],
            400,
            "invalid_grant",
            "reauth related error (invalid_rapt)",
        ),
        (
            &[id, secret, ("grant_type", "password")],
            400,
            "unsupported_grant_type",
            "Invalid grant_type",
        ),
        (
            &[
                id,
                secret,
                ("grant_type", "authorization_code"),
                ("code", "4/0Anobodys"),
            ],
            400,
            "invalid_grant",
            "Malformed auth code.",
        ),
    ];
    for (fields, status, error, description) in cases {
        let answer = google.form("/token", fields).await;
        let body = answer.json();
        assert_eq!(
            (answer.status, &body["error"], &body["error_description"]),
            (status, &error.into(), &description.into())
        );
    }
}

#[tokio::test]
async fn rotation_honours_the_old_token_until_the_new_one_is_used() {
    let google = Google::start(Config {
        rotate_refresh_tokens: true,
        ..Config::default()
    })
    .await;
    let rotated = |answer: crate::support::Answer| {
        answer.json()["refresh_token"].as_str().unwrap().to_owned()
    };
    let second = rotated(google.refresh(FIRST).await);
    assert_ne!(second, FIRST);
    // The answer may have been lost: the old one still works.
    let third = rotated(google.refresh(FIRST).await);
    assert_eq!(google.refresh(&third).await.status, 200);
    let dead = google.refresh(FIRST).await;
    assert_eq!(
        (dead.status, dead.json()["error"].as_str()),
        (400, Some("invalid_grant"))
    );
    assert_eq!(
        dead.json()["error_description"],
        "Token has been expired or revoked."
    );
    assert_eq!(google.refresh(&second).await.status, 200);
}

#[tokio::test]
async fn access_tokens_expire_by_its_clock_and_die_with_their_account() {
    let google = Google::start(Config {
        expires_in: Duration::from_secs(60),
        ..Config::default()
    })
    .await;
    let list = |token: String| {
        let google = &google;
        async move {
            google
                .post(
                    "/v1internal:fetchAvailableModels",
                    &token,
                    &serde_json::json!({}),
                )
                .await
        }
    };
    let fake = google.running.fake();
    let old = google.token(1).await;
    fake.advance(Duration::from_secs(59));
    assert_eq!(list(old.clone()).await.status, 200);
    fake.advance(Duration::from_secs(1));
    let expired = list(old).await;
    assert_eq!(expired.status, 401);
    assert_eq!(
        expired.json()["error"]["details"][0]["reason"],
        "ACCESS_TOKEN_EXPIRED"
    );
    assert!(
        expired.headers["www-authenticate"]
            .to_str()
            .unwrap()
            .contains("invalid_token")
    );

    let refused = google.token(1).await;
    assert!(fake.invalidate_access_tokens("fake-project-1"));
    assert_eq!(list(refused).await.status, 401);
    let fresh = google.token(1).await;
    assert_eq!(list(fresh.clone()).await.status, 200);
    assert!(fake.revoke(FIRST));
    assert_eq!(list(fresh).await.status, 401);
    assert_eq!(google.refresh(FIRST).await.json()["error"], "invalid_grant");
    assert!(!fake.revoke("1//nobody's"));
}

/// Where the browser is sent once the account has decided.
async fn consented(google: &Google, redirect: &str, challenge: &str, decision: &str) -> String {
    let browser = client(None)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let fields = [
        ("client_id", CLIENT_ID),
        ("redirect_uri", redirect),
        ("response_type", "code"),
        ("access_type", "offline"),
        ("scope", "a b"),
        ("state", "s 1"),
        ("code_challenge", challenge),
        ("code_challenge_method", "S256"),
        ("decision", decision),
    ];
    let posted = browser.post(google.url("/o/oauth2/v2/auth")).form(&fields);
    let response = posted.send().await.unwrap();
    assert_eq!(response.status(), 302);
    response.headers()["location"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn consent_hands_out_a_code_that_is_good_once() {
    let google = Google::start(Config::with_accounts(1)).await;
    let verifier = "a-verifier-of-some-forty-three-characters-or-more";
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    let redirect = "http://localhost:51121/oauth-callback";
    let consent = || async {
        let location = consented(&google, redirect, &challenge, "allow").await;
        let query = location
            .strip_prefix("http://localhost:51121/oauth-callback?")
            .unwrap();
        assert!(query.starts_with("state=s%201&"));
        let code = query
            .split('&')
            .find_map(|field| field.strip_prefix("code="))
            .unwrap();
        code.replace("%2F", "/")
    };
    let exchange = |code: String, verifier: &'static str, redirect: &'static str| {
        let google = &google;
        async move {
            google
                .form(
                    "/token",
                    &[
                        ("client_id", CLIENT_ID),
                        ("client_secret", CLIENT_SECRET),
                        ("grant_type", "authorization_code"),
                        ("code", &code),
                        ("code_verifier", verifier),
                        ("redirect_uri", redirect),
                    ],
                )
                .await
        }
    };
    let code = consent().await;
    let granted = exchange(code.clone(), verifier, redirect).await;
    assert_eq!(granted.status, 200);
    let refresh_token = granted.json()["refresh_token"].as_str().unwrap().to_owned();
    assert_eq!(
        granted.json()["id_token"]
            .as_str()
            .unwrap()
            .split('.')
            .count(),
        3
    );
    assert_eq!(google.refresh(&refresh_token).await.status, 200);

    assert_eq!(
        exchange(code, verifier, redirect).await.json()["error"],
        "invalid_grant"
    );
    let wrong = exchange(consent().await, "another verifier", redirect).await;
    assert_eq!(wrong.json()["error_description"], "Invalid code verifier.");
    let elsewhere = exchange(consent().await, verifier, "http://localhost:1/").await;
    assert_eq!(elsewhere.json()["error"], "redirect_uri_mismatch");

    let user = google
        .get(
            "/oauth2/v2/userinfo?alt=json",
            granted.json()["access_token"].as_str().unwrap(),
        )
        .await;
    assert_eq!(user.json()["email"], "fake-project-1@example.com");
    let info = google
        .get(
            &format!(
                "/tokeninfo?access_token={}",
                granted.json()["access_token"].as_str().unwrap()
            ),
            "",
        )
        .await;
    assert_eq!(info.json()["aud"], CLIENT_ID);
    assert_eq!(
        google
            .form("/revoke", &[("token", &refresh_token)])
            .await
            .status,
        200
    );
    assert_eq!(google.refresh(&refresh_token).await.status, 400);
    assert_eq!(
        google.form("/revoke", &[("token", "x")]).await.json()["error"],
        "invalid_token"
    );
}

#[tokio::test]
async fn an_unknown_refresh_token_may_be_an_account_of_its_own() {
    let google = Google::start(Config {
        any_refresh_token_with_prefix: Some("1//demo".into()),
        ..Config::default()
    })
    .await;
    let answer = google
        .form(
            "/token",
            &[
                ("client_id", "my-client"),
                ("client_secret", "my-secret"),
                ("grant_type", "refresh_token"),
                ("refresh_token", "1//demo-7"),
            ],
        )
        .await;
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let body =
        serde_json::json!({ "project": "any", "model": "gemini-2.5-pro", "request": say("Hi") });
    assert_eq!(
        google
            .post("/v1internal:generateContent", &token, &body)
            .await
            .status,
        200
    );
    assert_eq!(google.refresh("1//other").await.status, 400);
}

#[tokio::test]
async fn refreshes_can_be_slowed_down_broken_and_counted() {
    let google = Google::start(Config {
        rotate_refresh_tokens: true,
        ..Config::default()
    })
    .await;
    let fake = google.running.fake();
    let delay = Action::Delay {
        before_commit_ms: 0,
        before_headers_ms: 100,
        before_first_event_ms: 0,
        between_events_ms: 0,
    };
    fake.script(Fault::always(delay).refresh_token(FIRST).times(2));
    let (one, other) = tokio::join!(google.refresh(FIRST), google.refresh(FIRST));
    assert_eq!((one.status, other.status), (200, 200));
    assert_eq!(fake.counters().refreshes(FIRST).in_flight_max, 2);

    // The refresh takes effect and its answer is lost.
    let second = "1//fake-refresh-token-2";
    fake.script(Fault::once(Action::Close { after_events: 1 }).refresh_token(second));
    let lost = google.http.post(google.url("/token")).form(&[
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
        ("grant_type", "refresh_token"),
        ("refresh_token", second),
    ]);
    assert!(lost.send().await.is_err());
    assert_eq!(fake.counters().refreshes(second).granted, 1);

    for (error, status) in [
        (ErrorName::InvalidGrant, 400),
        (ErrorName::InvalidClient, 401),
        (ErrorName::ResourceExhausted, 429),
        (ErrorName::Internal, 500),
    ] {
        let fault = Fault::once(Action::Error {
            error,
            form: ErrorForm::Object,
            retry_after: None,
        });
        fake.script(fault.project("fake-project-3").at(Endpoint::OAuthToken));
        assert_eq!(
            google.refresh("1//fake-refresh-token-3").await.status,
            status
        );
    }
    let garbage = Action::Raw {
        status: 200,
        content_type: "text/plain".into(),
        body: "<garbage".into(),
    };
    fake.script(Fault::once(garbage).at(Endpoint::OAuthToken));
    assert_eq!(
        google.refresh("1//fake-refresh-token-3").await.body,
        "<garbage"
    );
    assert_eq!(google.refresh("1//fake-refresh-token-3").await.status, 200);
}
