//! The consent page as a browser meets it.

use fake_google::{Account, CLIENT_ID, CLIENT_SECRET, Config};

use crate::support::{Answer, Google, client, read};

const LOOPBACK: &str = "http%3A%2F%2F127.0.0.1%3A4321%2Foauth-callback";

fn page(client_id: &str, redirect_uri: &str, more: &str) -> String {
    format!(
        "/o/oauth2/v2/auth?client_id={client_id}&redirect_uri={redirect_uri}&response_type=code\
         &access_type=offline&scope=a%20%3Cb%3E&state=s{more}"
    )
}

async fn open(google: &Google, path: &str) -> Answer {
    read(google.http.get(google.url(path))).await.unwrap()
}

/// What the buttons of a page send, decoded of HTML.
fn fields(page: &str) -> Vec<(String, String)> {
    let plain = |text: &str| {
        text.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&amp;", "&")
    };
    let inputs = page.split("<input type=hidden name=").skip(1);
    inputs
        .map(|input| {
            let (name, rest) = input.split_once(" value=\"").unwrap();
            let (value, _) = rest.split_once('"').unwrap();
            (name.to_owned(), plain(value))
        })
        .collect()
}

async fn decide(google: &Google, page: &str, decision: &str) -> String {
    let browser = client(None).redirect(reqwest::redirect::Policy::none());
    let mut form = fields(page);
    form.push(("decision".into(), decision.into()));
    let browser = browser.build().unwrap();
    let posted = browser.post(google.url("/o/oauth2/v2/auth")).form(&form);
    let response = posted.send().await.unwrap();
    assert_eq!(response.status(), 302);
    response.headers()["location"].to_str().unwrap().to_owned()
}

async fn exchanged(google: &Google, location: &str) -> Answer {
    let code = location.split("code=").nth(1).unwrap();
    let code = code.split('&').next().unwrap().replace("%2F", "/");
    google
        .form(
            "/token",
            &[
                ("client_id", CLIENT_ID),
                ("client_secret", CLIENT_SECRET),
                ("grant_type", "authorization_code"),
                ("code", &code),
                ("redirect_uri", "http://127.0.0.1:4321/oauth-callback"),
            ],
        )
        .await
}

#[tokio::test]
async fn several_accounts_are_chosen_from_and_then_asked() {
    let google = Google::start(Config::default()).await;
    let chooser = open(&google, &page(CLIENT_ID, LOOPBACK, "")).await;
    assert_eq!(chooser.status, 200);
    assert!(chooser.body.contains("fake-project-3@example.com"));
    let hint = "&login_hint=fake-project-2%40example.com";
    let consent = open(&google, &page(CLIENT_ID, LOOPBACK, hint)).await;
    assert!(consent.body.contains("<li>&lt;b&gt;"), "{}", consent.body);
    let allowed = decide(&google, &consent.body, "allow").await;
    assert!(allowed.starts_with("http://127.0.0.1:4321/oauth-callback?state=s&code=4%2F0A"));
    let granted = exchanged(&google, &allowed).await.json();
    assert_eq!(granted["scope"], "a <b>");
    let token = granted["access_token"].as_str().unwrap();
    let user = google.get("/oauth2/v2/userinfo", token).await.json();
    assert_eq!(user["email"], "fake-project-2@example.com");
    let denied = decide(&google, &consent.body, "deny").await;
    assert_eq!(
        denied,
        "http://127.0.0.1:4321/oauth-callback?state=s&error=access_denied"
    );
}

#[tokio::test]
async fn what_google_would_not_redirect_it_shows() {
    let google = Google::start(Config::default()).await;
    for (path, status, told) in [
        (
            page("nobody", LOOPBACK, ""),
            401,
            "Error 401: invalid_client",
        ),
        (
            page(CLIENT_ID, "http%3A%2F%2Fexample.com%2F%3Cb%3E", ""),
            400,
            "Error 400: redirect_uri_mismatch",
        ),
        (
            page(CLIENT_ID, "http%3A%2F%2Flocalhost.example.com%2F", ""),
            400,
            "Error 400: redirect_uri_mismatch",
        ),
        (
            "/o/oauth2/v2/auth?response_type=code".to_owned(),
            400,
            "Error 400: invalid_request",
        ),
    ] {
        let answer = open(&google, &path).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.body.contains(told), "{}", answer.body);
        assert!(!answer.body.contains("<b>"), "{}", answer.body);
    }
    let web = Google::start(Config {
        redirect_uris: Some(vec!["https://example.com/callback".into()]),
        ..Config::default()
    })
    .await;
    let loopback = open(&web, &page(CLIENT_ID, LOOPBACK, "")).await;
    assert_eq!(loopback.status, 400);
}

#[tokio::test]
async fn a_refresh_token_comes_only_when_it_was_asked_for_and_is_not_withheld() {
    let withholding = Account {
        withholds_refresh_token: true,
        ..Account::numbered(1)
    };
    for (account, access_type, comes) in [
        (Account::numbered(1), "offline", true),
        (Account::numbered(1), "online", false),
        (withholding, "offline", false),
    ] {
        let google = Google::start(Config {
            accounts: vec![account],
            ..Config::default()
        })
        .await;
        let path = page(CLIENT_ID, LOOPBACK, "").replace("offline", access_type);
        let consent = open(&google, &path).await;
        let granted = exchanged(&google, &decide(&google, &consent.body, "allow").await).await;
        assert_eq!(granted.status, 200);
        assert_eq!(granted.json().get("refresh_token").is_some(), comes);
    }
}
