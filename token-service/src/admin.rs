//! What operators change: projects and OAuth clients. Each change is in the store
//! before it is in memory, and goes on when its caller goes away.

use std::sync::Arc;

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    credential::{Credential, Kind, Proof},
    pool::{Pool, State},
    project::{Project, ProjectId, Status, Upstream},
    refresh::{RefreshFailed, landed},
    store::{Change, ClientRecord, ProjectRecord, Restated, StoreError, StoredToken},
};

/// A project to be created; checked for its form by the caller.
#[derive(Debug)]
pub(crate) struct NewProject {
    pub(crate) id: ProjectId,
    pub(crate) google_project_id: String,
    pub(crate) upstream: Upstream,
    pub(crate) location: String,
    /// `None`: the only one there is, where the credential has one.
    pub(crate) oauth_client_id: Option<String>,
    pub(crate) display_name: String,
    pub(crate) disabled: bool,
    pub(crate) credential: Credential,
    pub(crate) token: Option<StoredToken>,
}

/// The fields of a project that are to change.
#[derive(Debug, Default)]
pub(crate) struct ProjectUpdate {
    pub(crate) google_project_id: Option<String>,
    pub(crate) upstream: Option<Upstream>,
    pub(crate) location: Option<String>,
    pub(crate) oauth_client_id: Option<String>,
    pub(crate) display_name: Option<String>,
    pub(crate) disabled: Option<bool>,
    pub(crate) credential: Option<Credential>,
}

/// An OAuth client to be added or changed.
#[derive(Debug)]
pub(crate) struct PutClient {
    pub(crate) client_id: String,
    /// `None`: the stored one stays.
    pub(crate) client_secret: Option<SecretString>,
    pub(crate) token_url: Option<String>,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("there is no project {0:?}")]
    NoSuchProject(String),
    #[error("there is a project {0:?} already")]
    ProjectExists(String),
    #[error("the project {0:?} has this very credential for the same Google project and upstream")]
    SameCredential(String),
    #[error("there is no OAuth client {0:?}; add it first (oauth-clients put, PutOAuthClient)")]
    NoSuchClient(String),
    #[error(
        "there are {0} OAuth clients; name the one that minted the refresh token (oauth-clients \
         list and put)"
    )]
    ClientNotNamed(usize),
    #[error("{projects} projects name the OAuth client {client_id:?}; change or delete them first")]
    ClientInUse { client_id: String, projects: usize },
    #[error(transparent)]
    Refresh(#[from] RefreshFailed),
    #[error("the change cannot be stored")]
    Store(#[from] StoreError),
    #[error(
        "the project {0:?} has no credential, as the key that sealed it was lost; log it in \
         (login --id {0}), or set another (projects set-credential)"
    )]
    NoCredential(String),
    #[error("the change broke off")]
    BrokenOff,
}

impl Pool {
    /// Runs a change to its end, whether or not its caller waits for it.
    pub(crate) async fn whole<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl Future<Output = Result<T, AdminError>> + Send + 'static,
    ) -> Result<T, AdminError> {
        let done = self.tasks.spawn(change).await;
        self.changed.notify_one();
        self.restated.notify_one();
        done.unwrap_or(Err(AdminError::BrokenOff))
    }

    /// Adds a project; with `check`, only when Google grants an access token for it.
    pub(crate) async fn create_project(
        self: &Arc<Self>,
        mut new: NewProject,
        check: bool,
    ) -> Result<(), AdminError> {
        let this = Arc::clone(self);
        self.whole(async move {
            if check {
                // Before anything is locked: Google may take its time.
                let proof = this.state().proof_of(&new)?;
                if let Some(proof) = proof {
                    let asked = this.ask_for_token(&proof).await;
                    let (token, rotated) = asked.map_err(RefreshFailed::Refused)?;
                    new.token = Some(token);
                    if let (Some(rotated), Credential::RefreshToken(_)) = (rotated, &new.credential)
                    {
                        new.credential = Credential::RefreshToken(rotated);
                    }
                }
            }
            let mut changing = this.change().await?;
            let now = this.now();
            let record = {
                let state = this.state();
                let oauth_client_id = state.may_add(&new)?;
                new_record(
                    NewProject {
                        oauth_client_id: None,
                        ..new
                    },
                    oauth_client_id,
                    state.next_position(),
                    now,
                )
            };
            let change = Change::PutProject(Box::new(record.clone()));
            changing.commit(&[change]).await?;
            let id = Arc::clone(&record.project.id);
            let mut state = this.state();
            state.insert(record, 0);
            if let Some(member) = state.projects.get_mut(&id) {
                member.credential_at = Some(now);
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn update_project(
        self: &Arc<Self>,
        id: String,
        update: ProjectUpdate,
    ) -> Result<(), AdminError> {
        let this = Arc::clone(self);
        self.whole(async move {
            let mut changing = this.change().await?;
            let now = this.now();
            let record = {
                let state = this.state();
                let member = state
                    .projects
                    .get(id.as_str())
                    .ok_or(AdminError::NoSuchProject(id))?;
                let mut record = member.record.clone();
                let mut update = update;
                let kind = update.credential.as_ref().map(Credential::kind);
                let names_client = update.oauth_client_id.is_some();
                // One that comes to a project without a client needs one.
                let needs_client =
                    kind == Some(Kind::RefreshToken) && record.project.oauth_client_id.is_empty();
                if names_client || needs_client {
                    let client = state.client_for(update.oauth_client_id.take())?;
                    update.oauth_client_id = Some(client);
                }
                change_record(&mut record, update, now);
                record
            };
            let change = Change::PutProject(Box::new(record.clone()));
            changing.commit(&[change]).await?;
            this.state().replace(record, now);
            Ok(())
        })
        .await
    }

    pub(crate) async fn delete_project(self: &Arc<Self>, id: String) -> Result<(), AdminError> {
        let this = Arc::clone(self);
        self.whole(async move {
            let mut changing = this.change().await?;
            let id = {
                let state = this.state();
                let found = state.projects.get_key_value(id.as_str());
                let (id, _) = found.ok_or(AdminError::NoSuchProject(id))?;
                Arc::clone(id)
            };
            changing
                .commit(&[Change::DeleteProject(Arc::clone(&id))])
                .await?;
            this.state().remove(&id);
            Ok(())
        })
        .await
    }

    /// Refreshes now. A success also ends what kept the project out of the rotation: the
    /// operator wants it tried again.
    pub(crate) async fn refresh_project(self: &Arc<Self>, id: &str) -> Result<(), AdminError> {
        let (id, flight) = {
            let mut guard = self.state();
            let state = &mut *guard;
            let found = state.projects.get_key_value(id);
            let (id, member) = found.ok_or_else(|| AdminError::NoSuchProject(id.to_owned()))?;
            let id = Arc::clone(id);
            if member.record.credential.text().expose_secret().is_empty() {
                return Err(AdminError::NoCredential(id.to_string()));
            }
            // An API key is as fresh as ever.
            let flight = match member.record.credential.kind() {
                Kind::ApiKey => None,
                _ => Some(self.refresh(state, &id).ok_or(AdminError::BrokenOff)?),
            };
            (id, flight)
        };
        if let Some(flight) = flight {
            landed(flight).await?;
        }
        let this = Arc::clone(self);
        self.whole(async move {
            let _writes = this.writes.lock().await;
            {
                let mut state = this.state();
                let Some(member) = state.projects.get_mut(&id) else {
                    return Ok(());
                };
                member.denial = None;
                let project = &mut member.record.project;
                if project.status == Status::Active && project.cooldowns.is_empty() {
                    return Ok(());
                }
                project.status = Status::Active;
                project.cooldowns.clear();
                state.refit(&id);
                let restated = Restated {
                    status: true,
                    cleared: true,
                };
                state.restate(&id, restated);
            }
            this.keep_state(&id).await;
            Ok(())
        })
        .await
    }

    pub(crate) async fn put_client(self: &Arc<Self>, put: PutClient) -> Result<(), AdminError> {
        let this = Arc::clone(self);
        self.whole(async move {
            let mut changing = this.change().await?;
            let now = this.now();
            let record = {
                let state = this.state();
                let old = state
                    .clients
                    .get(&put.client_id)
                    .map(|client| &client.record);
                let old_secret = old.and_then(|old| old.credentials.client_secret.clone());
                ClientRecord {
                    credentials: crate::oauth::Credentials {
                        client_id: put.client_id,
                        client_secret: put.client_secret.or(old_secret),
                        token_url: put.token_url,
                    },
                    created_at: old.map_or(now, |old| old.created_at),
                    updated_at: now,
                }
            };
            changing
                .commit(&[Change::PutClient(record.clone())])
                .await?;
            this.state().change_client(record);
            Ok(())
        })
        .await
    }

    pub(crate) async fn delete_client(
        self: &Arc<Self>,
        client_id: String,
    ) -> Result<(), AdminError> {
        let this = Arc::clone(self);
        self.whole(async move {
            let mut changing = this.change().await?;
            {
                let state = this.state();
                let projects = state.projects_of(&client_id);
                if projects > 0 {
                    return Err(AdminError::ClientInUse {
                        client_id,
                        projects,
                    });
                }
                if !state.clients.contains_key(&client_id) {
                    return Err(AdminError::NoSuchClient(client_id));
                }
            }
            changing
                .commit(&[Change::DeleteClient(client_id.clone())])
                .await?;
            this.state().clients.remove(&client_id);
            Ok(())
        })
        .await
    }
}

impl State {
    /// The OAuth client of a project that is to be added; empty: its credential has none.
    fn may_add(&self, new: &NewProject) -> Result<String, AdminError> {
        if self.projects.contains_key(&new.id) {
            return Err(AdminError::ProjectExists(new.id.to_string()));
        }
        let same = self.projects.iter().find(|(_, member)| {
            let project = &member.record.project;
            project.google_project_id == new.google_project_id
                && project.upstream == new.upstream
                && project.location == new.location
                && member.record.credential.is_same(&new.credential)
        });
        if let Some((id, _)) = same {
            return Err(AdminError::SameCredential(id.to_string()));
        }
        match new.credential.kind() {
            Kind::RefreshToken => self.client_for(new.oauth_client_id.clone()),
            Kind::ServiceAccountKey | Kind::ApiKey => Ok(String::new()),
        }
    }

    /// What an access token of a project that is to be added is asked for with.
    fn proof_of(&self, new: &NewProject) -> Result<Option<Proof>, AdminError> {
        let client = self.may_add(new)?;
        Ok(match &new.credential {
            Credential::RefreshToken(refresh_token) => {
                let found = self.clients.get(&client);
                let client = found.ok_or(AdminError::NoSuchClient(client))?;
                Some(Proof::RefreshToken {
                    client: client.record.credentials.clone(),
                    refresh_token: refresh_token.clone(),
                })
            }
            Credential::ServiceAccountKey(key) => Some(Proof::ServiceAccount(Arc::clone(key))),
            Credential::ApiKey(_) => None,
        })
    }

    /// The named client, or the only one.
    pub(crate) fn client_for(&self, named: Option<String>) -> Result<String, AdminError> {
        match named {
            Some(client) if self.clients.contains_key(&client) => Ok(client),
            Some(client) => Err(AdminError::NoSuchClient(client)),
            None => {
                let mut clients = self.clients.keys();
                match (clients.next(), clients.next()) {
                    (Some(only), None) => Ok(only.clone()),
                    _ => Err(AdminError::ClientNotNamed(self.clients.len())),
                }
            }
        }
    }

    pub(crate) fn projects_of(&self, client_id: &str) -> usize {
        self.projects
            .values()
            .filter(|member| member.record.project.oauth_client_id == client_id)
            .count()
    }

    /// Replaces a project's record; what this process knows of it stays as far as it is
    /// about the same credential.
    pub(crate) fn replace(&mut self, record: ProjectRecord, now: Timestamp) {
        let id = Arc::clone(&record.project.id);
        let Some(member) = self.projects.get_mut(&id) else {
            return;
        };
        let client_changed =
            member.record.project.oauth_client_id != record.project.oauth_client_id;
        let credential_changed = member.record.generation != record.generation;
        if credential_changed || client_changed {
            member.failure = None;
            member.unstored = None;
        }
        // Whatever the operator changed may have mended it.
        member.denial = None;
        let token = record.token.clone();
        let from = member.record.project.upstream;
        let to = record.project.upstream;
        let before = std::mem::replace(&mut member.record, record);
        // What gateways reported while the change was being stored is newer than the record.
        let project = &mut member.record.project;
        if !credential_changed {
            project.status = before.project.status;
        }
        if from == to {
            project.cooldowns = before.project.cooldowns;
        }
        if credential_changed {
            member.quotas.clear();
            member.quota_asked = Default::default();
            member.forced_at = None;
            member.credential_at = Some(now);
            member.replaced = Default::default();
            member.set_token(token);
        }
        self.recount(from, to);
        // The lane of another upstream, and the way in or out.
        self.rotation.set(&id, None);
        self.refit(&id);
    }

    /// Takes a changed client in: what it was refused for is tried again at once.
    pub(crate) fn change_client(&mut self, record: ClientRecord) {
        let client_id = record.credentials.client_id.clone();
        self.put_client(record);
        for member in self.projects.values_mut() {
            if member.record.project.oauth_client_id == client_id {
                member.failure = None;
            }
        }
    }
}

/// The record of a new project.
pub(crate) fn new_record(
    new: NewProject,
    oauth_client_id: String,
    position: i64,
    now: Timestamp,
) -> ProjectRecord {
    ProjectRecord {
        project: Project {
            id: new.id,
            position,
            google_project_id: new.google_project_id,
            upstream: new.upstream,
            location: new.location,
            oauth_client_id,
            display_name: new.display_name,
            disabled: new.disabled,
            status: Status::Active,
            cooldowns: std::collections::BTreeMap::new(),
            created_at: now,
            updated_at: now,
        },
        credential: new.credential,
        generation: generation(),
        token: new.token,
    }
}

/// Makes the changes; another credential or client drops the access token.
pub(crate) fn change_record(record: &mut ProjectRecord, update: ProjectUpdate, now: Timestamp) {
    let project = &mut record.project;
    let set = |field: &mut String, value: Option<String>| {
        if let Some(value) = value {
            *field = value;
        }
    };
    let has_client = record.credential.kind() == Kind::RefreshToken;
    let other_client = update
        .oauth_client_id
        .as_ref()
        .is_some_and(|client| has_client && *client != project.oauth_client_id);
    set(&mut project.google_project_id, update.google_project_id);
    set(&mut project.location, update.location);
    set(&mut project.oauth_client_id, update.oauth_client_id);
    set(&mut project.display_name, update.display_name);
    if let Some(upstream) = update.upstream
        && upstream != project.upstream
    {
        project.upstream = upstream;
        project.cooldowns.clear();
    }
    project.disabled = update.disabled.unwrap_or(project.disabled);
    project.updated_at = now;
    if let Some(credential) = update.credential {
        record.credential = credential;
        record.project.status = Status::Active;
        record.token = None;
        record.generation = generation();
    } else if other_client {
        // A login that the old client was refused for may be the new client's.
        if matches!(record.project.status, Status::NeedsLogin { .. }) {
            record.project.status = Status::Active;
        }
        record.token = None;
        record.generation = generation();
    }
    if record.credential.kind() != Kind::RefreshToken {
        record.project.oauth_client_id.clear();
    }
}

/// Drawn at random, so that a project that is removed and made anew does not take the
/// late result of the old one's refresh.
fn generation() -> i64 {
    getrandom::u64().map_or(0, u64::cast_signed) & i64::MAX
}
