//! `login` as its users meet it: a browser that this test plays, and a terminal's paste.

use std::{io::Write as _, time::Duration};

use fake_google::{
    Account, Action, Config, Discovery, Endpoint, ErrorForm, ErrorName, Fault, HoldPoint, Running,
};
use serde_json::Value;

use crate::support::{
    CLIENT_ID, CLIENT_SECRET, Finished, Folder, account, at, borrowed, chat, google,
};

/// Notes the address, as a browser opens it.
const BROWSER: &str = "#!/bin/sh\necho \"$1\" >address.part\nread line <address.part\n\
                       echo \"$line\" >address\n";

/// A folder with an OAuth client and a browser, and the environment of commands there.
fn prepared(google: &Running) -> (Folder, Vec<(&'static str, String)>) {
    let folder = Folder::new();
    folder.write("browser", BROWSER);
    executable(&folder, "browser");
    folder.write("secret", CLIENT_SECRET);
    let mut environment = at(google, &folder);
    environment.push((
        "BROWSER",
        folder.path().join("browser").display().to_string(),
    ));
    let put = ["oauth-clients", "put", CLIENT_ID, "--secret-file", "secret"];
    folder.run(&put, &borrowed(&environment)).exits_with(0);
    (folder, environment)
}

fn executable(folder: &Folder, name: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path().join(name), mode).unwrap();
}

/// The address that the browser was told to open.
async fn opened(folder: &Folder) -> String {
    for _ in 0..1000 {
        if folder.has("address") {
            let address = folder.read("address");
            if address.ends_with('\n') {
                std::fs::remove_file(folder.path().join("address")).unwrap();
                return address.trim().to_owned();
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no browser was opened");
}

fn browser(google: &Running, redirects: bool) -> reqwest::Client {
    antigravity_runtime::tls::install_crypto_provider();
    let ca = reqwest::Certificate::from_pem(google.ca_pem().unwrap().as_bytes()).unwrap();
    let policy = match redirects {
        true => reqwest::redirect::Policy::limited(3),
        false => reqwest::redirect::Policy::none(),
    };
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([ca])
        .redirect(policy)
        .timeout(Duration::from_secs(60))
        .build()
        .unwrap()
}

/// Account `number` decides on the consent page; the answer is what the browser ends at.
async fn decide(
    browser: &reqwest::Client,
    address: &str,
    number: usize,
    decision: &str,
) -> reqwest::Response {
    let (page, query) = address.split_once('?').unwrap();
    let hint = format!("&login_hint=project-{number}%40example.com&decision={decision}");
    browser
        .post(page)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("{query}{hint}"))
        .send()
        .await
        .unwrap()
}

/// Where the browser is sent back to.
fn redirect_uri(address: &str) -> String {
    let (_, rest) = address.split_once("redirect_uri=").unwrap();
    let encoded = rest.split('&').next().unwrap();
    encoded.replace("%3A", ":").replace("%2F", "/")
}

fn listed(folder: &Folder, environment: &[(&'static str, String)]) -> Vec<Value> {
    let list = folder.run(&["projects", "list", "--json"], &borrowed(environment));
    let list = list.exits_with(0).json();
    list["projects"].as_array().unwrap().clone()
}

fn tells_no_secret(finished: &Finished, google: &Running) {
    finished.tells_no(CLIENT_SECRET).tells_no("ya29.");
    finished.tells_no("1//").tells_no("4/0A").tells_no("4%2F0A");
    assert!(google.fake().counters().oauth.total > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_browser_and_then_it_serves() {
    let google = google(Config::default()).await;
    let (folder, environment) = prepared(&google);
    let process = folder.start(&["login"], &borrowed(&environment));
    let address = opened(&folder).await;
    assert!(address.starts_with(&google.base_url()), "{address}");
    process.stderr_with(&address);

    // What else comes to the port is no answer.
    let user = browser(&google, true);
    let back = redirect_uri(&address);
    assert!(back.starts_with("http://127.0.0.1:") && back.ends_with("/oauth-callback"));
    let elsewhere = back.replace("oauth-callback", "favicon.ico");
    assert_eq!(user.get(&elsewhere).send().await.unwrap().status(), 404);
    assert_eq!(user.get(&back).send().await.unwrap().status(), 400);
    let posted = user.post(format!("{back}?code=x")).send().await.unwrap();
    assert_eq!(posted.status(), 405);

    let page = decide(&user, &address, 2, "allow").await;
    assert_eq!(page.status(), 200);
    let headers = page.headers().clone();
    assert!(
        headers["content-security-policy"]
            .to_str()
            .unwrap()
            .starts_with("default-src 'none'")
    );
    assert_eq!(headers["referrer-policy"], "no-referrer");
    let text = page.text().await.unwrap();
    assert!(
        text.contains("Logged in") && text.contains("project-2"),
        "{text}"
    );
    let done = process.wait().exits_with(0);
    done.says("project-2 is added: antigravity, account project-2@example.com, active")
        .says("has answered a real call")
        .says("curl http://127.0.0.1:8000/v1/chat/completions")
        .says("exchanging the code for tokens")
        .says("proving it with a real call");
    tells_no_secret(&done, &google);

    // The same account again.
    let again = ["login", "--json", "--id", "project-2"];
    let process = folder.start(&again, &borrowed(&environment));
    let address = opened(&folder).await;
    assert!(
        address.contains("login_hint=project-2%40example.com"),
        "{address}"
    );
    decide(&user, &address, 2, "allow").await;
    let done = process.wait().exits_with(0);
    let report = done.json();
    assert_eq!(report["created"], false);
    assert_eq!(report["account"], "project-2@example.com");
    assert_eq!(report["proof_error"], Value::Null);
    assert_eq!(report["project"]["state"], "active");
    assert_eq!(listed(&folder, &environment).len(), 1);

    let serving = folder.serve(&borrowed(&environment));
    let key = folder.read("data/api_key");
    let answer = chat(&serving.url("/v1/chat/completions"), key.trim(), false).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        google.fake().counters().project_sequence,
        ["project-2"; 3],
        "two proofs and the chat"
    );
    serving.end().exits_with(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_paste_with_a_running_service() {
    let google = google(Config::default()).await;
    let (folder, environment) = prepared(&google);
    let serving = folder.serve(&borrowed(&environment));
    let url = format!("http://{}", serving.token_service);
    let mut elsewhere = environment.clone();
    elsewhere.push(("TOKEN_SERVICE_URL", url));
    for (upstream, more) in [
        ("antigravity", &[][..]),
        (
            "vertex",
            &["--project", "project-1", "--id", "v", "--name", "Mine"][..],
        ),
    ] {
        let login = ["login", "--no-browser", "--upstream", upstream];
        let arguments = [&login[..], more].concat();
        let (process, mut stdin) = folder.start_reading(&arguments, &borrowed(&elsewhere));
        let address = process.stderr_with("/o/oauth2/v2/auth?");
        assert_eq!(
            redirect_uri(&address),
            "http://127.0.0.1:8085/oauth-callback"
        );
        let back = decide(&browser(&google, false), &address, 1, "allow").await;
        let back = back.headers()["location"].to_str().unwrap().to_owned();
        // As a mail program breaks and quotes it.
        let (one, two) = back.split_at(60);
        write!(stdin, "\n  <{one}\n{two}>  \n").unwrap();
        stdin.flush().unwrap();
        let done = process.wait().exits_with(0);
        done.says("is added").says("has answered a real call");
        tells_no_secret(&done, &google);
        drop(stdin);
    }
    let projects = listed(&folder, &elsewhere);
    assert_eq!(projects[0]["id"], "project-1");
    assert_eq!(projects[1]["id"], "v");
    assert_eq!(projects[1]["display_name"], "Mine");
    let log = serving.end().exits_with(0);
    tells_no_secret(&log, &google);
    log.says("an account has logged in");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_says_what_to_do_and_stores_nothing() {
    let google = google(Config::default()).await;
    let (folder, environment) = prepared(&google);
    let borrowed = borrowed(&environment);
    let user = browser(&google, true);

    let process = folder.start(&["login"], &borrowed);
    let address = opened(&folder).await;
    let page = decide(&user, &address, 1, "deny")
        .await
        .text()
        .await
        .unwrap();
    assert!(
        page.contains("Not logged in") && page.contains("consent was denied"),
        "{page}"
    );
    process.wait().exits_with(1).says("consent was denied");

    // What another page of the browser sends here ends no login.
    let process = folder.start(&["login"], &borrowed);
    let address = opened(&folder).await;
    let back = redirect_uri(&address);
    for forged in ["code=4/0Aforged&state=%3Cscript%3E", "error=x"] {
        let answer = user.get(format!("{back}?{forged}")).send().await.unwrap();
        assert_eq!(answer.status(), 400);
        let page = answer.text().await.unwrap();
        assert!(
            page.contains("no answer to the login that waits") && !page.contains("<script"),
            "{page}"
        );
    }
    decide(&user, &address, 1, "deny").await;
    process
        .wait()
        .exits_with(1)
        .says("consent was denied")
        .says("nothing was stored");

    let refused = Action::Error {
        error: ErrorName::InvalidClient,
        form: ErrorForm::Object,
        retry_after: None,
    };
    google
        .fake()
        .script(Fault::once(refused).at(Endpoint::OAuthToken));
    let process = folder.start(&["login"], &borrowed);
    let address = opened(&folder).await;
    let page = decide(&user, &address, 1, "allow")
        .await
        .text()
        .await
        .unwrap();
    assert!(page.contains("OAuth client"), "{page}");
    process
        .wait()
        .exits_with(1)
        .says("oauth-clients put")
        .tells_no(CLIENT_SECRET);

    let failing = Action::Error {
        error: ErrorName::Internal,
        form: ErrorForm::Object,
        retry_after: None,
    };
    google
        .fake()
        .script(Fault::once(failing).at(Endpoint::LoadCodeAssist));
    let process = folder.start(&["login"], &borrowed);
    let address = opened(&folder).await;
    decide(&user, &address, 1, "allow").await;
    let done = process.wait().exits_with(1);
    done.says("Google answers 500").says("nothing was stored");
    assert!(
        !done.stderr.contains("the token-service at"),
        "{}",
        done.stderr
    );

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    folder
        .run(&["login", "--port", &port], &borrowed)
        .exits_with(1)
        .says("--port")
        .says("choose another");

    let late = folder.run(&["login", "--timeout", "1s"], &borrowed);
    late.exits_with(1).says("--timeout").says("--no-browser");
    opened(&folder).await;

    let process = folder.start(&["login"], &borrowed);
    opened(&folder).await;
    process.interrupt();
    process.wait().exits_with(130).says("nothing was stored");

    let (process, stdin) = folder.start_reading(&["login", "--no-browser"], &borrowed);
    drop(stdin);
    process.wait().exits_with(1).says("standard input ended");
    let (process, mut stdin) = folder.start_reading(&["login", "--no-browser"], &borrowed);
    let address = process.stderr_with("/o/oauth2/v2/auth?");
    writeln!(stdin, "{address}").unwrap();
    drop(stdin);
    process.wait().exits_with(1).says("is the address to open");

    for (arguments, said) in [
        (&["--timeout", "1h"][..], "more than 10m"),
        (&["--port", "0"], "--port"),
        (&["--project", ""], "--project"),
        (&["--id", ""], "--id"),
        (&["--upstream", "gemini"], "--project is missing"),
        (
            &["--location", "global"],
            "--location is for the upstream vertex",
        ),
        (&["--id", "no spaces"], "--id is not"),
    ] {
        let arguments = [&["login"], arguments].concat();
        folder.run(&arguments, &borrowed).exits_with(2).says(said);
    }
    let unknown = folder.run(&["login", "--oauth-client", "nobody"], &borrowed);
    unknown.exits_with(1).says("oauth-clients put");
    assert_eq!(listed(&folder, &environment), Vec::<Value>::new());

    let without = Folder::new();
    let environment = at(&google, &without);
    let done = without.run(&["login"], &crate::support::borrowed(&environment));
    done.exits_with(1).says("oauth-clients put");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_browser_it_says_so_and_the_address_is_there() {
    let google = google(Config::default()).await;
    let (folder, mut environment) = prepared(&google);
    environment.retain(|(name, _)| *name != "BROWSER");
    environment.push(("BROWSER", "/nonexistent/browser --new-tab %s".to_owned()));
    let process = folder.start(&["login"], &borrowed(&environment));
    let address = process.stderr_with("/o/oauth2/v2/auth?");
    process.stderr_with("No browser could be started");
    decide(&browser(&google, true), &address, 3, "allow").await;
    process.wait().exits_with(0).says("project-3 is added");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_proof_and_a_cured_login() {
    let google = google(Config::default()).await;
    let (folder, environment) = prepared(&google);
    let user = browser(&google, true);
    let suspended = Action::Error {
        error: ErrorName::ServiceDisabled,
        form: ErrorForm::Object,
        retry_after: None,
    };
    google
        .fake()
        .script(Fault::once(suspended).at(Endpoint::GenerateContent));
    let process = folder.start(&["login", "--json"], &borrowed(&environment));
    decide(&user, &opened(&folder).await, 1, "allow").await;
    let done = process.wait().exits_with(1);
    assert_eq!(done.json()["project"]["state"], "denied");
    done.says("the project is stored, and a real call");

    let refresh = ["projects", "refresh", "project-1"];
    folder.run(&refresh, &borrowed(&environment)).exits_with(0);
    revoke_all(&google);
    let done = folder.run(&refresh, &borrowed(&environment)).exits_with(1);
    done.says("invalid_grant");
    let list = folder.run(&["projects", "list"], &borrowed(&environment));
    list.exits_with(0)
        .says("needs login")
        .says("antigravity-gateway login");
    let process = folder.start(&["login"], &borrowed(&environment));
    decide(&user, &opened(&folder).await, 1, "allow").await;
    process
        .wait()
        .exits_with(0)
        .says("project-1 has a new login");
    assert_eq!(listed(&folder, &environment)[0]["state"], "active");
}

/// Whatever the login was given is refused from now on.
fn revoke_all(google: &Running) {
    let refused = Action::Error {
        error: ErrorName::InvalidGrant,
        form: ErrorForm::Object,
        retry_after: None,
    };
    google
        .fake()
        .script(Fault::once(refused).at(Endpoint::OAuthToken));
}

/// Every place where a login waits for Google, and whether the project is in the pool then.
const WAITS: [(Endpoint, HoldPoint, bool); 7] = [
    (Endpoint::OAuthToken, HoldPoint::BeforeCommit, false),
    (Endpoint::OAuthToken, HoldPoint::BeforeHeaders, false),
    (Endpoint::LoadCodeAssist, HoldPoint::BeforeCommit, false),
    (Endpoint::OnboardUser, HoldPoint::BeforeHeaders, false),
    (Endpoint::Operation, HoldPoint::BeforeHeaders, false),
    (
        Endpoint::FetchAvailableModels,
        HoldPoint::BeforeCommit,
        true,
    ),
    (Endpoint::GenerateContent, HoldPoint::BeforeHeaders, true),
];

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_it_leaves_the_pool_as_before_or_as_after() {
    let google = new_account().await;
    let (folder, environment) = prepared(&google);
    let user = browser(&google, false);
    let mut is_there = false;
    for (endpoint, point, stored) in WAITS {
        let gate = format!("{endpoint:?} {point:?}");
        let action = Action::Hold {
            gate: gate.clone(),
            point,
        };
        google.fake().script(Fault::once(action).at(endpoint));
        let login = ["login", "--no-browser"];
        let (process, mut stdin) = folder.start_reading(&login, &borrowed(&environment));
        let address = process.stderr_with("/o/oauth2/v2/auth?");
        let back = decide(&user, &address, 1, "allow").await;
        writeln!(stdin, "{}", back.headers()["location"].to_str().unwrap()).unwrap();
        let reached = google.fake().reached(&gate, 1);
        let reached = tokio::time::timeout(Duration::from_secs(60), reached).await;
        process.kill();
        let done = process.wait();
        assert!(reached.is_ok(), "{gate}: {}{}", done.stdout, done.stderr);
        google.fake().release(&gate);
        is_there |= stored;
        let projects = listed(&folder, &environment);
        assert_eq!(
            projects.len(),
            usize::from(is_there),
            "{gate}: {projects:?}"
        );
        // The wait before was the last of a login that went no further.
        google.fake().clear_script();
    }
    let refresh = ["projects", "refresh", "project-1"];
    let done = folder.run(&refresh, &borrowed(&environment)).exits_with(0);
    done.says("project-1 is refreshed, and is active");
}

/// A Google whose only account is new to Code Assist.
async fn new_account() -> Running {
    let account = Account {
        discovery: Discovery::NotOnboarded,
        ..account(1)
    };
    let config = Config {
        accounts: vec![account],
        // One may be used up by a login whose end Google notices late.
        onboarding_polls: 2,
        ..Config::default()
    };
    Running::start(config, true).await.unwrap()
}
