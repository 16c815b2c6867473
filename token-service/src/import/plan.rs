//! What a tokens file would change: decided from what is in memory, before anything is
//! written.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};

use super::{ImportError, ImportOptions, ImportOutcome, Imported, location};
use crate::{
    admin::{NewProject, ProjectUpdate, change_record, new_record},
    credential::{Credential, Kind},
    oauth::Credentials,
    pool::State,
    project::{ProjectId, Upstream},
    store::{ClientImportRecord, ClientRecord, ImportRecord, ProjectRecord, StoredToken},
    tokens_file::{Client, Entry, Format, TokensFile},
};

/// What an import would do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) clients: Vec<ClientRecord>,
    pub(super) projects: Vec<ProjectRecord>,
    pub(super) imports: Vec<ImportRecord>,
    pub(super) client_imports: Vec<ClientImportRecord>,
    pub(super) results: Vec<Imported>,
}

struct Planner<'a> {
    state: &'a State,
    options: ImportOptions,
    now: Timestamp,
    /// For the next new project.
    position: i64,
    plan: Plan,
}

/// Decides what `file` changes.
pub(super) fn plan(
    state: &State,
    file: TokensFile,
    options: ImportOptions,
    now: Timestamp,
) -> Plan {
    Planner {
        state,
        options,
        now,
        position: state.next_position(),
        plan: Plan::default(),
    }
    .read(file)
}

impl Planner<'_> {
    fn read(mut self, file: TokensFile) -> Plan {
        let known_clients: HashSet<_> = self
            .state
            .clients
            .keys()
            .chain(file.clients.iter().map(|client| &client.client_id))
            .cloned()
            .collect();
        let names = names(self.state, &file.entries);
        // A client of ours is not changed by what another program's file says of it.
        let is_ours = file.format == Format::TokensFile;
        for rejected in file.rejected {
            self.plan.results.push(Imported {
                line: rejected.line,
                id: rejected.id,
                outcome: ImportOutcome::Rejected(rejected.complaint.into()),
                warnings: Vec::new(),
            });
        }
        for (mut entry, id) in file.entries.into_iter().zip(names) {
            let line = entry.line;
            let warnings = std::mem::take(&mut entry.warnings);
            let client = entry.oauth_client.clone();
            let stated = || {
                let default = file.default_client.clone();
                default.or_else(|| self.options.default_client.clone())
            };
            let client = match client.or_else(stated) {
                _ if entry.credential.kind() != Kind::RefreshToken => Ok(String::new()),
                Some(client) if known_clients.contains(&client) => Ok(client),
                Some(client) => Err(ImportError::UnknownClient(client)),
                None if file.rejected_client => Err(ImportError::NoClient),
                None => self
                    .state
                    .client_for(None)
                    .map_err(|_| ImportError::NoClient),
            };
            let outcome = match client {
                Ok(client) => self.entry(entry, &id, client),
                Err(error) => ImportOutcome::Rejected(error),
            };
            self.plan.results.push(Imported {
                line,
                id: id.to_string(),
                outcome,
                warnings,
            });
        }
        let projects = self.plan.projects.iter();
        let used: HashSet<_> = projects
            .map(|record| record.project.oauth_client_id.clone())
            .collect();
        let imports = self.state.client_imports.iter();
        let imported: HashSet<_> = imports
            .map(|import| (import.client_id.as_str(), import.fingerprint.as_str()))
            .collect();
        for client in &file.clients {
            self.client(client, is_ours, &used, &imported);
        }
        let lines = self.plan.results.iter().enumerate();
        let lines: HashMap<_, _> = lines.map(|(at, result)| (result.line, at)).collect();
        for warning in file.warnings {
            let at = lines.get(&warning.line);
            match at.and_then(|at| self.plan.results.get_mut(*at)) {
                Some(result) => result.warnings.push(warning.complaint),
                None => self.plan.results.push(Imported {
                    line: warning.line,
                    id: String::new(),
                    outcome: ImportOutcome::Unchanged,
                    warnings: vec![warning.complaint],
                }),
            }
        }
        self.plan.results.sort_by_key(|result| result.line);
        self.plan
    }

    /// Puts a client into the plan that is new or was edited, or that a planned project
    /// needs.
    fn client(
        &mut self,
        client: &Client,
        is_ours: bool,
        used: &HashSet<String>,
        imported: &HashSet<(&str, &str)>,
    ) {
        let id = &client.client_id;
        let old = self.state.clients.get(id).map(|client| &client.record);
        let keeps = self.options.keep_existing || !is_ours;
        if old.is_some() && keeps && !self.options.overwrite {
            return;
        }
        // A file that does not tell the secret does not take it away.
        let client_secret = client
            .client_secret
            .clone()
            .or_else(|| old.and_then(|old| old.credentials.client_secret.clone()));
        let fingerprint = digest([
            id.as_str(),
            client
                .client_secret
                .as_ref()
                .map_or("", |s| s.expose_secret()),
            client.token_url.as_deref().unwrap_or_default(),
        ]);
        let is_needed = old.is_none() && used.contains(id);
        let imported = imported.contains(&(id.as_str(), fingerprint.as_str()));
        if imported && !self.options.overwrite && !is_needed {
            return;
        }
        self.plan.clients.push(ClientRecord {
            credentials: Credentials {
                client_id: id.clone(),
                client_secret,
                token_url: client.token_url.clone(),
            },
            created_at: old.map_or(self.now, |old| old.created_at),
            updated_at: self.now,
        });
        self.plan.client_imports.push(ClientImportRecord {
            client_id: id.clone(),
            source: self.options.source,
            fingerprint,
        });
    }

    fn entry(&mut self, entry: Entry, id: &ProjectId, client: String) -> ImportOutcome {
        let import = ImportRecord {
            project_id: Arc::clone(id),
            source: self.options.source,
            google_project_id: entry.google_project_id.clone(),
            refresh_token_fingerprint: credential_digest(&entry.credential),
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
        let before = self.state.imports.get(id).map_or(&[][..], Vec::as_slice);
        let same_refresh_token = before
            .iter()
            .any(|old| old.refresh_token_fingerprint == import.refresh_token_fingerprint);
        let is_known = before.iter().any(|old| {
            old.refresh_token_fingerprint == import.refresh_token_fingerprint
                && old.fields_fingerprint == import.fields_fingerprint
        });
        if is_known && !self.options.overwrite {
            return ImportOutcome::Unchanged;
        }
        if self.options.keep_existing
            && !self.options.overwrite
            && self.state.projects.contains_key(id)
        {
            return ImportOutcome::Kept;
        }
        let kind = entry.credential.kind();
        let upstream = entry
            .upstream
            .unwrap_or_else(|| kind.upstream_or(self.options.default_upstream));
        let location = location(upstream, entry.location);
        let token = entry.access_token.map(|token| StoredToken {
            secret: token.secret,
            expires_at: token.expires_at,
            lifetime: None,
            refreshed_at: None,
        });
        self.plan.imports.push(import);
        let Some(member) = self.state.projects.get(id) else {
            let new = NewProject {
                id: Arc::clone(id),
                google_project_id: entry.google_project_id,
                upstream,
                location,
                oauth_client_id: None,
                display_name: entry.display_name,
                disabled: entry.disabled.unwrap_or(false),
                credential: entry.credential,
                token,
            };
            self.plan
                .projects
                .push(new_record(new, client, self.position, self.now));
            self.position += 1;
            return ImportOutcome::Created;
        };
        let mut record = member.record.clone();
        // The credential of the pool may be younger than the file's: only one that was
        // edited there, or asked for, replaces it.
        let takes_token = !same_refresh_token || self.options.overwrite;
        // An operator may have given it a credential that the entry's upstream does not take.
        let fits = takes_token || record.credential.kind().serves(upstream);
        let update = ProjectUpdate {
            google_project_id: Some(entry.google_project_id),
            upstream: fits.then_some(upstream),
            location: fits.then_some(location),
            oauth_client_id: Some(client),
            display_name: Some(entry.display_name),
            disabled: entry.disabled,
            credential: takes_token.then_some(entry.credential),
        };
        change_record(&mut record, update, self.now);
        if takes_token {
            record.token = token;
        }
        self.plan.projects.push(record);
        ImportOutcome::Updated
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
    // The next number of each name that several entries have.
    let mut numbers: HashMap<String, u32> = HashMap::new();
    let mut taken: HashSet<ProjectId> = entries
        .iter()
        .filter_map(|entry| entry.id.as_deref().map(Into::into))
        .collect();
    let mut names: Vec<Option<ProjectId>> = Vec::with_capacity(entries.len());
    for entry in entries {
        let stated = entry.id.as_deref().map(ProjectId::from);
        let known = || {
            let fingerprint = credential_digest(&entry.credential);
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
                let base = match entry.google_project_id.as_str() {
                    "" => entry.credential.default_id(),
                    base => base.to_owned(),
                };
                let number = numbers.entry(base.clone()).or_insert(1);
                let numbered = (*number..).map(|number| {
                    let name = match number {
                        1 => base.clone(),
                        _ => format!("{base}-{number}"),
                    };
                    (number, ProjectId::from(name))
                });
                let mut free = numbered
                    .filter(|(_, name)| !taken.contains(name) && may_replace(state, name, entry));
                let (found, name) = free.next().unwrap_or_default();
                *number = found;
                name
            });
            taken.insert(Arc::clone(&name));
            name
        })
        .collect()
}

/// Whether an entry that states no id can be a new version of the project `name`: a key of
/// another account, or another kind of credential, is a project of its own.
fn may_replace(state: &State, name: &ProjectId, entry: &Entry) -> bool {
    state.projects.get(name).is_none_or(|member| {
        let there = &member.record.credential;
        there.kind() == entry.credential.kind() && there.account() == entry.credential.account()
    })
}

/// Names a credential among all that were imported.
fn credential_digest(credential: &Credential) -> String {
    let text = credential.text().expose_secret();
    match credential.kind() {
        Kind::RefreshToken => digest([text]),
        kind => digest([kind.name(), text]),
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
