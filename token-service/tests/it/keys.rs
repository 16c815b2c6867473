//! The keys that seal what is kept: rotated while everything goes on, and lost.

use std::path::PathBuf;

use antigravity_proto::v1::{
    self, ListEncryptionKeysRequest, RotateEncryptionKeyRequest, project::State,
};
use antigravity_runtime::config::Environment;
use token_service::{Config, Error, StoreError, forget_secrets, secrets::SecretsError};
use tonic::{Code, Status};

use crate::support::{
    DatabaseClient, Home, Service, dealt, google, ids, lossy, one_token, project, rotating_google,
    tokens_json, wanted,
};

const OLD: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const NEW: &str = "__________________________________________8";

fn key_file(home: &Home) -> PathBuf {
    home.path("data/encryption.key")
}

fn retired_file(home: &Home) -> PathBuf {
    home.path("data/encryption.key.retired")
}

/// Which keys there are, what each is for and how much it has sealed.
async fn keys(database: &mut DatabaseClient) -> Vec<(String, bool, bool, u32)> {
    let answer = database
        .list_encryption_keys(ListEncryptionKeysRequest {})
        .await;
    let keys = answer.unwrap().into_inner().keys;
    keys.into_iter()
        .map(|key| (key.id, key.seals, key.available, key.sealed_values))
        .collect()
}

async fn rotate(database: &mut DatabaseClient) -> Result<v1::RotateEncryptionKeyResponse, Status> {
    let answer = database
        .rotate_encryption_key(RotateEncryptionKeyRequest {})
        .await?;
    Ok(answer.into_inner())
}

fn with_keys(home: &Home, keys: &str) -> Config {
    let mut variables = home.variables();
    variables.push(("ENCRYPTION_KEY", keys.to_owned()));
    let mut config = Config::from_environment(&Environment::of(variables)).unwrap();
    config.clock = home.clock.clone();
    config
}

#[tokio::test]
async fn a_new_key_takes_the_place_of_the_old_while_everything_goes_on() {
    let google = rotating_google(3).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=3));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    assert_eq!(dealt(&mut gateway, wanted(3)).await, "1 2 3");
    let mut database = service.database().await;
    let before = keys(&mut database).await;
    // A check, the client's secret, and two tokens of each.
    let [(old, true, true, 8)] = &before[..] else {
        panic!("{before:?}")
    };
    let old_file = lossy(&key_file(&home));
    let rotated = rotate(&mut database).await.unwrap();
    assert_eq!(rotated.resealed_values, 8);
    assert_eq!(
        rotated.retired_key_ids.as_slice(),
        std::slice::from_ref(old)
    );
    assert_eq!(
        rotated.retired_to,
        retired_file(&home).display().to_string()
    );
    assert_eq!(
        keys(&mut database).await,
        [(rotated.key_id.clone(), true, true, 8)]
    );
    // The same bytes in the usual alphabet.
    let kept = old_file.trim().replace('-', "+").replace('_', "/");
    assert_eq!(lossy(&retired_file(&home)), format!("{kept}=\n"));
    assert_ne!(lossy(&key_file(&home)), old_file);
    // It is the new key that seals what is written from now on.
    home.clock.advance(std::time::Duration::from_secs(4000));
    assert_eq!(dealt(&mut gateway, wanted(3)).await, "1 2 3");
    assert_eq!(keys(&mut database).await.len(), 1);
    let again = rotate(&mut database).await.unwrap();
    assert_eq!(again.retired_key_ids, [rotated.key_id]);
    assert_eq!(lossy(&retired_file(&home)).matches(',').count(), 1);
    service.stop().await;
    let service = home.start().await;
    assert_eq!(dealt(&mut service.tokens().await, wanted(3)).await, "1 2 3");
    home.clock.advance(std::time::Duration::from_secs(4000));
    one_token(&mut service.tokens().await).await;
    service.stop().await;
}

#[cfg(unix)]
#[tokio::test]
async fn the_files_of_keys_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let google = google(1).await;
    let home = Home::new(&google);
    let service = home.start().await;
    rotate(&mut service.database().await).await.unwrap();
    for path in [key_file(&home), retired_file(&home)] {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    service.stop().await;
}

#[tokio::test]
async fn rotations_and_refreshes_do_not_meet() {
    let google = rotating_google(20).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=20));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    for _ in 0..5 {
        home.clock.advance(std::time::Duration::from_secs(4000));
        let mut database = service.database().await;
        let mut others = gateway.clone();
        let (rotated, dealt) =
            tokio::join!(rotate(&mut database), others.acquire_tokens(wanted(20)));
        rotated.unwrap();
        assert_eq!(dealt.unwrap().into_inner().turns.len(), 20);
    }
    let of_keys = keys(&mut service.database().await).await;
    assert_eq!(of_keys.len(), 1, "{of_keys:?}");
    service.stop().await;
    // Whatever was sealed last, it opens.
    let service = home.start().await;
    gateway = service.tokens().await;
    home.clock.advance(std::time::Duration::from_secs(4000));
    let answer = gateway.acquire_tokens(wanted(20)).await.unwrap();
    assert_eq!(answer.into_inner().turns.len(), 20);
    service.stop().await;
}

#[tokio::test]
async fn an_operators_keys_are_taken_as_they_are_given() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = Service::start(with_keys(&home, OLD)).await;
    let mut database = service.database().await;
    let refused = rotate(&mut database).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("put a new key before it"));
    service.stop().await;

    let service = Service::start(with_keys(&home, &format!("{NEW},{OLD}"))).await;
    let mut database = service.database().await;
    let before = keys(&mut database).await;
    assert_eq!((before[0].1, before[1].1), (true, false));
    assert!(before[1].3 > 0);
    let rotated = rotate(&mut database).await.unwrap();
    assert_eq!(rotated.resealed_values, before[1].3);
    assert_eq!(rotated.retired_key_ids, [before[1].0.clone()]);
    assert_eq!(rotated.retired_to, "");
    service.stop().await;
    assert!(!key_file(&home).exists() && !retired_file(&home).exists());

    let service = Service::start(with_keys(&home, NEW)).await;
    one_token(&mut service.tokens().await).await;
    service.stop().await;
}

#[tokio::test]
async fn a_key_file_that_cannot_be_written_changes_nothing() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    one_token(&mut service.tokens().await).await;
    let mut database = service.database().await;
    let before = keys(&mut database).await;
    // Nothing can be written over a folder, whoever asks.
    let draft = format!("data/encryption.draft-{}", std::process::id());
    std::fs::create_dir(home.path(&draft)).unwrap();
    let refused = rotate(&mut database).await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
    assert!(refused.message().contains("key file"), "{refused}");
    assert_eq!(keys(&mut database).await, before);
    std::fs::remove_dir(home.path(&draft)).unwrap();
    rotate(&mut database).await.unwrap();
    service.stop().await;
}

#[tokio::test]
async fn without_its_key_a_database_says_so_and_keeps_what_needs_none() {
    let google = google(2).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1, 2]));
    let service = home.start().await;
    one_token(&mut service.tokens().await).await;
    service.stop().await;
    std::fs::remove_file(key_file(&home)).unwrap();
    let refused = home.refused().await;
    assert!(matches!(
        refused,
        Error::Secrets(SecretsError::KeyGone { .. })
    ));
    assert!(refused.to_string().contains("keys reset"), "{refused}");
    let other = with_keys(&home, OLD);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shutdown = antigravity_runtime::shutdown::Shutdown::new();
    let refused = token_service::serve(other, listener, shutdown).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, Error::Store(StoreError::WrongKey { .. })));
    assert!(refused.to_string().contains("keys reset"), "{refused}");

    let forgotten = forget_secrets(&home.config()).await.unwrap();
    assert_eq!((forgotten.projects, forgotten.oauth_clients), (2, 1));
    std::fs::rename(home.tokens_file(), home.path("elsewhere.json")).unwrap();
    let service = home.start().await;
    let mut admin = service.projects().await;
    assert_eq!(ids(&mut admin).await, ["fake-project-1", "fake-project-2"]);
    let shown = project(&mut admin, "fake-project-1").await;
    assert_eq!(shown.state(), State::NeedsLogin);
    let reason = &shown.state_reason;
    assert!(
        reason.starts_with("the encryption key was lost"),
        "{reason}"
    );
    assert_eq!(shown.token_fingerprint, "");
    let refused = service.tokens().await.acquire_tokens(wanted(1)).await;
    assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
    service.stop().await;

    // The file of before brings them back.
    std::fs::rename(home.path("elsewhere.json"), home.tokens_file()).unwrap();
    let service = home.start().await;
    assert_eq!(dealt(&mut service.tokens().await, wanted(2)).await, "2 1");
    service.stop().await;
}

#[tokio::test]
async fn a_database_in_use_is_not_reset() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    one_token(&mut service.tokens().await).await;
    let refused = forget_secrets(&home.config()).await.unwrap_err();
    assert!(matches!(refused, Error::Store(StoreError::Locked { .. })));
    one_token(&mut service.tokens().await).await;
    service.stop().await;
}

#[tokio::test]
async fn a_key_that_opens_the_database_is_not_given_up() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    one_token(&mut service.tokens().await).await;
    service.stop().await;
    let before = lossy(&key_file(&home));
    let refused = forget_secrets(&home.config()).await.unwrap_err();
    assert!(matches!(refused, Error::Store(StoreError::KeyOpens { .. })));
    assert_eq!(lossy(&key_file(&home)), before);
    // Where there is no database, no key is made for it.
    let elsewhere = Home::new(&google);
    assert!(forget_secrets(&elsewhere.config()).await.is_err());
    assert!(!key_file(&elsewhere).exists());
    let service = home.start().await;
    one_token(&mut service.tokens().await).await;
    service.stop().await;
}

#[tokio::test]
async fn a_rotation_that_cannot_keep_the_old_key_changes_nothing() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    one_token(&mut service.tokens().await).await;
    let mut database = service.database().await;
    let (before, file) = (keys(&mut database).await, lossy(&key_file(&home)));
    std::fs::write(retired_file(&home), "no key\n").unwrap();
    let refused = rotate(&mut database).await.unwrap_err();
    assert!(refused.message().contains("move it away"), "{refused}");
    assert_eq!(keys(&mut database).await, before);
    assert_eq!(lossy(&key_file(&home)), file);
    service.stop().await;
}
