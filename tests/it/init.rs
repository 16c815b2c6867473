//! `init` and `secret`: what containers run before the services, and after them.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
};

use crate::support::{API_KEY, Folder};

const HAND_OVER: &[&str] = &[
    "init",
    "--gateway-folder",
    "gateway",
    "--tokens-file",
    "import/tokens.json",
];

fn mode(folder: &Folder, name: &str) -> u32 {
    let file = fs::metadata(folder.path().join(name)).unwrap();
    file.permissions().mode() & 0o777
}

#[test]
fn init_makes_what_is_missing_once() {
    let folder = Folder::new();
    let first = folder.run(HAND_OVER, &[]).exits_with(0);
    for name in ["api_key", "admin_token", "gateway_token", "encryption.key"] {
        first.says(&format!("made data/{name}"));
        first.tells_no(folder.read(&format!("data/{name}")).trim());
        assert_eq!(mode(&folder, &format!("data/{name}")), 0o600);
    }
    assert!(folder.read("data/api_key").starts_with("sk-"));
    // The gateways' folder holds what gateways need, and nothing else.
    let mut handed = fs::read_dir(folder.path().join("gateway")).unwrap();
    assert_eq!(handed.by_ref().count(), 2);
    for name in ["api_key", "gateway_token"] {
        let own = folder.read(&format!("gateway/{name}"));
        assert_eq!(own, folder.read(&format!("data/{name}")));
        assert_eq!(mode(&folder, &format!("gateway/{name}")), 0o600);
    }
    let keys = folder.read("data/encryption.key");
    let second = folder.run(HAND_OVER, &[]).exits_with(0);
    assert!(!second.stdout.contains("made "), "{}", second.stdout);
    assert_eq!(folder.read("data/encryption.key"), keys);
}

#[test]
fn init_makes_nothing_that_is_configured() {
    let folder = Folder::new();
    let environment = [
        ("API_KEYS", API_KEY),
        ("GATEWAY_TOKEN", "planted-gateway-token"),
    ];
    folder.run(HAND_OVER, &[]).exits_with(0);
    let done = folder.run(HAND_OVER, &environment).exits_with(0);
    done.tells_no(API_KEY).tells_no("planted-gateway-token");
    assert_eq!(
        folder.read("gateway/gateway_token"),
        "planted-gateway-token\n"
    );
    assert!(!folder.has("gateway/api_key"), "one of an earlier start");
}

#[test]
fn the_copy_of_the_tokens_file_follows_it() {
    let folder = Folder::new();
    folder.write("import/tokens.json", "{\"projects\": []}");
    folder.run(HAND_OVER, &[]).exits_with(0).says("copied");
    assert_eq!(folder.read("data/tokens.json"), "{\"projects\": []}");
    assert_eq!(mode(&folder, "data/tokens.json"), 0o600);
    fs::remove_file(folder.path().join("import/tokens.json")).unwrap();
    folder
        .run(HAND_OVER, &[])
        .exits_with(0)
        .says("there is no import/tokens.json");
    assert!(!folder.has("data/tokens.json"));
}

#[test]
fn init_refuses_what_the_services_would_refuse() {
    let folder = Folder::new();
    let open = [
        ("HOST", "0.0.0.0"),
        ("API_KEYS", "[\"sk-your-secret-key\"]"),
    ];
    let refused = folder.run(HAND_OVER, &open).exits_with(2);
    refused.says("sk-your-secret-key").says("API_KEYS");
    assert!(!folder.has("data"), "nothing is made");
    let memory = [("DATABASE_URL", "sqlite::memory:")];
    folder
        .run(&["init"], &memory)
        .exits_with(2)
        .says("DATABASE_URL");
    let postgres = [("DATABASE_URL", "postgres://127.0.0.1:1/tokens")];
    for command in [&["init"][..], &["secret", "encryption_key"]] {
        let refused = folder.run(command, &postgres).exits_with(2);
        refused.says("names PostgreSQL").says("ENCRYPTION_KEY");
    }
    let names = ["init", "--owner", "nobody:nogroup"];
    folder.run(&names, &[]).exits_with(2).says("65532:65532");
}

#[test]
fn what_init_made_is_given_away() {
    let folder = Folder::new();
    folder.write("probe", "");
    let owner = fs::metadata(folder.path().join("probe")).unwrap().uid();
    let arguments = [HAND_OVER, &["--owner", "65532:65533"]].concat();
    let done = folder.run(&arguments, &[]);
    if owner != 0 {
        done.exits_with(1).says("cannot give away");
        return;
    }
    done.exits_with(0);
    for name in ["data", "data/admin_token", "gateway", "gateway/api_key"] {
        let file = fs::metadata(folder.path().join(name)).unwrap();
        assert_eq!((file.uid(), file.gid()), (65532, 65533), "{name}");
    }
}

#[test]
fn secrets_are_shown_to_who_asks() {
    let folder = Folder::new();
    let at_once = ["secret", "api_key", "--wait", "0s"];
    let missing = folder.run(&at_once, &[]).exits_with(1);
    missing.says("data/api_key is not there");
    folder.run(&["init"], &[]).exits_with(0);
    for (name, file) in [
        ("api_key", "api_key"),
        ("admin_token", "admin_token"),
        ("gateway_token", "gateway_token"),
        ("encryption_key", "encryption.key"),
    ] {
        let shown = folder.run(&["secret", name], &[]).exits_with(0);
        assert_eq!(shown.stdout, folder.read(&format!("data/{file}")));
        assert_eq!(shown.stderr, "");
    }
    let configured = folder.run(&["secret", "api_key"], &[("API_KEYS", API_KEY)]);
    configured.exits_with(2).says("API_KEYS").tells_no(API_KEY);
    folder.run(&["secret", "refresh_token"], &[]).exits_with(2);
}

#[test]
fn a_secret_is_waited_for_while_a_first_start_goes_on() {
    let folder = Folder::new();
    let asked = folder.start(&["secret", "api_key", "--wait", "1m"], &[]);
    asked.stderr_with("waiting for data/api_key to be made");
    let serving = folder.serve(&[]);
    let shown = asked.wait().exits_with(0);
    assert_eq!(shown.stdout, folder.read("data/api_key"));
    serving.end().exits_with(0);
}
