//! The operators' commands, with a running service and without one: the same words, the
//! same JSON.

use fake_google::Config;
use serde_json::{Value, json};

use crate::support::{
    CLIENT_ID, CLIENT_SECRET, Folder, account, at, borrowed, google, tokens_json,
};

/// A port that nobody serves, so that a refresh fails at once.
const NOWHERE: (&str, &str) = ("OAUTH_TOKEN_URL", "http://127.0.0.1:9/token");

/// Goes through every command in `folder`; `environment` says where the service is.
fn every_command(folder: &Folder, environment: &[(&str, &str)]) {
    let run = |arguments: &[&str]| folder.run(arguments, environment);
    let file = tokens_json().replacen("\"project-2\"", "17", 1);
    folder.write("import.json", &file);

    run(&["projects", "list"])
        .exits_with(0)
        .says("no project yet");
    assert_eq!(
        run(&["projects", "list", "--json"]).exits_with(0).json(),
        json!({"projects": []})
    );

    let rehearsal = run(&["import", "import.json", "--dry-run", "--json"]).exits_with(1);
    assert_eq!(rehearsal.json()["dry_run"], true);
    assert_eq!(rehearsal.json()["created"], 2);
    let imported = run(&["import", "import.json", "--json"])
        .exits_with(1)
        .json();
    assert_eq!(imported["created"], 2, "{imported}");
    assert_eq!(imported["rejected"], 1, "{imported}");
    let entries = imported["entries"].as_array().unwrap();
    let results: Vec<_> = entries.iter().map(|entry| &entry["result"]).collect();
    assert_eq!(results, ["created", "rejected", "created"]);
    let line = file.lines().position(|line| line.contains("17")).unwrap();
    // The entry begins with the brace above.
    assert_eq!(entries[1]["line"], line);
    assert!(
        entries[1]["message"]
            .as_str()
            .unwrap()
            .contains("project_id")
    );
    let again = run(&["import", "import.json"]).exits_with(1);
    again.says("0 created, 0 updated, 2 unchanged, 1 rejected");

    let list = run(&["projects", "list", "--json"]).exits_with(0).json();
    let listed = list["projects"].as_array().unwrap().iter();
    let ids: Vec<_> = listed.map(|project| &project["id"]).collect();
    assert_eq!(ids, ["project-1", "project-3"]);
    let project = &list["projects"][0];
    assert_eq!(project["upstream"], "antigravity");
    assert_eq!(project["state"], "active");
    assert_eq!(project["location"], Value::Null);
    assert_eq!(project["oauth_client_id"], CLIENT_ID);
    let created = project["created_at"].as_str().unwrap();
    assert!(created.parse::<jiff::Timestamp>().is_ok(), "{created}");
    let table = run(&["projects", "list"]).exits_with(0);
    table
        .says("GOOGLE PROJECT")
        .says("project-1")
        .says("active");

    run(&["projects", "disable", "project-1"])
        .exits_with(0)
        .says("project-1 is disabled");
    let shown = run(&["projects", "show", "project-1", "--json"]).exits_with(0);
    assert_eq!(shown.json()["state"], "disabled");
    assert_eq!(shown.json()["disabled"], true);
    let enabled = run(&["projects", "enable", "project-1", "--json"]).exits_with(0);
    assert_eq!(enabled.json()["state"], "active");
    run(&["projects", "show", "project-1"])
        .exits_with(0)
        .says("Google project");

    run(&["projects", "remove", "project-1"])
        .exits_with(2)
        .says("--yes");
    let removed = run(&["projects", "remove", "project-1", "--yes", "--json"]).exits_with(0);
    assert_eq!(removed.json(), json!({"id": "project-1", "removed": true}));
    run(&["projects", "show", "project-1"])
        .exits_with(1)
        .says("project-1");

    folder.write("secret", CLIENT_SECRET);
    folder.write("refresh", "1//planted-refresh-token-9\n");
    let put = ["oauth-clients", "put", "second", "--secret-file", "secret"];
    run(&put).exits_with(0).says("with a secret");
    let add = [
        "projects",
        "add",
        "vertex-9",
        "--upstream",
        "vertex",
        "--no-check",
    ];
    let secret = ["--refresh-token-file", "refresh", "--json"];
    run(&[&add[..], &secret].concat())
        .exits_with(1)
        .says("OAuth clients");
    let client = ["--oauth-client", "second", "--id", "nine", "--name", "Nine"];
    let added = run(&[&add[..], &secret, &client].concat()).exits_with(0);
    assert_eq!(added.json()["id"], "nine");
    assert_eq!(added.json()["location"], "global");
    assert_eq!(added.json()["display_name"], "Nine");
    let clients = run(&["oauth-clients", "list", "--json"])
        .exits_with(0)
        .json();
    let second = &clients["oauth_clients"][1];
    assert_eq!(second["client_id"], "second");
    assert_eq!(second["has_secret"], true);
    assert_eq!(second["projects"], 1);
    run(&["oauth-clients", "remove", "second", "--yes"]).exits_with(1);
    run(&["projects", "remove", "nine", "--yes"]).exits_with(0);
    run(&["oauth-clients", "remove", "second", "--yes"]).exits_with(0);

    folder.write("passphrase", "a passphrase that is long\n");
    let passphrase = ["--passphrase-file", "passphrase"];
    let export = ["export", "pool.sealed"];
    run(&[&export[..], &passphrase].concat()).exits_with(0);
    run(&[&export[..], &passphrase].concat())
        .exits_with(2)
        .says("--force");
    run(&[&export[..], &passphrase, &["--force"]].concat()).exits_with(0);
    let sealed = std::fs::read(folder.path().join("pool.sealed")).unwrap();
    assert!(!sealed.windows(7).any(|window| window == b"planted"));
    let import = ["import", "pool.sealed"];
    run(&import).exits_with(2).says("--passphrase-file");
    run(&[&import[..], &passphrase].concat()).exits_with(0);

    backups_and_keys(folder, environment);

    for wrong in [
        run(&["import", "passphrase"]),
        run(&["import", "none.json"]),
    ] {
        wrong.exits_with(1);
    }
    folder.write("broken.json", "{\n  \"projects\": [planted]\n}\n");
    let broken = run(&["import", "broken.json"]).exits_with(1);
    broken.says("broken.json: line 2").tells_no("planted");
    for finished in [table, again, rehearsal] {
        finished.tells_no("planted-refresh").tells_no(CLIENT_SECRET);
    }
}

fn backups_and_keys(folder: &Folder, environment: &[(&str, &str)]) {
    let run = |arguments: &[&str]| folder.run(arguments, environment);
    let before = run(&["projects", "list", "--json"]).exits_with(0).json();
    let keys = run(&["keys", "list", "--json"]).exits_with(0).json();
    let old = &keys["keys"][0]["id"];
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "{keys}");
    let backup = run(&["backup", "pool.db", "--json"]).exits_with(0).json();
    assert_eq!(backup["key_ids"], json!([old]), "{backup}");
    let size = std::fs::metadata(folder.path().join("pool.db"))
        .unwrap()
        .len();
    assert_eq!(backup["bytes"], size);
    run(&["backup", "pool.db"]).exits_with(2).says("--force");
    run(&["backup", "pool.db", "--force"])
        .exits_with(0)
        .says("keep that somewhere else")
        .says("antigravity-gateway restore pool.db");

    let rotated = run(&["keys", "rotate", "--json"]).exits_with(0).json();
    assert_eq!(rotated["retired_key_ids"], json!([old]), "{rotated}");
    assert_ne!(rotated["key_id"], *old);
    run(&["keys", "rotate"]).exits_with(0).says("sealed anew");
    run(&["keys", "list"]).exits_with(0).says("seals and opens");

    run(&["restore", "pool.db"]).exits_with(2).says("--yes");
    run(&["projects", "remove", "project-3", "--yes"]).exits_with(0);
    let restored = run(&["restore", "pool.db", "--yes", "--json"]).exits_with(0);
    let restored = restored.json();
    let count = before["projects"].as_array().unwrap().len();
    assert_eq!(restored["projects"], count, "{restored}");
    assert_eq!(restored["replaced_projects"], count - 1, "{restored}");
    assert!(restored["resealed_values"].as_u64().unwrap() > 0);
    let after = run(&["projects", "list", "--json"]).exits_with(0).json();
    assert_eq!(after, before);
    run(&["restore", "passphrase", "--yes"])
        .exits_with(1)
        .says("no database");
    run(&["restore", "pool.db", "--key-file", "passphrase", "--yes"])
        .exits_with(1)
        .says("32 bytes in base64")
        .tells_no("a passphrase");
}

#[test]
fn a_lost_key_is_told_with_what_can_still_be_done() {
    let folder = Folder::new();
    folder.write("import.json", &tokens_json());
    folder
        .run(&["import", "import.json"], &[NOWHERE])
        .exits_with(0);
    folder
        .run(&["keys", "reset"], &[])
        .exits_with(2)
        .says("--yes");
    std::fs::remove_file(folder.path().join("data/encryption.key")).unwrap();
    for command in [&["projects", "list"][..], &["serve"], &["keys", "rotate"]] {
        folder
            .run(command, &[NOWHERE, ("PORT", "0")])
            .exits_with(1)
            .says("no key for it")
            .says("keys reset");
    }
    let reset = folder.run(&["keys", "reset", "--yes", "--json"], &[]);
    assert_eq!(
        reset.exits_with(0).json(),
        json!({"projects": 3, "oauth_clients": 1})
    );
    let list = folder.run(&["projects", "list"], &[NOWHERE]).exits_with(0);
    list.says("needs login").says("the encryption key was lost");
}

#[test]
fn without_a_running_service() {
    let folder = Folder::new();
    let listing = folder.run(&["projects", "list"], &[]).exits_with(0);
    listing.says("no project yet");
    for command in [
        &["backup", "pool.db"][..],
        &["keys", "list"],
        &["keys", "rotate"],
    ] {
        folder
            .run(command, &[])
            .exits_with(1)
            .says("data/tokens.db");
    }
    assert!(!folder.has("pool.db"));
    assert!(!folder.has("data"), "looking has made a database");
    every_command(&folder, &[NOWHERE]);
}

#[test]
fn with_a_running_service() {
    let folder = Folder::new();
    let serving = folder.serve(&[NOWHERE]);
    let url = format!("http://{}", serving.token_service);
    every_command(&folder, &[("TOKEN_SERVICE_URL", &url)]);
    let done = serving.end().exits_with(0);
    done.tells_no("planted-refresh").tells_no(CLIENT_SECRET);
}

#[test]
fn a_service_at_the_default_address_is_found() {
    let folder = Folder::new();
    let serving = folder.serve(&[NOWHERE]);
    let address = serving.token_service.to_string();
    let here = [("TOKEN_SERVICE_LISTEN", address.as_str()), NOWHERE];
    let file = tokens_json();
    folder.write("import.json", &file);
    folder.run(&["import", "import.json"], &here).exits_with(0);
    // The lock is the service's, so that this went through it.
    folder
        .run(&["projects", "list"], &here)
        .exits_with(0)
        .says("project-3");

    let wrong = "admin-token-of-somebody-else";
    let denied = [here[0], ("ADMIN_TOKEN", wrong)];
    let denied = folder.run(&["projects", "list"], &denied).exits_with(1);
    denied
        .says("does not accept this admin token")
        .says("ADMIN_TOKEN")
        .tells_no(wrong);
    let elsewhere = Folder::new();
    let missing = elsewhere.run(&["projects", "list"], &here).exits_with(1);
    missing.says("there is no admin token").says("ADMIN_TOKEN");
    serving.end().exits_with(0);
}

#[test]
fn a_named_service_that_is_away_is_told() {
    let folder = Folder::new();
    let token = ("ADMIN_TOKEN", "0123456789abcdef0123");
    let away = [("TOKEN_SERVICE_URL", "http://127.0.0.1:9"), token];
    let done = folder.run(&["projects", "list"], &away).exits_with(1);
    done.says("http://127.0.0.1:9 (TOKEN_SERVICE_URL)");
    assert!(!folder.has("data"));
}

#[test]
fn of_several_named_services_one_that_is_there_is_asked() {
    let folder = Folder::new();
    folder.write("data/tokens.json", &tokens_json());
    let grpc = fake_google::unused_address().unwrap();
    let listen = grpc.to_string();
    let serving = folder.serve(&[NOWHERE, ("TOKEN_SERVICE_LISTEN", &listen)]);
    // As gateways are told of them.
    let urls = format!("http://127.0.0.1:9, http://{grpc}");
    folder
        .run(&["projects", "list"], &[("TOKEN_SERVICE_URL", &urls)])
        .exits_with(0)
        .says("project-1");
    serving.end().exits_with(0);
}

#[test]
fn another_program_at_the_default_address_is_told() {
    let folder = Folder::new();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    // Takes connections, and drops them.
    let closing = std::thread::spawn(move || {
        for connection in other.incoming().take(2) {
            drop(connection);
        }
    });
    let environment = [
        ("TOKEN_SERVICE_LISTEN", address.as_str()),
        ("ADMIN_TOKEN", "0123456789abcdef0123"),
    ];
    let done = folder.run(&["projects", "list"], &environment);
    done.exits_with(1)
        .says(&format!("the token-service at http://{address} failed"));
    closing.join().unwrap();
    assert!(!folder.has("data"));
}

#[test]
fn a_database_in_use_names_its_process() {
    let folder = Folder::new();
    let serving = folder.serve(&[]);
    let pid = format!("process {}", serving.process.id());
    let list = folder.run(&["projects", "list"], &[]).exits_with(1);
    list.says(&pid).says("TOKEN_SERVICE_URL");
    let second = folder.run(&["serve"], &[("PORT", "0")]).exits_with(1);
    second.says(&pid);
    serving.end().exits_with(0);
}

#[test]
fn secrets_and_files_come_over_standard_input_too() {
    let folder = Folder::new();
    folder
        .run_with_input(&["import", "-"], &tokens_json())
        .exits_with(0)
        .says("standard input imported: 3 created");
    let add = [
        "projects",
        "add",
        "new",
        "--no-check",
        "--refresh-token-file",
        "-",
    ];
    let done = folder.run_with_input(&add, "1//planted-of-stdin\n");
    done.exits_with(0).tells_no("planted");
    let empty = folder.run_with_input(&add, "\n").exits_with(1);
    empty.says("refresh token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_asks_google_and_says_what_came_of_it() {
    let google = google(Config::default()).await;
    let folder = Folder::new();
    let environment = at(&google, &folder);
    let environment = borrowed(&environment);
    folder.write("import.json", &tokens_json());
    folder
        .run(&["import", "import.json"], &environment)
        .exits_with(0);
    let refresh = ["projects", "refresh", "project-2", "--json"];
    let done = folder.run(&refresh, &environment).exits_with(0);
    assert!(done.json()["token_expires_at"].is_string());
    done.tells_no("ya29.");

    google.fake().revoke(&account(2).refresh_token);
    let done = folder.run(&refresh, &environment).exits_with(1);
    done.says("invalid_grant").tells_no("planted-refresh");
    let list = folder.run(&["projects", "list"], &environment);
    list.exits_with(0).says("needs login").says("log in again");
}

#[test]
fn a_refresh_that_google_does_not_grant_is_googles_not_the_services() {
    let folder = Folder::new();
    folder.write("import.json", &tokens_json());
    let run = |arguments: &[&str]| folder.run(arguments, &[NOWHERE]);
    run(&["import", "import.json"]).exits_with(0);
    run(&["projects", "refresh", "project-1"])
        .exits_with(1)
        .says("Google's token endpoint")
        .tells_no("the token-service at");
}

#[test]
fn a_key_behind_the_old_one_is_not_told_to_be_done_with() {
    let folder = Folder::new();
    folder.write("import.json", &tokens_json());
    let old = "dGhlIG9sZCBrZXkgb2YgdGhlIHRlc3RzLCAzMiBieXQ=";
    let both = format!("{old},bmV3IGtleSBvZiB0aGUgdGVzdHMsIDMyIGJ5dGVzIGw=");
    folder
        .run(
            &["import", "import.json"],
            &[NOWHERE, ("ENCRYPTION_KEY", old)],
        )
        .exits_with(0);
    folder
        .run(&["keys", "rotate"], &[NOWHERE, ("ENCRYPTION_KEY", &both)])
        .exits_with(0)
        .says("Nothing had to be sealed anew")
        .says("put it first");
}

#[test]
fn names_that_steer_a_terminal_are_not_imported() {
    let folder = Folder::new();
    let named = tokens_json().replacen(
        "\"project_id\"",
        "\"display_name\": \"a\\u001b[31mb\", \"project_id\"",
        1,
    );
    folder.write("import.json", &named);
    folder
        .run(&["import", "import.json"], &[NOWHERE])
        .exits_with(1)
        .says("display_name has a control character")
        .says("2 created");
}

#[test]
fn a_pool_that_was_moved_is_refused_where_it_was_until_it_is_taken_back() {
    let folder = Folder::new();
    folder.write("import.json", &tokens_json());
    folder
        .run(&["import", "import.json"], &[NOWHERE])
        .exits_with(0);
    folder.run(&["migrate"], &[]).exits_with(2).says("--to");
    for arguments in [
        &["migrate", "--to", "postgres://ann:se#cret@db/tokens"][..],
        &["migrate", "--to", "postgres://db/tokens?sslcert=no.pem"],
    ] {
        let refused = folder.run(arguments, &[]).exits_with(2);
        refused.says("error: --to ").tells_no("cret@");
    }
    folder
        .run(&["migrate", "--take-back"], &[])
        .exits_with(1)
        .says("has not been moved");
    folder
        .run(&["migrate", "--to", "sqlite://data/new.db"], &[])
        .exits_with(0)
        .says("data/new.db");
    let moved = folder.run(&["projects", "list"], &[]).exits_with(1);
    moved.says("data/new.db").says("--take-back");
    folder
        .run(&["serve"], &[NOWHERE])
        .exits_with(1)
        .says("has been moved to data/new.db");
    folder
        .run(&["migrate", "--take-back"], &[])
        .exits_with(0)
        .says("serves again");
    folder.run(&["projects", "list"], &[]).exits_with(0);
}
