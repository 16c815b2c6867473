//! Both services over TLS in one process, and the operators' commands to them.

use crate::{
    certificates::{Authority, EXPIRED, put},
    support::{API_KEY, Folder, account, at, borrowed, google, tokens_json},
};
use fake_google::Config;

/// A folder with an authority in `ca.pem` and what it has signed.
fn folder() -> Folder {
    let folder = Folder::new();
    let authority = Authority::new("ours");
    folder.write("authority.pem", &authority.pem);
    for name in ["clients", "service", "operator"] {
        authority.put(folder.path(), name);
    }
    put(
        folder.path(),
        "old",
        &authority.sign(&["localhost"], EXPIRED),
    );
    folder
}

const TLS: &[(&str, &str)] = &[
    ("TLS_CERT_FILE", "clients.pem"),
    ("TLS_KEY_FILE", "clients.key"),
    ("TOKEN_SERVICE_TLS_CERT_FILE", "service.pem"),
    ("TOKEN_SERVICE_TLS_KEY_FILE", "service.key"),
    ("TOKEN_SERVICE_CLIENT_CA_FILE", "authority.pem"),
];
const IDENTITY: &[(&str, &str)] = &[
    ("TOKEN_SERVICE_CLIENT_CERT_FILE", "operator.pem"),
    ("TOKEN_SERVICE_CLIENT_KEY_FILE", "operator.key"),
];

#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_over_tls() {
    let google = google(Config::default()).await;
    let folder = folder();
    folder.write("data/tokens.json", &tokens_json());
    let found = at(&google, &folder);
    let mut environment = borrowed(&found);
    environment.push(("API_KEYS", API_KEY));
    environment.extend(TLS.iter().chain(IDENTITY));
    let serving = folder.serve(&environment);

    antigravity_runtime::tls::install_crypto_provider();
    let ca = reqwest::Certificate::from_pem(folder.read("authority.pem").as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([ca]).build();
    let chat = client
        .unwrap()
        .post(
            serving
                .url("/v1/chat/completions")
                .replace("http:", "https:"),
        )
        .bearer_auth(API_KEY)
        .body(r#"{"model": "gemini-2.5-flash", "messages": [{"role": "user", "content": "Hi"}]}"#);
    assert_eq!(chat.send().await.unwrap().status(), 200);

    let port = serving.gateway.port().to_string();
    let grpc = serving.token_service.to_string();
    let mut here = environment.clone();
    here.extend([("PORT", port.as_str()), ("TOKEN_SERVICE_LISTEN", &grpc)]);
    folder.run(&["healthcheck"], &here).exits_with(0);
    // The service on this machine is found and known by its certificate; one that is named,
    // by its authority.
    let listed = folder.run(&["projects", "list"], &here).exits_with(0);
    listed.says("project-1");
    let url = format!("https://{grpc}");
    let named = [
        ("TOKEN_SERVICE_URL", url.as_str()),
        ("TOKEN_SERVICE_CA_FILE", "authority.pem"),
    ];
    let named: Vec<_> = named.iter().chain(IDENTITY).copied().collect();
    let listed = folder.run(&["projects", "list"], &named).exits_with(0);
    listed.says("project-1");

    let strangers = folder.run(&["projects", "list"], &named[..2]).exits_with(1);
    strangers.says("demands a client certificate");
    let old = [
        ("TOKEN_SERVICE_CLIENT_CERT_FILE", "old.pem"),
        ("TOKEN_SERVICE_CLIENT_KEY_FILE", "old.key"),
    ];
    let old = folder.run(&["projects", "list"], &[&named[..2], &old].concat());
    old.exits_with(1).says("refuses our certificate");
    folder.write("others.pem", &Authority::new("others").pem);
    let mut doubting = named.clone();
    doubting[1].1 = "others.pem";
    let doubting = folder.run(&["projects", "list"], &doubting).exits_with(1);
    doubting.says("no authority that is trusted");

    let done = serving.end().exits_with(0);
    done.tells_no(&account(1).refresh_token).tells_no("ya29.");
}

#[test]
fn what_does_not_fit_together_does_not_start() {
    let folder = folder();
    let with = |changed: &[(&'static str, &'static str)]| {
        let mut environment = vec![("PORT", "0"), ("TOKEN_SERVICE_LISTEN", "127.0.0.1:0")];
        environment.extend(TLS);
        environment.extend(changed);
        folder.run(&["serve"], &environment).exits_with(2)
    };
    with(&[]).says("TOKEN_SERVICE_CLIENT_CERT_FILE is not set");
    with(&[("TLS_KEY_FILE", "")]).says("TLS_CERT_FILE (set in the environment)");
    let fitting = IDENTITY.to_vec();
    let mismatch = [fitting.as_slice(), &[("TLS_KEY_FILE", "service.key")]].concat();
    with(&mismatch).says("TLS_KEY_FILE (set in the environment): service.key is not the key");
    let missing = [
        fitting.as_slice(),
        &[("TOKEN_SERVICE_TLS_KEY_FILE", "gone")],
    ]
    .concat();
    with(&missing).says("TOKEN_SERVICE_TLS_KEY_FILE (set in the environment): gone cannot be");
}
