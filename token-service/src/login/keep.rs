//! Puts a login into the pool: a new project, or a new login of one that is there. All of
//! it in one commit.

use std::sync::Arc;

use secrecy::SecretString;

use super::{LoginError, Refused};
use crate::{
    admin::{AdminError, NewProject, ProjectUpdate, change_record, new_record},
    credential::{Credential, Kind},
    import::location,
    limits,
    pool::{Grant, Pool, State},
    project::{ProjectId, Upstream},
    store::{Change, StoredToken},
};

/// What a login brought.
pub(super) struct LoggedIn {
    pub(super) id: Option<String>,
    pub(super) google_project_id: String,
    pub(super) upstream: Upstream,
    pub(super) location: Option<String>,
    pub(super) oauth_client_id: String,
    pub(super) display_name: Option<String>,
    pub(super) account: Option<String>,
    pub(super) refresh_token: SecretString,
    pub(super) token: StoredToken,
}

/// Which project a login is for.
#[derive(Debug)]
pub(super) enum Target {
    New(ProjectId),
    Known(ProjectId),
}

/// The project of this id, or of this Google project, else a new one.
pub(super) fn target(
    state: &State,
    id: Option<&str>,
    google_project_id: &str,
    upstream: Upstream,
    account: Option<&str>,
) -> Result<Target, LoginError> {
    if let Some(id) = id {
        return match state.projects.get_key_value(id) {
            Some((known, member)) if member.record.project.upstream == upstream => {
                Ok(Target::Known(Arc::clone(known)))
            }
            Some(_) => Err(AdminError::ProjectExists(id.to_owned()).into()),
            None => Ok(Target::New(id.into())),
        };
    }
    // Another kind of credential is replaced only by who names its project.
    let mut matching = state.projects.iter().filter(|(_, member)| {
        let project = &member.record.project;
        project.upstream == upstream
            && project.google_project_id == google_project_id
            && member.record.credential.kind() == Kind::RefreshToken
    });
    match (matching.next(), matching.next()) {
        (Some((known, member)), None) => {
            let before = &member.record.project.display_name;
            match account {
                // So a login without a name of its own calls its project.
                Some(account) if limits::is_email(before) && before != account => {
                    Err(Refused::because(
                        "OTHER_ACCOUNT",
                        format!(
                            "the project {known} of the pool has a login of {before}, and this is \
                             one of {account}; nothing was stored. Log in again with --id {known} \
                             to replace it, or with another id for a project of its own (id)"
                        ),
                    ))
                }
                _ => Ok(Target::Known(Arc::clone(known))),
            }
        }
        (Some((first, _)), Some((second, _))) => Err(Refused::because(
            "AMBIGUOUS",
            format!(
                "several projects of the pool have the Google project {google_project_id} ({first}, \
                 {second}); nothing was stored. Log in again and say which: --id ID (id)"
            ),
        )),
        (None, _) if state.projects.contains_key(google_project_id) => Err(Refused::because(
            "ALREADY_EXISTS",
            format!(
                "there is a project {google_project_id} already, for another upstream or another \
                 Google project; nothing was stored. Log in again and give another id: --id ID \
                 (id)"
            ),
        )),
        (None, _) => Ok(Target::New(google_project_id.into())),
    }
}

impl Pool {
    /// Keeps what a login brought. Says which project has it now, and whether that is new.
    pub(super) async fn log_in(
        self: &Arc<Self>,
        login: LoggedIn,
    ) -> Result<(Grant, bool), LoginError> {
        let this = Arc::clone(self);
        self.whole(async move { Ok(this.keep_login(login).await) })
            .await?
    }

    async fn keep_login(&self, login: LoggedIn) -> Result<(Grant, bool), LoginError> {
        let changing = self.change().await;
        let mut changing = changing.map_err(AdminError::from)?;
        let now = self.now();
        let (record, is_new) = {
            let state = self.state();
            // It may have been removed while its owner was consenting.
            let client = state.client_for(Some(login.oauth_client_id))?;
            let id = login.id.as_deref();
            let account = login.account.as_deref();
            let (google_project_id, upstream) = (&login.google_project_id, login.upstream);
            match target(&state, id, google_project_id, upstream, account)? {
                Target::New(id) => {
                    let new = NewProject {
                        id,
                        google_project_id: login.google_project_id,
                        upstream: login.upstream,
                        location: location(login.upstream, login.location.unwrap_or_default()),
                        oauth_client_id: None,
                        display_name: login.display_name.or(login.account).unwrap_or_default(),
                        disabled: false,
                        credential: Credential::RefreshToken(login.refresh_token),
                        token: Some(login.token),
                    };
                    (new_record(new, client, state.next_position(), now), true)
                }
                Target::Known(id) => {
                    let member = state.projects.get(&id);
                    let member = member.ok_or_else(|| AdminError::NoSuchProject(id.to_string()))?;
                    let mut record = member.record.clone();
                    let update = ProjectUpdate {
                        google_project_id: Some(login.google_project_id),
                        location: login.location,
                        oauth_client_id: Some(client),
                        display_name: login.display_name,
                        credential: Some(Credential::RefreshToken(login.refresh_token)),
                        ..ProjectUpdate::default()
                    };
                    change_record(&mut record, update, now);
                    record.token = Some(login.token);
                    (record, false)
                }
            }
        };
        let change = Change::PutProject(Box::new(record.clone()));
        let stored = changing.commit(&[change]).await;
        stored.map_err(AdminError::from)?;
        let id = Arc::clone(&record.project.id);
        let mut state = self.state();
        if is_new {
            state.insert(record, 0);
            if let Some(member) = state.projects.get_mut(&id) {
                member.credential_at = Some(now);
            }
        } else {
            state.replace(record, now);
        }
        let grant = state.projects.get(&id).and_then(|member| member.grant());
        let grant = grant.ok_or(AdminError::BrokenOff)?;
        Ok((grant, is_new))
    }
}
