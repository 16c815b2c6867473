//! `ImportProjects` and `ExportProjects`: files in pieces.

use std::{collections::HashSet, sync::Arc};

use antigravity_proto::v1::{
    self,
    import_projects_request::{Options, Payload},
    import_projects_response::Format as ShownFormat,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::status;
use crate::{
    export::{self, ExportError, MIN_PASSPHRASE},
    import::{ImportOptions, ImportOutcome, Imported, Progress},
    pool::Pool,
    rpc::check::{Check, invalid},
    store::Source,
    tokens_file::{self, Format, Hints},
};

/// Of all pieces together.
const MAX_FILE: usize = 64 << 20;
/// Below the limit of a message, with room for its frame.
const PIECE: usize = 1 << 20;

/// Answers that wait for a caller who reads slowly.
const ANSWERS: usize = 64;

/// A whole file that was sent.
enum Sent {
    TokensJson(Vec<u8>),
    SealedExport(Vec<u8>),
}

/// What an import answers, one after the other.
type Told = mpsc::Receiver<Result<v1::ImportProjectsResponse, Status>>;

pub(super) async fn import(
    pool: &Arc<Pool>,
    requests: Streaming<v1::ImportProjectsRequest>,
) -> Result<Told, Status> {
    let (options, sent) = receive(requests).await?;
    let mut check = Check::default();
    let stated_upstream = check.upstream("options.default_upstream", options.default_upstream);
    let default_upstream = stated_upstream.unwrap_or(pool.default_upstream);
    let (project, client) = (
        options.default_google_project_id,
        options.default_oauth_client_id,
    );
    if !project.is_empty() {
        check.google_project_id("options.default_google_project_id", &project);
    }
    if !client.is_empty() {
        check.client_id("options.default_oauth_client_id", &client);
        if !pool.state().clients.contains_key(&client) {
            let problem = crate::admin::AdminError::NoSuchClient(client.clone());
            check.wrong(
                "options.default_oauth_client_id",
                format!("is unknown: {problem}"),
            );
        }
    }
    check.done()?;
    let sent = match sent {
        // Told by its shape, whatever it was sent as.
        Sent::TokensJson(bytes) if export::is_sealed(&bytes) => Sent::SealedExport(bytes),
        sent => sent,
    };
    let sealed = matches!(sent, Sent::SealedExport(_));
    let keep_existing = sealed;
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
    let hints = Hints {
        default_upstream,
        stated_upstream,
        google_project_id: (!project.is_empty()).then_some(project),
    };
    let parsed = blocking(move || tokens_file::parse(text.expose_secret().as_bytes(), &hints));
    let file = parsed
        .await?
        .map_err(|error| invalid("tokens_json", &error.to_string()))?;
    let format = match file.format {
        _ if sealed => ShownFormat::SealedExport,
        format => shown_format(format),
    };
    let tells = options.progress;
    let import = ImportOptions {
        overwrite: options.overwrite,
        keep_existing,
        default_upstream,
        default_client: (!client.is_empty()).then_some(client),
        dry_run: options.dry_run,
        source: Source::Call,
    };
    let (progress, mut steps) = if tells {
        let (progress, steps) = Progress::channel();
        (progress, Some(steps))
    } else {
        (Progress::untold(), None)
    };
    let (sender, told) = mpsc::channel(ANSWERS);
    let pool = Arc::clone(pool);
    tokio::spawn(async move {
        let telling = async {
            while let Some(steps) = &mut steps
                && steps.changed().await.is_ok()
            {
                let (written, total) = *steps.borrow_and_update();
                let answer = v1::ImportProjectsResponse {
                    format: format.into(),
                    progress: Some(v1::import_projects_response::Progress { written, total }),
                    ..Default::default()
                };
                if sender.send(Ok(answer)).await.is_err() {
                    break;
                }
            }
        };
        // A caller that goes away ends the telling, and not the import.
        let (results, ()) = tokio::join!(pool.import(file, import, progress), telling);
        let answers: Vec<_> = match results {
            Ok(results) => {
                let results = results.into_iter();
                results.map(|result| Ok(shown(result, format))).collect()
            }
            Err(error) => vec![Err(status(error))],
        };
        for answer in answers {
            if sender.send(answer).await.is_err() {
                return;
            }
        }
    });
    Ok(told)
}

fn shown(result: Imported, format: ShownFormat) -> v1::ImportProjectsResponse {
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
        format: format.into(),
        progress: None,
    }
}

fn shown_format(format: Format) -> ShownFormat {
    match format {
        Format::TokensFile => ShownFormat::TokensFile,
        Format::GcloudUser => ShownFormat::GcloudUser,
        Format::ServiceAccountKey => ShownFormat::ServiceAccountKey,
        Format::GeminiCli => ShownFormat::GeminiCli,
        Format::CliProxyApi => ShownFormat::CliProxyApi,
        Format::AntigravityManager => ShownFormat::AntigravityManager,
        Format::OpencodeAntigravityAuth => ShownFormat::OpencodeAntigravityAuth,
        Format::Antigravity2Api => ShownFormat::Antigravity2api,
        Format::AntigravityClaudeProxy => ShownFormat::AntigravityClaudeProxy,
    }
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
