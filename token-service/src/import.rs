//! Takes tokens files over: what is new or was edited since the last time, and nothing
//! else, so that rotations, removals and disablings survive restarts with the same file.

mod plan;

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::{
    admin::AdminError,
    credential::Credential,
    pool::Pool,
    project::Upstream,
    replicas::Changing,
    store::{Change, Source, StoreError},
    tokens_file::{Complaint, Rejected, TokensFile},
};

/// How to import.
#[derive(Clone, Debug)]
pub(crate) struct ImportOptions {
    /// Take over what was imported before and not edited since.
    pub(crate) overwrite: bool,
    /// Leave projects alone that the pool has: an export is a picture of the past, and its
    /// refresh tokens may have been rotated since.
    pub(crate) keep_existing: bool,
    /// For entries that name no upstream.
    pub(crate) default_upstream: Upstream,
    /// For entries of files that name no OAuth client.
    pub(crate) default_client: Option<String>,
    /// Change nothing.
    pub(crate) dry_run: bool,
    /// Where the file came from.
    pub(crate) source: Source,
}

/// What became of one entry.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) line: u32,
    pub(crate) id: String,
    pub(crate) outcome: ImportOutcome,
    pub(crate) warnings: Vec<Complaint>,
}

/// What became of one entry.
#[derive(Debug)]
pub(crate) enum ImportOutcome {
    Created,
    Updated,
    Unchanged,
    /// The pool has the project, and keeps its own.
    Kept,
    Rejected(ImportError),
}

/// Why an entry is not imported.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error(transparent)]
    Entry(#[from] Complaint),
    #[error(
        "it names no OAuth client, and the file has no usable oauth_config; add the client that \
         minted its refresh token (oauth-clients put), and name it with --oauth-client where there \
         are several"
    )]
    NoClient,
    #[error("its OAuth client {0:?} is neither in the file nor known")]
    UnknownClient(String),
}

/// Where it is told how far an import is.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Option<watch::Sender<(u32, u32)>>);

impl Progress {
    /// To nobody.
    pub(crate) fn untold() -> Self {
        Self(None)
    }

    /// The receiver sees how many projects are written, and of how many.
    pub(crate) fn channel() -> (Self, watch::Receiver<(u32, u32)>) {
        let (sender, receiver) = watch::channel((0, 0));
        (Self(Some(sender)), receiver)
    }

    fn tell(&self, written: usize, total: usize) {
        let number = |number| u32::try_from(number).unwrap_or(u32::MAX);
        if let Some(sender) = &self.0 {
            // Whether or not anybody looks any more.
            sender.send_replace((number(written), number(total)));
        }
    }
}

impl Pool {
    /// Imports a file that was read. The results are in the order of their lines.
    pub(crate) async fn import(
        self: &Arc<Self>,
        mut file: TokensFile,
        options: ImportOptions,
        progress: Progress,
    ) -> Result<Vec<Imported>, AdminError> {
        let this = Arc::clone(self);
        self.refuse_foreign_keys(&mut file);
        self.whole(async move {
            let mut changing = this.change_imports().await?;
            let now = this.now();
            let dry_run = options.dry_run;
            let plan = plan::plan(&this.state(), file, options, now);
            if !dry_run {
                this.carry_out(&mut changing, &plan, now, &progress).await?;
            }
            Ok(plan.results)
        })
        .await
    }

    /// Rejects the keys whose assertions would go to somebody else.
    fn refuse_foreign_keys(&self, file: &mut TokensFile) {
        let entries = std::mem::take(&mut file.entries);
        for entry in entries {
            let refused = match &entry.credential {
                Credential::ServiceAccountKey(key) => self.oauth.check_key(key).err(),
                Credential::RefreshToken(_) | Credential::ApiKey(_) => None,
            };
            match refused {
                None => file.entries.push(entry),
                Some(error) => file.rejected.push(Rejected {
                    line: entry.line,
                    id: entry.id.unwrap_or(entry.google_project_id),
                    complaint: Complaint::BadKey { error },
                }),
            }
        }
    }

    async fn carry_out(
        &self,
        changing: &mut Changing<'_>,
        plan: &plan::Plan,
        now: Timestamp,
        progress: &Progress,
    ) -> Result<(), AdminError> {
        let clients = plan.clients.iter().cloned().map(Change::PutClient);
        // Each project with what is kept of its entry, so that it is one step.
        let projects = plan.projects.iter().cloned().map(Box::new);
        let imports = plan.imports.iter().cloned().map(Change::PutImport);
        let projects = projects.map(Change::PutProject).zip(imports);
        let client_imports = plan.client_imports.iter().cloned();
        let changes: Vec<_> = clients
            .chain(projects.flat_map(|(project, import)| [project, import]))
            .chain(client_imports.map(Change::PutClientImport))
            .collect();
        if changes.is_empty() {
            return Ok(());
        }
        changing
            .commit_telling(&changes, &|written| {
                let imported = written.saturating_sub(plan.clients.len()) / 2;
                progress.tell(imported.min(plan.projects.len()), plan.projects.len());
            })
            .await?;
        let mut state = self.state();
        for client in &plan.clients {
            state.change_client(client.clone());
        }
        for record in &plan.projects {
            if state.projects.contains_key(&record.project.id) {
                state.replace(record.clone(), now);
            } else {
                state.insert(record.clone(), 0);
            }
        }
        for import in &plan.imports {
            state.put_import(import.clone());
        }
        for import in &plan.client_imports {
            state.put_client_import(import.clone());
        }
        Ok(())
    }
}

/// Vertex needs a location; the others have none.
pub(crate) fn location(upstream: Upstream, stated: String) -> String {
    match upstream {
        Upstream::Vertex if stated.is_empty() => "global".to_owned(),
        Upstream::Vertex => stated,
        Upstream::Antigravity | Upstream::Gemini => String::new(),
    }
}

impl Imported {
    /// What is wrong with the entry, or was ignored in it. Empty: all is well.
    pub(crate) fn message(&self) -> String {
        let error = match &self.outcome {
            ImportOutcome::Rejected(error) => Some(error.to_string()),
            ImportOutcome::Kept => {
                Some("it is in the pool, which keeps its own; overwrite replaces it".to_owned())
            }
            ImportOutcome::Created | ImportOutcome::Updated | ImportOutcome::Unchanged => None,
        };
        let warnings = self.warnings.iter().map(ToString::to_string);
        error
            .into_iter()
            .chain(warnings)
            .collect::<Vec<_>>()
            .join("; ")
    }
}

/// Imports the tokens file at the start, and logs what became of its entries.
pub(crate) async fn import_at_start(
    pool: &Arc<Pool>,
    path: &std::path::Path,
    file: TokensFile,
) -> Result<(), StoreError> {
    let options = ImportOptions {
        overwrite: false,
        keep_existing: false,
        default_upstream: pool.default_upstream,
        default_client: None,
        dry_run: false,
        source: Source::Start,
    };
    let results = match pool.import(file, options, Progress::untold()).await {
        Ok(results) => results,
        Err(AdminError::Store(error)) => return Err(error),
        Err(error) => {
            tracing::error!(%error, "the import broke off");
            return Ok(());
        }
    };
    let mut counts = [0_usize; 4];
    for result in &results {
        let kind = match &result.outcome {
            ImportOutcome::Created => 0,
            ImportOutcome::Updated => 1,
            ImportOutcome::Unchanged | ImportOutcome::Kept => 2,
            ImportOutcome::Rejected(_) => 3,
        };
        counts[kind] += 1;
        let message = result.message();
        let place = format!("{} line {}", path.display(), result.line);
        match &result.outcome {
            ImportOutcome::Rejected(_) => {
                tracing::error!(project = result.id, "{place}: not imported: {message}");
            }
            _ if !message.is_empty() => {
                tracing::warn!(project = result.id, "{place}: {message}");
            }
            _ => {}
        }
    }
    let [created, updated, unchanged, rejected] = counts;
    tracing::info!(
        file = %path.display(),
        created,
        updated,
        unchanged,
        rejected,
        "imported the tokens file"
    );
    Ok(())
}
