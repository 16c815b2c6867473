//! Takes tokens files over: what is new or was edited since the last time, and nothing
//! else, so that rotations, removals and disablings survive restarts with the same file.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};

use crate::{
    admin::{AdminError, NewProject, ProjectUpdate, change_record, new_record},
    oauth::Credentials,
    pool::{Pool, State},
    project::{ProjectId, Upstream},
    store::{
        Change, ClientImportRecord, ClientRecord, ImportRecord, ProjectRecord, Source, StoreError,
        StoredToken,
    },
    tokens_file::{self, Complaint, Entry, TokensFile},
};

/// How to import.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImportOptions {
    /// Take over what was imported before and not edited since.
    pub(crate) overwrite: bool,
    /// For entries that name no upstream.
    pub(crate) default_upstream: Upstream,
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
    Rejected(ImportError),
}

/// Why an entry is not imported.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error(transparent)]
    Entry(#[from] Complaint),
    #[error("it names no OAuth client, and the file has no usable oauth_config")]
    NoClient,
    #[error("its OAuth client {0:?} is neither in the file nor known")]
    UnknownClient(String),
}

/// What an import would do.
#[derive(Debug, Default)]
struct Plan {
    clients: Vec<ClientRecord>,
    projects: Vec<ProjectRecord>,
    imports: Vec<ImportRecord>,
    client_imports: Vec<ClientImportRecord>,
    results: Vec<Imported>,
}

impl Pool {
    /// Imports a file that was read. The results are in the order of their lines.
    pub(crate) async fn import(
        self: &Arc<Self>,
        file: TokensFile,
        options: ImportOptions,
    ) -> Result<Vec<Imported>, AdminError> {
        let this = Arc::clone(self);
        self.whole(async move {
            let _writes = this.writes.lock().await;
            let now = this.now();
            let plan = plan(&this.state(), file, options, now);
            if !options.dry_run {
                this.carry_out(&plan, now).await?;
            }
            Ok(plan.results)
        })
        .await
    }

    async fn carry_out(&self, plan: &Plan, now: Timestamp) -> Result<(), AdminError> {
        let clients = plan.clients.iter().cloned().map(Change::PutClient);
        let projects = plan.projects.iter().cloned().map(Box::new);
        let imports = plan.imports.iter().cloned().map(Change::PutImport);
        let client_imports = plan.client_imports.iter().cloned();
        let changes: Vec<_> = clients
            .chain(projects.map(Change::PutProject))
            .chain(imports)
            .chain(client_imports.map(Change::PutClientImport))
            .collect();
        if changes.is_empty() {
            return Ok(());
        }
        self.store.commit(&changes).await?;
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

fn plan(state: &State, file: TokensFile, options: ImportOptions, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let named: HashSet<_> = state
        .clients
        .keys()
        .chain(file.clients.iter().map(|client| &client.client_id))
        .cloned()
        .collect();
    let names = names(state, &file.entries);
    for rejected in file.rejected {
        plan.results.push(Imported {
            line: rejected.line,
            id: rejected.id,
            outcome: ImportOutcome::Rejected(rejected.complaint.into()),
            warnings: Vec::new(),
        });
    }
    let mut position = state.next_position();
    for (mut entry, id) in file.entries.into_iter().zip(names) {
        let line = entry.line;
        let warnings = std::mem::take(&mut entry.warnings);
        let client = entry.oauth_client.clone().or(file.default_client.clone());
        let client = match client {
            Some(client) if named.contains(&client) => Ok(client),
            Some(client) => Err(ImportError::UnknownClient(client)),
            None => state.client_for(None).map_err(|_| ImportError::NoClient),
        };
        let outcome = match client {
            Ok(client) => plan_entry(
                state,
                entry,
                &id,
                client,
                options,
                now,
                &mut position,
                &mut plan,
            ),
            Err(error) => ImportOutcome::Rejected(error),
        };
        plan.results.push(Imported {
            line,
            id: id.to_string(),
            outcome,
            warnings,
        });
    }
    plan_clients(state, &file.clients, options, now, &mut plan);
    for warning in file.warnings {
        let of_entry = plan.results.iter_mut().find(|r| r.line == warning.line);
        match of_entry {
            Some(result) => result.warnings.push(warning.complaint),
            None => plan.results.push(Imported {
                line: warning.line,
                id: String::new(),
                outcome: ImportOutcome::Unchanged,
                warnings: vec![warning.complaint],
            }),
        }
    }
    plan.results.sort_by_key(|result| result.line);
    plan
}

/// Puts the clients into the plan that are new or were edited, and those that the planned
/// projects need.
fn plan_clients(
    state: &State,
    clients: &[tokens_file::Client],
    options: ImportOptions,
    now: Timestamp,
    plan: &mut Plan,
) {
    for client in clients {
        let id = &client.client_id;
        let fingerprint = digest([
            id.as_str(),
            client
                .client_secret
                .as_ref()
                .map_or("", |s| s.expose_secret()),
            client.token_url.as_deref().unwrap_or_default(),
        ]);
        let old = state.clients.get(id).map(|client| &client.record);
        let is_needed = || {
            let mut projects = plan.projects.iter();
            old.is_none() && projects.any(|record| record.project.oauth_client_id == *id)
        };
        let imported = state
            .client_imports
            .iter()
            .any(|import| import.client_id == *id && import.fingerprint == fingerprint);
        if imported && !options.overwrite && !is_needed() {
            continue;
        }
        plan.clients.push(ClientRecord {
            credentials: Credentials {
                client_id: id.clone(),
                client_secret: client.client_secret.clone(),
                token_url: client.token_url.clone(),
            },
            created_at: old.map_or(now, |old| old.created_at),
            updated_at: now,
        });
        plan.client_imports.push(ClientImportRecord {
            client_id: id.clone(),
            source: options.source,
            fingerprint,
        });
    }
}

/// The project id of each entry. An entry keeps the id that it was imported with, also
/// when those before it in the file are gone; new ones get the Google project id, or
/// that with `-2`, `-3` and so on.
fn names(state: &State, entries: &[Entry]) -> Vec<ProjectId> {
    let mut imported: HashMap<(&str, &str), Vec<&ProjectId>> = HashMap::new();
    let ordered: BTreeMap<_, _> = state.imports.iter().collect();
    for import in ordered.into_values().flatten() {
        let id = &import.project_id;
        let key = (
            import.google_project_id.as_str(),
            import.refresh_token_fingerprint.as_str(),
        );
        imported.entry(key).or_default().push(id);
    }
    let mut taken: HashSet<ProjectId> = entries
        .iter()
        .filter_map(|entry| entry.id.as_deref().map(Into::into))
        .collect();
    let mut names: Vec<Option<ProjectId>> = Vec::with_capacity(entries.len());
    for entry in entries {
        let stated = entry.id.as_deref().map(ProjectId::from);
        let known = || {
            let fingerprint = digest([entry.refresh_token.expose_secret()]);
            let key = (entry.google_project_id.as_str(), fingerprint.as_str());
            let ids = imported.get(&key)?;
            ids.iter()
                .find(|id| !taken.contains(**id))
                .copied()
                .cloned()
        };
        let name = stated.or_else(known);
        taken.extend(name.clone());
        names.push(name);
    }
    entries
        .iter()
        .zip(names)
        .map(|(entry, name)| {
            let name = name.unwrap_or_else(|| {
                let base = &entry.google_project_id;
                let numbered = (2..).map(|number| format!("{base}-{number}"));
                std::iter::once(base.clone())
                    .chain(numbered)
                    .map(ProjectId::from)
                    .find(|name| !taken.contains(name))
                    .unwrap_or_default()
            });
            taken.insert(Arc::clone(&name));
            name
        })
        .collect()
}

#[expect(
    clippy::too_many_arguments,
    reason = "one step of a loop, apart for its length"
)]
fn plan_entry(
    state: &State,
    entry: Entry,
    id: &ProjectId,
    client: String,
    options: ImportOptions,
    now: Timestamp,
    position: &mut i64,
    plan: &mut Plan,
) -> ImportOutcome {
    let import = ImportRecord {
        project_id: Arc::clone(id),
        source: options.source,
        google_project_id: entry.google_project_id.clone(),
        refresh_token_fingerprint: digest([entry.refresh_token.expose_secret()]),
        fields_fingerprint: digest([
            entry.google_project_id.as_str(),
            entry.upstream.map_or("", Upstream::name),
            &entry.location,
            entry.oauth_client.as_deref().unwrap_or_default(),
            &entry.display_name,
            entry
                .disabled
                .map_or("", |disabled| if disabled { "yes" } else { "no" }),
        ]),
    };
    // One file is not taken for an edit of the other: an import by hand should not be
    // undone by the next start, nor repeat what the start has imported.
    let before = state.imports.get(id).map_or(&[][..], Vec::as_slice);
    let same_refresh_token = before
        .iter()
        .any(|old| old.refresh_token_fingerprint == import.refresh_token_fingerprint);
    let is_known = before.iter().any(|old| {
        old.refresh_token_fingerprint == import.refresh_token_fingerprint
            && old.fields_fingerprint == import.fields_fingerprint
    });
    if is_known && !options.overwrite {
        return ImportOutcome::Unchanged;
    }
    let upstream = entry.upstream.unwrap_or(options.default_upstream);
    let location = location(upstream, entry.location);
    let token = entry.access_token.map(|token| StoredToken {
        secret: token.secret,
        expires_at: token.expires_at,
        lifetime: None,
        refreshed_at: None,
    });
    plan.imports.push(import);
    let Some(member) = state.projects.get(id) else {
        let new = NewProject {
            id: Arc::clone(id),
            google_project_id: entry.google_project_id,
            upstream,
            location,
            oauth_client_id: None,
            display_name: entry.display_name,
            disabled: entry.disabled.unwrap_or(false),
            refresh_token: entry.refresh_token,
            token,
        };
        plan.projects.push(new_record(new, client, *position, now));
        *position += 1;
        return ImportOutcome::Created;
    };
    let mut record = member.record.clone();
    // The refresh token of the pool may be younger than the file's: only one that was
    // edited there, or asked for, replaces it.
    let takes_token = !same_refresh_token || options.overwrite;
    let update = ProjectUpdate {
        google_project_id: Some(entry.google_project_id),
        upstream: Some(upstream),
        location: Some(location),
        oauth_client_id: Some(client),
        display_name: Some(entry.display_name),
        disabled: entry.disabled,
        refresh_token: takes_token.then_some(entry.refresh_token),
    };
    change_record(&mut record, update, now);
    if takes_token {
        record.token = token;
    }
    plan.projects.push(record);
    ImportOutcome::Updated
}

/// Vertex needs a location; the others have none.
pub(crate) fn location(upstream: Upstream, stated: String) -> String {
    match upstream {
        Upstream::Vertex if stated.is_empty() => "global".to_owned(),
        Upstream::Vertex => stated,
        Upstream::Antigravity | Upstream::Gemini => String::new(),
    }
}

/// SHA-256 of the parts, each with its length, in hex.
fn digest<const N: usize>(parts: [&str; N]) -> String {
    use std::fmt::Write as _;
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut hex = String::new();
    for byte in hash.finalize() {
        // Writing to a String does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

impl Imported {
    /// What is wrong with the entry, or was ignored in it. Empty: all is well.
    pub(crate) fn message(&self) -> String {
        let error = match &self.outcome {
            ImportOutcome::Rejected(error) => Some(error.to_string()),
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
        default_upstream: pool.default_upstream,
        dry_run: false,
        source: Source::Start,
    };
    let results = match pool.import(file, options).await {
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
            ImportOutcome::Unchanged => 2,
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
