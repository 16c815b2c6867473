//! `DatabaseService`: keys and backups for operators.

use std::{
    io::{self, Write as _},
    pin::Pin,
    sync::Arc,
};

use antigravity_proto::v1::{
    self, database_service_server::DatabaseService, restore_request::Payload,
};
use tokio::io::AsyncReadExt as _;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::check::invalid;
use crate::{
    keys::KeysError,
    pool::Pool,
    seal::Keyring,
    store::{Draft, StoreError},
};

/// Below the limit of a message, with room for its frame.
const PIECE: usize = 1 << 20;
/// Pieces that wait for a caller who reads slowly.
const PIECES_AHEAD: usize = 2;
/// Of all pieces together.
const MAX_BACKUP: u64 = 1 << 30;

/// The service over the pool.
#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) pool: Arc<Pool>,
}

#[tonic::async_trait]
impl DatabaseService for Database {
    type BackUpStream = Pin<Box<dyn Stream<Item = Result<v1::BackUpResponse, Status>> + Send>>;

    async fn list_encryption_keys(
        &self,
        _request: Request<v1::ListEncryptionKeysRequest>,
    ) -> Result<Response<v1::ListEncryptionKeysResponse>, Status> {
        let keys = self
            .pool
            .keys()
            .await
            .map_err(|error| status(error.into()))?;
        let keys = keys.into_iter().map(|key| v1::EncryptionKey {
            id: key.id,
            seals: key.seals,
            available: key.available,
            sealed_values: key.values,
        });
        Ok(Response::new(v1::ListEncryptionKeysResponse {
            keys: keys.collect(),
            origin: self.pool.key_place.origin.clone(),
        }))
    }

    async fn rotate_encryption_key(
        &self,
        _request: Request<v1::RotateEncryptionKeyRequest>,
    ) -> Result<Response<v1::RotateEncryptionKeyResponse>, Status> {
        let rotated = self.pool.rotate_key().await.map_err(status)?;
        tracing::info!(
            key = rotated.key_id,
            resealed = rotated.resealed,
            "sealed all secrets anew"
        );
        Ok(Response::new(v1::RotateEncryptionKeyResponse {
            key_id: rotated.key_id,
            resealed_values: rotated.resealed,
            retired_key_ids: rotated.retired,
            retired_to: rotated
                .retired_to
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
        }))
    }

    async fn back_up(
        &self,
        _request: Request<v1::BackUpRequest>,
    ) -> Result<Response<Self::BackUpStream>, Status> {
        let draft = self.pool.back_up().await.map_err(status)?;
        let file = tokio::fs::File::open(draft.path())
            .await
            .map_err(|error| Status::internal(format!("cannot read the backup: {error}")))?;
        tracing::info!("made a backup");
        let (pieces, answers) = tokio::sync::mpsc::channel(PIECES_AHEAD);
        self.pool.tasks.spawn(async move {
            let mut file = file;
            loop {
                let mut backup = Vec::with_capacity(PIECE);
                let read = (&mut file)
                    .take(PIECE as u64)
                    .read_to_end(&mut backup)
                    .await;
                let piece = match read {
                    Ok(0) => break,
                    Ok(_) => Ok(v1::BackUpResponse { backup }),
                    Err(error) => Err(Status::internal(format!("cannot read the backup: {error}"))),
                };
                let is_last = piece.is_err();
                if pieces.send(piece).await.is_err() || is_last {
                    break;
                }
            }
            drop(draft);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn restore(
        &self,
        request: Request<Streaming<v1::RestoreRequest>>,
    ) -> Result<Response<v1::RestoreResponse>, Status> {
        let draft = self
            .pool
            .store
            .draft()
            .map_err(|error| status(error.into()))?;
        let (draft, keys) = receive(request.into_inner(), draft).await?;
        let counts = self.pool.restore(draft, keys).await.map_err(status)?;
        tracing::info!(
            projects = counts.projects,
            replaced = counts.replaced_projects,
            "restored a backup"
        );
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(Response::new(v1::RestoreResponse {
            projects: count(counts.projects),
            oauth_clients: count(counts.clients),
            replaced_projects: count(counts.replaced_projects),
            resealed_values: counts.resealed,
        }))
    }
}

async fn receive(
    mut requests: Streaming<v1::RestoreRequest>,
    mut draft: Draft,
) -> Result<(Draft, Option<Keyring>), Status> {
    let mut options = None;
    let mut received = 0;
    while let Some(request) = requests.message().await? {
        match request.payload {
            None => return Err(invalid("payload", "is missing")),
            Some(Payload::Options(_)) if options.is_some() || received > 0 => {
                return Err(invalid("options", "come first, and once"));
            }
            Some(Payload::Options(given)) => options = Some(given),
            Some(Payload::Backup(piece)) => {
                received += piece.len() as u64;
                if received > MAX_BACKUP {
                    return Err(invalid("backup", "is more than 1 GiB together"));
                }
                // At most a few hundred milliseconds, by an operator, now and then.
                draft
                    .write_all(&piece)
                    .map_err(|error| status(error.into()))?;
            }
        }
    }
    if received == 0 {
        return Err(invalid("payload", "holds no backup"));
    }
    let keys = options.unwrap_or_default().encryption_keys;
    let keys = if keys.trim().is_empty() {
        None
    } else {
        let keys = Keyring::parse(&keys);
        Some(keys.map_err(|error| invalid("options.encryption_keys", &error.to_string()))?)
    };
    Ok((draft, keys))
}

fn status(error: KeysError) -> Status {
    let message = error.to_string();
    match error {
        KeysError::NothingToDo => Status::failed_precondition(message),
        KeysError::Store(StoreError::NoBackup(problem)) => invalid("backup", &problem),
        KeysError::Store(error) if error.is_full() => full(&error.to_string()),
        KeysError::File(error) if error.kind() == io::ErrorKind::StorageFull => {
            full(&error.to_string())
        }
        KeysError::Store(error) if error.is_passing() => {
            Status::unavailable(format!("{message}; nothing was changed"))
        }
        KeysError::Store(StoreError::KeyNotEverywhere { .. }) => {
            Status::failed_precondition(message)
        }
        KeysError::Store(
            StoreError::KeyOfBackup { .. }
            | StoreError::NewerBackup { .. }
            | StoreError::Newer { .. },
        ) => Status::failed_precondition(message),
        KeysError::File(_)
        | KeysError::SecretFile(_)
        | KeysError::Retired { .. }
        | KeysError::NoRandomness(_)
        | KeysError::Store(_)
        | KeysError::BrokenOff => {
            tracing::error!(error = message, "keys or backups failed");
            Status::internal(message)
        }
    }
}

fn full(error: &str) -> Status {
    tracing::error!(error, "the disk is full");
    Status::resource_exhausted(
        "the token-service's disk is full, and nothing was changed; make room and try again",
    )
}
