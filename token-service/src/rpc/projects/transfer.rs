//! `ImportProjects` and `ExportProjects`: files in pieces.

use std::{collections::HashSet, sync::Arc};

use antigravity_proto::v1::{
    self,
    import_projects_request::{Options, Payload},
};
use secrecy::{ExposeSecret as _, SecretString};
use tonic::{Status, Streaming};

use super::status;
use crate::{
    export::{self, ExportError, MIN_PASSPHRASE},
    import::{ImportOptions, ImportOutcome},
    pool::Pool,
    rpc::check::{Check, invalid},
    store::Source,
    tokens_file,
};

/// Of all pieces together.
const MAX_FILE: usize = 64 << 20;
/// Below the limit of a message, with room for its frame.
const PIECE: usize = 1 << 20;

/// A whole file that was sent.
enum Sent {
    TokensJson(Vec<u8>),
    SealedExport(Vec<u8>),
}

pub(super) async fn import(
    pool: &Arc<Pool>,
    requests: Streaming<v1::ImportProjectsRequest>,
) -> Result<Vec<v1::ImportProjectsResponse>, Status> {
    let (options, sent) = receive(requests).await?;
    let mut check = Check::default();
    let default_upstream = check
        .upstream("options.default_upstream", options.default_upstream)
        .unwrap_or(pool.default_upstream);
    check.done()?;
    let keep_existing = matches!(sent, Sent::SealedExport(_));
    let text: SecretString = match sent {
        Sent::TokensJson(bytes) => String::from_utf8(bytes)
            .map_err(|_| invalid("tokens_json", "is not UTF-8 text"))?
            .into(),
        Sent::SealedExport(bytes) => {
            let passphrase = SecretString::from(options.passphrase);
            blocking(move || export::open(&passphrase, &bytes))
                .await?
                .map_err(|error| invalid("sealed_export", &error.to_string()))?
        }
    };
    let file = tokens_file::parse(text.expose_secret().as_bytes(), default_upstream)
        .map_err(|error| invalid("tokens_json", &error.to_string()))?;
    let options = ImportOptions {
        overwrite: options.overwrite,
        keep_existing,
        default_upstream,
        dry_run: options.dry_run,
        source: Source::Call,
    };
    let results = pool.import(file, options).await.map_err(status)?;
    Ok(results
        .into_iter()
        .map(|result| {
            use v1::import_projects_response::Result as Shown;
            let shown = match &result.outcome {
                ImportOutcome::Created => Shown::Created,
                ImportOutcome::Updated => Shown::Updated,
                ImportOutcome::Unchanged | ImportOutcome::Kept => Shown::Unchanged,
                ImportOutcome::Rejected(_) => Shown::Rejected,
            };
            v1::ImportProjectsResponse {
                line: result.line,
                message: result.message(),
                id: result.id,
                result: shown.into(),
            }
        })
        .collect())
}

async fn receive(
    mut requests: Streaming<v1::ImportProjectsRequest>,
) -> Result<(Options, Sent), Status> {
    let mut options = None;
    let mut sent: Option<Sent> = None;
    while let Some(request) = requests.message().await? {
        let (piece, sealed) = match request.payload {
            None => return Err(invalid("payload", "is missing")),
            Some(Payload::Options(_)) if options.is_some() || sent.is_some() => {
                return Err(invalid("options", "come first, and once"));
            }
            Some(Payload::Options(given)) => {
                options = Some(given);
                continue;
            }
            Some(Payload::TokensJson(piece)) => (piece, false),
            Some(Payload::SealedExport(piece)) => (piece, true),
        };
        let file = sent.get_or_insert(if sealed {
            Sent::SealedExport(Vec::new())
        } else {
            Sent::TokensJson(Vec::new())
        });
        let bytes = match file {
            Sent::TokensJson(bytes) if !sealed => bytes,
            Sent::SealedExport(bytes) if sealed => bytes,
            Sent::TokensJson(_) | Sent::SealedExport(_) => {
                return Err(invalid(
                    "payload",
                    "mixes tokens_json and sealed_export; send one of the two",
                ));
            }
        };
        if bytes.len() + piece.len() > MAX_FILE {
            return Err(invalid("payload", "is more than 64 MiB together"));
        }
        bytes.extend(piece);
    }
    let sent = sent.ok_or_else(|| invalid("payload", "holds no tokens_json or sealed_export"))?;
    Ok((options.unwrap_or_default(), sent))
}

pub(super) async fn export(
    pool: &Arc<Pool>,
    request: v1::ExportProjectsRequest,
) -> Result<Vec<v1::ExportProjectsResponse>, Status> {
    let passphrase = SecretString::from(request.passphrase);
    if passphrase.expose_secret().chars().count() < MIN_PASSPHRASE {
        return Err(invalid("passphrase", "has fewer than 12 characters"));
    }
    let ids: HashSet<_> = request.ids.into_iter().collect();
    let text = {
        let state = pool.state();
        if let Some(missing) = ids
            .iter()
            .find(|id| !state.projects.contains_key(id.as_str()))
        {
            return Err(status(crate::admin::AdminError::NoSuchProject(
                missing.clone(),
            )));
        }
        export::tokens_file(&state, |id| ids.is_empty() || ids.contains(id))
    };
    let text = text.map_err(|_| not_sealed())?;
    let sealed = blocking(move || export::seal(&passphrase, &text))
        .await?
        .map_err(|_| not_sealed())?;
    tracing::info!("exported projects, sealed");
    Ok(sealed
        .chunks(PIECE)
        .map(|piece| v1::ExportProjectsResponse {
            sealed_export: piece.to_vec(),
        })
        .collect())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Status::internal("the work broke off"))
}

fn not_sealed() -> Status {
    Status::internal(ExportError::Unsealable.to_string())
}
