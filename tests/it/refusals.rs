//! What cannot be right is refused before anything is touched: the exit status, and the
//! words that lead to the cause.

use crate::support::{Folder, tokens_json};

#[test]
fn wrong_values_name_their_variable_and_where_it_was_set() {
    for (line, variable) in [
        ("PORT=many", "PORT"),
        ("HOST=not a host", "HOST"),
        ("API_KEYS=[1]", "API_KEYS"),
        ("DEFAULT_STREAM=maybe", "DEFAULT_STREAM"),
        ("IDLE_TIMEOUT=soon", "IDLE_TIMEOUT"),
        ("MAX_BODY_BYTES=lots", "MAX_BODY_BYTES"),
        ("UPSTREAM_HEADERS=[]", "UPSTREAM_HEADERS"),
        ("DATABASE_URL=mysql://x", "DATABASE_URL"),
        ("ENCRYPTION_KEY=short", "ENCRYPTION_KEY"),
        ("ADMIN_TOKEN=short", "ADMIN_TOKEN"),
        ("REFRESH_MARGIN=-1", "REFRESH_MARGIN"),
        ("OAUTH_TOKEN_URL=google", "OAUTH_TOKEN_URL"),
        ("LOG_LEVEL=loud", "LOG_LEVEL"),
    ] {
        let folder = Folder::new();
        folder.write(".env", &format!("# settings\n{line}\n"));
        let done = folder.run(&["serve"], &[]).exits_with(2);
        done.says(&format!("error: {variable} (line 2 of .env)"));
        assert_eq!(folder.names(), [".env"], "{line}");

        let (name, value) = line.split_once('=').unwrap();
        let folder = Folder::new();
        let done = folder.run(&["serve"], &[(name, value)]).exits_with(2);
        done.says(&format!("error: {variable} (set in the environment)"));
        assert!(folder.names().is_empty(), "{line}");
    }
}

#[test]
fn a_file_that_is_no_env_file_is_told_with_its_line() {
    let folder = Folder::new();
    folder.write("my.env", "HOST=127.0.0.1\nplanted words\n");
    let done = folder.run(&["--env-file", "my.env"], &[]).exits_with(2);
    done.says("my.env: line 2").tells_no("planted");
    let missing = folder.run(&["--env-file", "no.env"], &[]).exits_with(2);
    missing.says("no.env");
}

#[test]
fn a_public_key_is_refused_where_others_can_reach_it() {
    let folder = Folder::new();
    folder.write(
        ".env",
        "API_KEYS=[\"sk-your-secret-key\"]\nHOST=0.0.0.0\nPORT=0\n",
    );
    let done = folder.run(&[], &[]).exits_with(2);
    done.says("API_KEYS (line 1 of .env)")
        .says("sk-your-secret-key")
        .says("HOST=0.0.0.0");
    assert!(!folder.has("data"));
}

#[test]
fn a_key_that_nobody_could_keep_is_not_made() {
    let folder = Folder::new();
    let postgres = [
        ("DATABASE_URL", "postgres://127.0.0.1:1/tokens"),
        ("ENCRYPTION_KEY", &"A".repeat(43)),
        ("GATEWAY_TOKEN", "a-token-of-gateways"),
        ("ADMIN_TOKEN", "a-token-of-operators"),
        ("PORT", "0"),
        ("TOKEN_SERVICE_LISTEN", "127.0.0.1:0"),
    ];
    let done = folder.run(&["serve"], &postgres).exits_with(2);
    done.says("API_KEYS").says("PostgreSQL");
    assert!(folder.names().is_empty());
}

#[test]
fn wrong_usage_is_told() {
    let folder = Folder::new();
    for arguments in [
        &["projects"][..],
        &["import"],
        &["fly"],
        &["serve", "--port"],
    ] {
        folder.run(arguments, &[]).exits_with(2);
    }
    assert!(folder.names().is_empty());
}

#[test]
fn a_broken_tokens_file_stops_the_start_and_leaves_no_trace() {
    let folder = Folder::new();
    let broken = tokens_json().replacen("\"refresh_token\"", "refresh_token", 1);
    folder.write("data/tokens.json", &broken);
    let done = folder.run(&["serve"], &[("PORT", "0")]).exits_with(1);
    done.says("data/tokens.json line ").tells_no("planted");
    let data = std::fs::read_dir(folder.path().join("data")).unwrap();
    assert_eq!(data.count(), 1);
    assert_eq!(folder.read("data/tokens.json"), broken);
}

#[test]
fn a_foreign_database_and_a_lost_key_stop_the_start() {
    let folder = Folder::new();
    let text = "this is no database, and it stays as it is\n".repeat(20);
    folder.write("data/tokens.db", &text);
    folder.write("data/encryption.key", &format!("{}=\n", "A".repeat(43)));
    let done = folder.run(&["serve"], &[("PORT", "0")]).exits_with(1);
    done.says("data/tokens.db");
    assert_eq!(folder.read("data/tokens.db"), text);

    let folder = Folder::new();
    folder.serve(&[]).end().exits_with(0);
    let before = std::fs::read(folder.path().join("data/tokens.db")).unwrap();
    let key = folder.path().join("data/encryption.key");
    std::fs::rename(&key, folder.path().join("elsewhere")).unwrap();
    let done = folder.run(&["serve"], &[("PORT", "0")]).exits_with(1);
    done.says("data/encryption.key").says("ENCRYPTION_KEY");
    assert!(!key.exists());
    let after = std::fs::read(folder.path().join("data/tokens.db")).unwrap();
    assert!(before == after, "the database has changed");
}

#[test]
fn an_address_that_is_taken_is_told_before_anything_is_made() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = Folder::new();
    let done = folder.run(&["serve"], &[("PORT", &port)]).exits_with(1);
    done.says(&format!("127.0.0.1:{port} (HOST, PORT)"));
    // Of the block for documentation: nobody has it.
    let foreign = [("HOST", "192.0.2.1"), ("PORT", "0")];
    let done = folder.run(&["serve"], &foreign).exits_with(2);
    done.says("192.0.2.1:0 (HOST, PORT)");
    assert!(folder.names().is_empty());
}

#[test]
fn certificates_that_are_none_are_told_with_their_variable() {
    let folder = Folder::new();
    folder.write("ca.pem", "no certificate");
    let environment = [("PORT", "0"), ("UPSTREAM_CA_FILE", "ca.pem")];
    let done = folder.run(&["serve"], &environment).exits_with(2);
    done.says("UPSTREAM_CA_FILE").says("ca.pem");
    assert_eq!(folder.names(), ["ca.pem"]);
}

#[test]
fn when_one_service_fails_the_other_ends_too() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = Folder::new();
    let environment = [("PORT", "0"), ("ADMIN_LISTEN", address.as_str())];
    let done = folder.run(&["serve"], &environment).exits_with(1);
    done.says("ADMIN_LISTEN").says(&address);
    // The token-service has let go of the database.
    folder.run(&["projects", "list"], &[]).exits_with(0);
}
