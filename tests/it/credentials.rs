//! Credentials from the command line: each kind, what is wrong with it, and files of other
//! programs.

use fake_google::{API_KEY, Config, ServiceAccount};
use serde_json::json;

use crate::support::{CLIENT_ID, CLIENT_SECRET, Folder, account, at, borrowed, google};

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_is_added_checked_and_replaced() {
    let google = google(Config {
        accounts: vec![account(1)],
        service_accounts: vec![ServiceAccount::of_project("robots")],
        ..Config::default()
    })
    .await;
    let folder = Folder::new();
    let environment = at(&google, &folder);
    let environment = borrowed(&environment);
    let run = |arguments: &[&str]| folder.run(arguments, &environment);
    let token_uri = format!("{}/token", google.base_url());
    let key = ServiceAccount::of_project("robots").key_file(&token_uri);
    folder.write("key.json", &key);
    folder.write("half.json", &key[..900]);
    folder.write("api-key", API_KEY);
    folder.write("secret", CLIENT_SECRET);
    folder.write("token", &account(1).refresh_token);
    folder.write("unknown", "1//planted-unknown");

    run(&["projects", "add", "p"]).exits_with(2);
    run(&["projects", "add", "--refresh-token-file", "token"])
        .exits_with(2)
        .says("does not tell its Google project");
    let both = [
        "--api-key-file",
        "api-key",
        "--service-account-file",
        "key.json",
    ];
    run(&[&["projects", "add"], &both[..]].concat()).exits_with(2);
    run(&["projects", "add", "--service-account-file", "half.json"])
        .exits_with(1)
        .says("is not JSON (line 1, column 900");
    run(&["projects", "add", "--api-key-file", "key.json"])
        .exits_with(1)
        .says("service-account key goes as");
    run(&["oauth-clients", "put", CLIENT_ID, "--secret-file", "secret"]).exits_with(0);
    let refused = ["projects", "add", "p", "--refresh-token-file", "unknown"];
    run(&refused)
        .exits_with(1)
        .says("Google refuses the refresh token")
        .tells_no("planted-unknown");
    let none = run(&["projects", "list", "--json"]).exits_with(0).json();
    assert_eq!(none, json!({"projects": []}), "nothing half done");

    run(&["projects", "add", "p", "--refresh-token-file", "token"])
        .exits_with(0)
        .says("p is added, and is active, access token ends in");
    let robot = run(&[
        "projects",
        "add",
        "--service-account-file",
        "key.json",
        "--json",
    ]);
    let robot = robot.exits_with(0).json();
    assert_eq!(robot["id"], "robots");
    assert_eq!(robot["credential"], "service_account_key");
    assert_eq!(robot["account"], "robot@robots.iam.gserviceaccount.com");
    assert_eq!(robot["oauth_client_id"], json!(null));
    let keyed = run(&[
        "projects",
        "add",
        "--api-key-file",
        "api-key",
        "--id",
        "key",
    ]);
    keyed.exits_with(0).tells_no(API_KEY);
    run(&["projects", "list"])
        .exits_with(0)
        .says("CREDENTIAL")
        .says("service account key");
    run(&["projects", "show", "key"])
        .exits_with(0)
        .says("api key");
    run(&[
        "projects",
        "add",
        "--api-key-file",
        "api-key",
        "--id",
        "again",
    ])
    .exits_with(1)
    .says("\"key\"");

    google.fake().revoke("robot@robots.iam.gserviceaccount.com");
    run(&["projects", "refresh", "robots"])
        .exits_with(1)
        .says("Invalid JWT Signature");
    run(&["projects", "show", "robots"])
        .exits_with(0)
        .says("needs login");
    let set = [
        "projects",
        "set-credential",
        "robots",
        "--refresh-token-file",
        "token",
    ];
    run(&set)
        .exits_with(0)
        .says("robots has its new credential");
    let shown = run(&["projects", "show", "robots", "--json"])
        .exits_with(0)
        .json();
    assert_eq!(shown["oauth_client_id"], CLIENT_ID);
}

#[test]
fn folders_and_several_files_are_imported_together() {
    let folder = Folder::new();
    let run = |arguments: &[&str]| folder.run(arguments, &[]);
    folder.write("secret", CLIENT_SECRET);
    run(&["oauth-clients", "put", CLIENT_ID, "--secret-file", "secret"]).exits_with(0);
    let account = |name: &str| {
        json!({"type": "antigravity", "refresh_token": format!("1//{name}"), "project_id": name})
            .to_string()
    };
    folder.write("auth/antigravity-a.json", &account("a"));
    folder.write("auth/antigravity-b.json", &account("b"));
    folder.write("auth/notes.txt", "not looked at");
    folder.write(
        "creds.json",
        &json!({"refresh_token": "1//c", "scope": "s"}).to_string(),
    );
    let imported = run(&["import", "auth", "creds.json", "--project", "c"]).exits_with(0);
    imported
        .says("CLIProxyAPI's auth file")
        .says("gemini-cli's oauth_creds.json")
        .says("3 files imported: 3 created, 0 updated, 0 unchanged, 0 rejected");
    folder.write("auth/antigravity-c.json", "{");
    folder.write("auth/antigravity-d.json", "{\"planted\": 1}");
    let some = run(&["import", "auth", "--json"]).exits_with(1).json();
    assert_eq!(some["unchanged"], 2);
    let errors: Vec<_> = some["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| &f["error"])
        .collect();
    assert!(errors[0].is_null() && errors[1].is_null());
    assert!(errors[2].as_str().unwrap().contains("it is not JSON"));
    assert!(
        errors[3]
            .as_str()
            .unwrap()
            .contains("no credential file that is recognised")
    );
    folder.write("empty/notes.txt", "");
    run(&["import", "empty"]).exits_with(2).says("no *.json");
    run(&["import", "-", "-"]).exits_with(2);
}
