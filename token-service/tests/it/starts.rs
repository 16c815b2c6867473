//! Starts that must fail: what is told, how the process exits, and that nothing was
//! touched.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Output},
};

use secrecy::ExposeSecret as _;
use serde_json::json;
use sqlx::Connection as _;
use token_service::{Error, Secrets, StoreError};

use crate::support::{ADMIN_TOKEN, Home, dealt, google, ids, tokens_json, wanted};

const OTHER_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn binary(home: &Home, set: &[(&str, &str)], arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_token-service"))
        .args(arguments)
        .env_clear()
        .envs(home.variables())
        .envs(set.iter().copied())
        .current_dir(home.folder.path())
        .output()
        .unwrap()
}

/// The files of a folder that hold something, with a digest of their text. Without lock
/// files and SQLite's index of its log, which holds nothing of its own.
fn contents(folder: &Path) -> BTreeMap<String, String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return BTreeMap::new();
    };
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() > 0))
        .filter(|path| {
            let name = path.display().to_string();
            !name.ends_with(".lock") && !name.ends_with("-shm")
        })
        .map(|path| {
            let digest = antigravity_runtime::secret::fingerprint(&crate::support::lossy(&path));
            (path.display().to_string(), digest)
        })
        .collect()
}

#[tokio::test]
async fn the_first_start_makes_private_secrets_beside_the_database() {
    use std::os::unix::fs::PermissionsExt as _;
    let google = google(1).await;
    let home = Home::new(&google);
    let mut config = home.config();
    config.gateway_token = None;
    config.admin_token = None;
    let service = crate::support::Service::start(config.clone()).await;
    // Serving says that all has been made.
    token_service::healthcheck(service.address, None)
        .await
        .unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&home.path("data")), 0o700);
    for file in [
        "tokens.db",
        "gateway_token",
        "admin_token",
        "encryption.key",
    ] {
        assert_eq!(mode(&home.path("data").join(file)), 0o600, "{file}");
    }
    let secrets = Secrets::load_or_create(&config).unwrap();
    assert!(secrets.created.is_empty());
    let path = Secrets::admin_token_path(&config).unwrap();
    let admin_token = std::fs::read_to_string(path).unwrap();
    assert_eq!(admin_token.trim(), secrets.admin_token.expose_secret());
    let mut admin = service.projects_as(admin_token.trim()).await;
    assert!(ids(&mut admin).await.is_empty());
    service.stop().await;
}

#[tokio::test]
async fn a_file_that_is_no_tokens_file_is_named_with_its_line() {
    let google = google(1).await;
    let home = Home::new(&google);
    std::fs::write(home.tokens_file(), "{\n  \"projects\": [\n").unwrap();
    let output = binary(&home, &[], &[]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let place = format!("{} line 3", home.tokens_file().display());
    assert!(told.contains(&place) && told.contains("not JSON"), "{told}");
    assert!(!home.database().exists(), "nothing was made");

    let missing = [("TOKENS_FILE", "nowhere.json")];
    let output = binary(&home, &missing, &[]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("nowhere.json"), "{told}");
}

#[tokio::test]
async fn bad_values_exit_with_two_and_name_their_variable() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    std::fs::write(home.path("settings"), "# ours\nREFRESH_MARGIN=soon\n").unwrap();
    for (set, arguments, part) in [
        (
            vec![("DATABASE_URL", "postgres://user:planted@db/tokens")],
            vec![],
            "PostgreSQL",
        ),
        (
            vec![(
                "DATABASE_URL",
                "postgres://db/tokens?sslrootcert=nowhere.pem",
            )],
            vec![],
            "sslrootcert the file nowhere.pem",
        ),
        (
            vec![("ENCRYPTION_KEY", "planted")],
            vec![],
            "ENCRYPTION_KEY",
        ),
        (
            vec![("UPSTREAM_CA_FILE", "nowhere.pem")],
            vec!["serve"],
            "UPSTREAM_CA_FILE",
        ),
        (vec![], vec!["--env-file", "settings"], "line 2 of settings"),
        (vec![], vec!["--env-file", "nowhere"], "nowhere"),
    ] {
        let output = binary(&home, &set, &arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(part), "{told}");
        assert!(part == "PostgreSQL" || !told.contains("planted"), "{told}");
    }
    assert!(!home.path("data").exists(), "nothing was made");
}

#[tokio::test]
async fn help_lists_every_variable() {
    let google = google(1).await;
    let output = binary(&Home::new(&google), &[], &["--help"]);
    assert!(output.status.success());
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    for var in token_service::config::VARS {
        assert!(told.contains(var.name), "{}", var.name);
    }
}

#[tokio::test]
async fn a_second_process_is_refused_with_the_pid_of_the_first() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    token_service::healthcheck(service.address, None)
        .await
        .unwrap();
    let output = binary(&home, &[], &[]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let pid = format!("process {}", std::process::id());
    assert!(told.contains(&pid), "{told}");
    // Nor by another name of the same file.
    let file = home.database();
    let alias = file.with_file_name("alias.db");
    #[cfg(unix)]
    std::os::unix::fs::symlink(&file, &alias).unwrap();
    let url = format!("sqlite://{}", alias.display());
    let output = binary(&home, &[("DATABASE_URL", &url)], &[]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1) && told.contains(&pid),
        "{told}"
    );
    service.stop().await;
    let service = home.start().await;
    token_service::healthcheck(service.address, None)
        .await
        .unwrap();
    service.stop().await;
}

#[tokio::test]
async fn databases_that_cannot_be_used_are_left_as_they_are() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    assert_eq!(dealt(&mut service.tokens().await, wanted(1)).await, "1");
    service.stop().await;
    let data = home.path("data");
    let good = std::fs::read(home.database()).unwrap();

    let mut damaged = good.clone();
    let middle = damaged.len() / 2;
    for byte in &mut damaged[4096..middle] {
        *byte ^= 0xff;
    }
    let mut cut = good.clone();
    cut.truncate(5000);
    let text = b"these are my notes, not a database".to_vec();
    type Expected = fn(&StoreError) -> bool;
    let cases: [(Vec<u8>, Expected); 3] = [
        (damaged, |error| matches!(error, StoreError::Corrupt { .. })),
        (cut, |error| matches!(error, StoreError::Corrupt { .. })),
        (text, |error| matches!(error, StoreError::Foreign { .. })),
    ];
    for (bytes, expected) in cases {
        std::fs::write(home.database(), bytes).unwrap();
        let before = contents(&data);
        let error = home.refused().await;
        let Error::Store(error) = error else {
            panic!("{error}");
        };
        assert!(expected(&error), "{error:?}");
        let told = error.to_string();
        assert!(
            told.contains(&home.database().display().to_string()),
            "{told}"
        );
        assert_eq!(contents(&data), before, "{told}");
    }
}

#[tokio::test]
async fn databases_of_others_and_of_later_versions_are_refused() {
    let google = google(1).await;
    let home = Home::new(&google);
    let url = format!("sqlite://{}?mode=rwc", home.database().display());
    std::fs::create_dir(home.path("data")).unwrap();
    std::fs::write(home.path("data/encryption.key"), OTHER_KEY).unwrap();
    let mut theirs = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("CREATE TABLE notes (text TEXT)")
        .execute(&mut theirs)
        .await
        .unwrap();
    theirs.close().await.unwrap();
    let before = contents(&home.path("data"));
    let error = home.refused().await;
    assert!(
        matches!(error, Error::Store(StoreError::Foreign { .. })),
        "{error}"
    );
    assert_eq!(contents(&home.path("data")), before);
    std::fs::remove_file(home.database()).unwrap();

    home.start().await.stop().await;
    let mut ours = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations
         SELECT 9999, description, installed_on, success, checksum, execution_time
         FROM _sqlx_migrations LIMIT 1",
    )
    .execute(&mut ours)
    .await
    .unwrap();
    ours.close().await.unwrap();
    let error = home.refused().await;
    let newer = matches!(error, Error::Store(StoreError::Newer { version: 9999, .. }));
    assert!(newer, "{error}");
}

#[tokio::test]
async fn another_key_is_refused_and_the_right_one_beside_it_is_not() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    home.start().await.stop().await;
    let key_file = home.path("data/encryption.key");
    let key = std::fs::read_to_string(&key_file).unwrap();
    let before = contents(&home.path("data"));

    let output = binary(&home, &[("ENCRYPTION_KEY", OTHER_KEY)], &[]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("ENCRYPTION_KEY") && told.contains("tokens.db"),
        "{told}"
    );
    assert_eq!(contents(&home.path("data")), before);

    std::fs::remove_file(&key_file).unwrap();
    let told = home.refused().await.to_string();
    assert!(told.contains("encryption.key"), "{told}");
    assert!(!key_file.exists(), "no other key was made");

    let mut config = home.config();
    let both = format!("{OTHER_KEY},{}", key.trim());
    config.encryption_keys = Some(std::sync::Arc::new(
        token_service::seal::Keyring::parse(&both).unwrap(),
    ));
    let service = crate::support::Service::start(config).await;
    assert_eq!(dealt(&mut service.tokens().await, wanted(1)).await, "1");
    service.stop().await;

    std::fs::write(&key_file, "not a key").unwrap();
    let told = home.refused().await.to_string();
    assert!(told.contains("encryption.key"), "{told}");
}

#[tokio::test]
async fn a_bad_entry_does_not_keep_the_service_from_starting() {
    let google = google(1).await;
    let home = Home::new(&google);
    let mut file = tokens_json([1]);
    file["projects"]
        .as_array_mut()
        .unwrap()
        .push(json!({"project_id": "bad"}));
    home.write_tokens(&file);
    let service = home.start().await;
    let mut admin = service.projects_as(ADMIN_TOKEN).await;
    assert_eq!(ids(&mut admin).await, ["fake-project-1"]);
    service.stop().await;
}

#[path = "../../../tests/it/help_table.rs"]
mod help_table;

#[tokio::test]
async fn the_readmes_table_is_what_help_tells() {
    let google = google(1).await;
    let done = binary(&Home::new(&google), &[], &["--help"]);
    assert!(done.status.success());
    let help = String::from_utf8(done.stdout).unwrap();
    assert!(help.contains("Examples:") && help.contains("healthcheck"));
    help_table::hold(&help, &["Token-service", "Both"]);
}
