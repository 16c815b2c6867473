//! Backups while everything goes on, and the way back.

use antigravity_proto::v1::{
    self, BackUpRequest, RestoreRequest, RestoreResponse, RotateEncryptionKeyRequest,
    restore_request::{Options, Payload},
};
use sqlx::Connection as _;
use tonic::{Code, Status};

use crate::support::{
    DatabaseClient, Home, Service, dealt, google, ids, lossy, numbers, one_token, project,
    rotating_google, set_disabled, tokens_json, wanted,
};

async fn back_up(database: &mut DatabaseClient) -> Vec<u8> {
    let mut pieces = database
        .back_up(BackUpRequest {})
        .await
        .unwrap()
        .into_inner();
    let mut backup = Vec::new();
    while let Some(piece) = pieces.message().await.unwrap() {
        backup.extend(piece.backup);
    }
    backup
}

async fn restore(
    database: &mut DatabaseClient,
    backup: &[u8],
    keys: &str,
) -> Result<RestoreResponse, Status> {
    let options = Payload::Options(Options {
        encryption_keys: keys.to_owned(),
    });
    let pieces = backup
        .chunks(10_000)
        .map(|piece| Payload::Backup(piece.to_vec()));
    let requests: Vec<_> = std::iter::once(options)
        .chain(pieces)
        .map(|payload| RestoreRequest {
            payload: Some(payload),
        })
        .collect();
    let answer = database.restore(tokio_stream::iter(requests)).await?;
    Ok(answer.into_inner())
}

/// The names of the files in the folder of the database.
fn files(home: &Home) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(home.path("data"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_was_kept_comes_back_also_while_the_service_runs() {
    let google = google(3).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=3));
    let service = home.start().await;
    let (mut gateway, mut admin) = (service.tokens().await, service.projects().await);
    let mut database = service.database().await;
    assert_eq!(dealt(&mut gateway, wanted(2)).await, "1 2");
    set_disabled(&mut admin, "fake-project-3", true).await;
    let before = project(&mut admin, "fake-project-1").await;
    let backup = back_up(&mut database).await;
    assert!(!String::from_utf8_lossy(&backup).contains("fake-refresh-token"));

    let request = v1::DeleteProjectRequest {
        id: "fake-project-1".to_owned(),
    };
    admin.delete_project(request).await.unwrap();
    set_disabled(&mut admin, "fake-project-3", false).await;
    let restored = restore(&mut database, &backup, "").await.unwrap();
    assert_eq!(
        (
            restored.projects,
            restored.oauth_clients,
            restored.replaced_projects
        ),
        (3, 1, 2)
    );
    let after = project(&mut admin, "fake-project-1").await;
    assert_eq!(after.token_fingerprint, before.token_fingerprint);
    assert_eq!(after.created_at, before.created_at);
    assert!(project(&mut admin, "fake-project-3").await.disabled);
    // The rotation goes on where it was.
    assert_eq!(dealt(&mut gateway, wanted(2)).await, "1 2");
    service.stop().await;
    let service = home.start().await;
    assert_eq!(ids(&mut service.projects().await).await.len(), 3);
    one_token(&mut service.tokens().await).await;
    service.stop().await;
    assert!(
        files(&home).iter().all(|name| !name.contains(".part")),
        "{:?}",
        files(&home)
    );
}

#[tokio::test]
async fn turns_of_before_a_restore_are_not_taken_for_those_of_after_it() {
    let google = google(3).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=3));
    let service = home.start().await;
    let (mut gateway, mut database) = (service.tokens().await, service.database().await);
    let backup = back_up(&mut database).await;
    let before = gateway.acquire_tokens(wanted(3)).await.unwrap();
    let before = before.into_inner().turns;
    assert_eq!(numbers(&before), "1 2 3");
    restore(&mut database, &backup, "").await.unwrap();

    assert_eq!(dealt(&mut gateway, wanted(1)).await, "1");
    let preferring = v1::AcquireTokensRequest {
        prefer_project_id: "fake-project-3".to_owned(),
        ..wanted(1)
    };
    assert_eq!(dealt(&mut gateway, preferring).await, "3");
    // The second turn now is of another project than the second was then, and is in use.
    let returning = v1::AcquireTokensRequest {
        returned_turns: vec![before[1].turn_id.clone()],
        ..wanted(3)
    };
    assert_eq!(dealt(&mut gateway, returning).await, "2 1 3");
    service.stop().await;
}

#[tokio::test]
async fn a_database_in_memory_is_backed_up_and_restored_too() {
    let google = google(2).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..=2));
    let mut config = home.config();
    config.database = token_service::config::Database::Memory;
    let service = Service::start(config).await;
    let (mut admin, mut database) = (service.projects().await, service.database().await);
    let backup = back_up(&mut database).await;
    let request = v1::DeleteProjectRequest {
        id: "fake-project-1".to_owned(),
    };
    admin.delete_project(request).await.unwrap();
    let restored = restore(&mut database, &backup, "").await.unwrap();
    assert_eq!((restored.projects, restored.replaced_projects), (2, 1));
    assert_eq!(ids(&mut admin).await, ["fake-project-1", "fake-project-2"]);
    one_token(&mut service.tokens().await).await;
    service.stop().await;
}

#[tokio::test]
async fn a_backup_of_another_machine_comes_with_its_key() {
    let google = rotating_google(2).await;
    let (there, here) = (Home::new(&google), Home::new(&google));
    there.write_tokens(&tokens_json([1, 2]));
    let service = there.start().await;
    one_token(&mut service.tokens().await).await;
    let backup = back_up(&mut service.database().await).await;
    service.stop().await;
    let key = lossy(&there.path("data/encryption.key"));

    let service = here.start().await;
    let mut database = service.database().await;
    let refused = restore(&mut database, &backup, "").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("--key-file"), "{refused}");
    assert_eq!(ids(&mut service.projects().await).await.len(), 0);
    let refused = restore(&mut database, &backup, "no key").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(!refused.message().contains("no key"), "{refused}");
    let restored = restore(&mut database, &backup, &key).await.unwrap();
    assert_eq!((restored.projects, restored.replaced_projects), (2, 0));
    assert!(restored.resealed_values >= 4);
    here.clock.advance(std::time::Duration::from_secs(4000));
    assert_eq!(dealt(&mut service.tokens().await, wanted(2)).await.len(), 3);
    service.stop().await;
    // With the key of here alone.
    let service = here.start().await;
    one_token(&mut service.tokens().await).await;
    service.stop().await;
}

#[tokio::test]
async fn a_backup_from_before_a_rotation_opens_with_the_retired_key() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut database = service.database().await;
    let backup = back_up(&mut database).await;
    database
        .rotate_encryption_key(RotateEncryptionKeyRequest {})
        .await
        .unwrap();
    let restored = restore(&mut database, &backup, "").await.unwrap();
    assert_eq!(restored.projects, 1);
    assert!(restored.resealed_values > 0);
    service.stop().await;
    std::fs::remove_file(home.path("data/encryption.key.retired")).unwrap();
    let service = home.start().await;
    one_token(&mut service.tokens().await).await;
    service.stop().await;
}

#[tokio::test]
async fn what_is_no_backup_changes_nothing() {
    let google = google(2).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1, 2]));
    let service = home.start().await;
    let mut database = service.database().await;
    let backup = back_up(&mut database).await;
    let other = home.path("other.db");
    let url = format!("sqlite://{}?mode=rwc", other.display());
    let mut foreign = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("CREATE TABLE t (c)")
        .execute(&mut foreign)
        .await
        .unwrap();
    foreign.close().await.unwrap();
    let newer = home.path("newer.db");
    std::fs::write(&newer, &backup).unwrap();
    let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite://{}", newer.display()))
        .await
        .unwrap();
    sqlx::query("UPDATE _sqlx_migrations SET version = 9999 WHERE version = 1")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    for (bytes, code, says) in [
        (
            b"nothing of the kind".to_vec(),
            Code::InvalidArgument,
            "no database",
        ),
        (Vec::new(), Code::InvalidArgument, "holds no backup"),
        (backup[..5000].to_vec(), Code::InvalidArgument, "damaged"),
        (
            std::fs::read(&other).unwrap(),
            Code::InvalidArgument,
            "no backup",
        ),
        (
            std::fs::read(&newer).unwrap(),
            Code::FailedPrecondition,
            "newer",
        ),
    ] {
        let refused = restore(&mut database, &bytes, "").await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(says), "{refused}");
    }
    let mut gateway = service.tokens().await;
    assert_eq!(dealt(&mut gateway, wanted(2)).await, "1 2");
    assert!(files(&home).iter().all(|name| !name.contains(".part")));
    service.stop().await;
}

#[tokio::test]
async fn a_sealed_value_that_was_doctored_is_found_before_anything_changes() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut database = service.database().await;
    let backup = back_up(&mut database).await;
    let path = home.path("doctored.db");
    std::fs::write(&path, &backup).unwrap();
    let url = format!("sqlite://{}", path.display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("UPDATE projects SET refresh_token_sealed = zeroblob(80)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let refused = restore(&mut database, &std::fs::read(&path).unwrap(), "").await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("damaged"), "{refused}");
    one_token(&mut service.tokens().await).await;
    service.stop().await;
}

#[tokio::test]
async fn what_a_killed_process_left_is_swept_away() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    home.start().await.stop().await;
    for name in [
        ".tokens.db-abc.part",
        ".tokens.db-abc.part-journal",
        "encryption.draft-4711",
        "encryption.key.draft-4711",
        "mine.part",
    ] {
        std::fs::write(home.path(&format!("data/{name}")), "half").unwrap();
    }
    home.start().await.stop().await;
    let left = files(&home);
    assert!(left.contains(&"mine.part".to_owned()), "{left:?}");
    assert!(!left.iter().any(|name| name.contains("draft")), "{left:?}");
    assert!(
        !left.iter().any(|name| name.starts_with(".tokens.db-")),
        "{left:?}"
    );
}

#[tokio::test]
async fn a_backup_does_not_send_refresh_tokens_elsewhere() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    one_token(&mut service.tokens().await).await;
    let backup = back_up(&mut service.database().await).await;
    service.stop().await;
    let path = home.path("doctored.db");
    std::fs::write(&path, &backup).unwrap();
    let url = format!("sqlite://{}", path.display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("UPDATE oauth_clients SET token_url = 'https://elsewhere.example/token'")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let doctored = std::fs::read(&path).unwrap();

    let mut config = home.config();
    config.oauth_token_url = None;
    config.refresh_ahead = false;
    let service = crate::support::Service::start(config).await;
    let mut database = service.database().await;
    let refused = restore(&mut database, &doctored, "").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("elsewhere.example"), "{refused}");
    restore(&mut database, &backup, "").await.unwrap();
    service.stop().await;
}

#[tokio::test]
async fn a_backup_that_lacks_something_is_told_as_such() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json([1]));
    let service = home.start().await;
    let mut database = service.database().await;
    one_token(&mut service.tokens().await).await;
    let backup = back_up(&mut database).await;
    for change in [
        "DROP TABLE usage",
        "ALTER TABLE projects ADD COLUMN more TEXT",
        "DELETE FROM oauth_clients",
        "UPDATE _sqlx_migrations SET checksum = zeroblob(48)",
    ] {
        let path = home.path("doctored.db");
        std::fs::write(&path, &backup).unwrap();
        let url = format!("sqlite://{}", path.display());
        let options: sqlx::sqlite::SqliteConnectOptions = url.parse().unwrap();
        let options = options.foreign_keys(false);
        let mut connection = sqlx::SqliteConnection::connect_with(&options)
            .await
            .unwrap();
        sqlx::query(change).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let doctored = std::fs::read(&path).unwrap();
        let refused = restore(&mut database, &doctored, "").await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{change}: {refused}");
    }
    one_token(&mut service.tokens().await).await;
    service.stop().await;
}
