//! `ProjectService`: projects and OAuth clients for operators.

mod credential;
mod login;
mod transfer;

use std::{collections::HashMap, pin::Pin, sync::Arc};

use antigravity_proto::v1::{self, project_service_server::ProjectService};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

use self::credential::{check_client, check_upstream, given_credential};
use super::{ERROR_DOMAIN, check::Check, view};
use crate::{
    admin::{AdminError, NewProject, ProjectUpdate, PutClient},
    credential::{Credential, Kind},
    import::location,
    login::Logins,
    oauth::RefreshError,
    pool::Pool,
    project::{ProjectId, Upstream},
    refresh::RefreshFailed,
    store::StoredToken,
};

const PAGE_SIZE: u32 = 100;
const MAX_PAGE_SIZE: u32 = 1000;

/// The service over the pool.
#[derive(Clone)]
pub(crate) struct Projects {
    pub(crate) pool: Arc<Pool>,
    pub(crate) logins: Arc<Logins>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl ProjectService for Projects {
    type ImportProjectsStream = Answers<v1::ImportProjectsResponse>;
    type ExportProjectsStream = Answers<v1::ExportProjectsResponse>;
    type FinishLoginStream = Answers<v1::FinishLoginResponse>;

    async fn create_project(
        &self,
        request: Request<v1::CreateProjectRequest>,
    ) -> Result<Response<v1::Project>, Status> {
        let request = request.into_inner();
        let mut check = Check::default();
        let mut project = request.project.unwrap_or_default();
        let credential = given_credential(
            &self.pool,
            &mut check,
            [
                (Kind::RefreshToken, request.refresh_token),
                (Kind::ServiceAccountKey, request.service_account_key),
                (Kind::ApiKey, request.api_key),
            ],
        );
        if let Some(credential) = &credential
            && project.google_project_id.is_empty()
        {
            credential
                .google_project_id()
                .clone_into(&mut project.google_project_id);
        }
        let kind = credential.as_ref().map(Credential::kind);
        if kind != Some(Kind::ApiKey) || !project.google_project_id.is_empty() {
            check.google_project_id("project.google_project_id", &project.google_project_id);
        }
        if !project.id.is_empty() {
            check.id("project.id", &project.id);
        }
        if !project.oauth_client_id.is_empty() {
            check.client_id("project.oauth_client_id", &project.oauth_client_id);
            check_client(&mut check, kind);
        }
        let default = self.pool.default_upstream;
        let upstream = check
            .upstream("project.upstream", project.upstream)
            .unwrap_or_else(|| kind.map_or(default, |kind| kind.upstream_or(default)));
        check_upstream(&mut check, kind, upstream);
        check_location(&mut check, upstream, &project.location);
        check.display_name("project.display_name", &project.display_name);
        if kind == Some(Kind::ApiKey) && !request.access_token.is_empty() {
            check.wrong(
                "access_token",
                "is given beside an API key, which needs none",
            );
        }
        let token = given_token(
            &mut check,
            request.access_token,
            request.access_token_expires_at,
        );
        check.done()?;
        // Without one there is a violation, and we do not come here.
        let Some(credential) = credential else {
            return Err(Status::invalid_argument("the credential is missing"));
        };

        let id: ProjectId = if !project.id.is_empty() {
            project.id.as_str().into()
        } else if !project.google_project_id.is_empty() {
            project.google_project_id.as_str().into()
        } else {
            credential.default_id().into()
        };
        let client = project.oauth_client_id;
        self.pool
            .create_project(
                NewProject {
                    id: Arc::clone(&id),
                    google_project_id: project.google_project_id,
                    upstream,
                    location: location(upstream, project.location),
                    oauth_client_id: (!client.is_empty()).then_some(client),
                    display_name: project.display_name,
                    disabled: project.disabled,
                    credential,
                    token,
                },
                request.check,
            )
            .await
            .map_err(status)?;
        tracing::info!(project = &*id, "created a project");
        self.shown(&id)
    }

    async fn get_project(
        &self,
        request: Request<v1::GetProjectRequest>,
    ) -> Result<Response<v1::Project>, Status> {
        self.shown(&request.into_inner().id)
    }

    async fn list_projects(
        &self,
        request: Request<v1::ListProjectsRequest>,
    ) -> Result<Response<v1::ListProjectsResponse>, Status> {
        let request = request.into_inner();
        let mut check = Check::default();
        if request.page_size > MAX_PAGE_SIZE {
            check.wrong("page_size", format!("is more than {MAX_PAGE_SIZE}"));
        }
        let after = if request.page_token.is_empty() {
            None
        } else {
            let after = page_start(&request.page_token);
            if after.is_none() {
                check.wrong("page_token", "is none that this service has given out");
            }
            after
        };
        check.done()?;
        let size = match request.page_size {
            0 => PAGE_SIZE,
            size => size,
        };
        let size = usize::try_from(size).unwrap_or(usize::MAX);

        let now = self.pool.now();
        let state = self.pool.state();
        let from = after.map_or(std::ops::Bound::Unbounded, |after| {
            std::ops::Bound::Excluded(ProjectId::from(after))
        });
        let mut members = state
            .projects
            .range::<ProjectId, _>((from, std::ops::Bound::Unbounded));
        let page: Vec<_> = members.by_ref().take(size).collect();
        let next = match (page.last(), members.next()) {
            (Some((last, _)), Some(_)) => page_token(last),
            _ => String::new(),
        };
        Ok(Response::new(v1::ListProjectsResponse {
            projects: page
                .into_iter()
                .map(|(_, member)| view::project(member, now))
                .collect(),
            next_page_token: next,
            total_size: u32::try_from(state.projects.len()).unwrap_or(u32::MAX),
            replica: self.pool.instance.clone(),
        }))
    }

    async fn update_project(
        &self,
        request: Request<v1::UpdateProjectRequest>,
    ) -> Result<Response<v1::Project>, Status> {
        let request = request.into_inner();
        let id = request
            .project
            .as_ref()
            .map(|project| project.id.clone())
            .unwrap_or_default();
        let current = self.current(&id)?;
        let (update, check) = update(&self.pool, request, current);
        check.done()?;
        self.pool
            .update_project(id.clone(), update)
            .await
            .map_err(status)?;
        tracing::info!(project = id, "updated a project");
        self.shown(&id)
    }

    async fn delete_project(
        &self,
        request: Request<v1::DeleteProjectRequest>,
    ) -> Result<Response<v1::DeleteProjectResponse>, Status> {
        let id = request.into_inner().id;
        self.pool.delete_project(id.clone()).await.map_err(status)?;
        tracing::info!(project = id, "deleted a project");
        Ok(Response::new(v1::DeleteProjectResponse {}))
    }

    async fn refresh_project(
        &self,
        request: Request<v1::RefreshProjectRequest>,
    ) -> Result<Response<v1::Project>, Status> {
        let id = request.into_inner().id;
        self.pool.refresh_project(&id).await.map_err(status)?;
        self.shown(&id)
    }

    async fn import_projects(
        &self,
        request: Request<Streaming<v1::ImportProjectsRequest>>,
    ) -> Result<Response<Self::ImportProjectsStream>, Status> {
        let told = transfer::import(&self.pool, request.into_inner()).await?;
        Ok(Response::new(Box::pin(ReceiverStream::new(told))))
    }

    async fn export_projects(
        &self,
        request: Request<v1::ExportProjectsRequest>,
    ) -> Result<Response<Self::ExportProjectsStream>, Status> {
        let pieces = transfer::export(&self.pool, request.into_inner()).await?;
        Ok(Response::new(Box::pin(tokio_stream::iter(
            pieces.into_iter().map(Ok),
        ))))
    }

    async fn put_o_auth_client(
        &self,
        request: Request<v1::PutOAuthClientRequest>,
    ) -> Result<Response<v1::OAuthClient>, Status> {
        let request = request.into_inner();
        let mut check = Check::default();
        let client = request.client.unwrap_or_default();
        check.client_id("client.client_id", &client.client_id);
        let url = client.token_url;
        if !url.is_empty() && antigravity_runtime::config::base_url(&url).is_err() {
            check.wrong(
                "client.token_url",
                "is not a URL such as https://oauth2.googleapis.com/token",
            );
        }
        let secret = request.client_secret;
        if !secret.is_empty() {
            check.secret("client_secret", &secret);
        }
        check.done()?;
        self.pool
            .put_client(PutClient {
                client_id: client.client_id.clone(),
                client_secret: (!secret.is_empty()).then(|| secret.into()),
                token_url: (!url.is_empty()).then_some(url),
            })
            .await
            .map_err(status)?;
        let state = self.pool.state();
        let client = state
            .clients
            .get(&client.client_id)
            .ok_or_else(|| status(AdminError::NoSuchClient(client.client_id)))?;
        let shown = view::oauth_client(client, &state, self.pool.now());
        Ok(Response::new(shown))
    }

    async fn list_o_auth_clients(
        &self,
        _request: Request<v1::ListOAuthClientsRequest>,
    ) -> Result<Response<v1::ListOAuthClientsResponse>, Status> {
        let now = self.pool.now();
        let state = self.pool.state();
        Ok(Response::new(v1::ListOAuthClientsResponse {
            clients: state
                .clients
                .values()
                .map(|client| view::oauth_client(client, &state, now))
                .collect(),
        }))
    }

    async fn delete_o_auth_client(
        &self,
        request: Request<v1::DeleteOAuthClientRequest>,
    ) -> Result<Response<v1::DeleteOAuthClientResponse>, Status> {
        let client_id = request.into_inner().client_id;
        self.pool.delete_client(client_id).await.map_err(status)?;
        Ok(Response::new(v1::DeleteOAuthClientResponse {}))
    }

    async fn begin_login(
        &self,
        request: Request<v1::BeginLoginRequest>,
    ) -> Result<Response<v1::BeginLoginResponse>, Status> {
        let begun = login::begin(&self.logins, request.into_inner())?;
        Ok(Response::new(begun))
    }

    async fn finish_login(
        &self,
        request: Request<v1::FinishLoginRequest>,
    ) -> Result<Response<Self::FinishLoginStream>, Status> {
        let answers = login::finish(&self.logins, request.get_ref())?;
        Ok(Response::new(answers))
    }
}

impl Projects {
    fn shown(&self, id: &str) -> Result<Response<v1::Project>, Status> {
        let state = self.pool.state();
        let member = state
            .projects
            .get(id)
            .ok_or_else(|| status(AdminError::NoSuchProject(id.to_owned())))?;
        Ok(Response::new(view::project(member, self.pool.now())))
    }

    fn current(&self, id: &str) -> Result<(Upstream, Kind), Status> {
        let state = self.pool.state();
        let member = state.projects.get(id);
        let member = member.ok_or_else(|| status(AdminError::NoSuchProject(id.to_owned())))?;
        let record = &member.record;
        Ok((record.project.upstream, record.credential.kind()))
    }
}

/// The update that the mask asks for, of a project on the upstream `current` with a
/// credential of the kind `had`.
fn update(
    pool: &Pool,
    request: v1::UpdateProjectRequest,
    (current, had): (Upstream, Kind),
) -> (ProjectUpdate, Check) {
    let mut check = Check::default();
    let mut update = ProjectUpdate::default();
    let project = request.project.unwrap_or_default();
    let paths = request.update_mask.unwrap_or_default().paths;
    if paths.is_empty() {
        check.wrong("update_mask", "names no field; it is required");
    }
    let named = |kind: Kind| paths.iter().any(|path| path == kind.name());
    let mut given = [
        (Kind::RefreshToken, request.refresh_token),
        (Kind::ServiceAccountKey, request.service_account_key),
        (Kind::ApiKey, request.api_key),
    ];
    for (kind, secret) in &mut given {
        match (named(*kind), secret.is_empty()) {
            (false, false) => secret.clear(),
            (true, true) => check.wrong(kind.name(), "is missing"),
            _ => {}
        }
    }
    if given.iter().any(|(_, secret)| !secret.is_empty()) {
        update.credential = given_credential(pool, &mut check, given);
    }
    let kind = update.credential.as_ref().map_or(had, Credential::kind);
    for path in &paths {
        match path.as_str() {
            "google_project_id" if kind == Kind::ApiKey && project.google_project_id.is_empty() => {
                update.google_project_id = Some(String::new());
            }
            "google_project_id" => {
                check.google_project_id("project.google_project_id", &project.google_project_id);
                update.google_project_id = Some(project.google_project_id.clone());
            }
            "upstream" => {
                update.upstream = check.upstream("project.upstream", project.upstream);
                if project.upstream == 0 {
                    check.wrong("project.upstream", "is unspecified");
                }
            }
            "location" => update.location = Some(project.location.clone()),
            "oauth_client_id" => {
                check.client_id("project.oauth_client_id", &project.oauth_client_id);
                check_client(&mut check, Some(kind));
                update.oauth_client_id = Some(project.oauth_client_id.clone());
            }
            "display_name" => {
                check.display_name("project.display_name", &project.display_name);
                update.display_name = Some(project.display_name.clone());
            }
            "disabled" => update.disabled = Some(project.disabled),
            "refresh_token" | "service_account_key" | "api_key" => {}
            other => check.wrong(
                "update_mask",
                format!(
                    "names {other:?}; it may name google_project_id, upstream, location, \
                     oauth_client_id, display_name, disabled, refresh_token, \
                     service_account_key and api_key"
                ),
            ),
        }
    }
    let upstream = update.upstream.unwrap_or(current);
    check_upstream(&mut check, Some(kind), upstream);
    if let Some(stated) = update.location.take() {
        check_location(&mut check, upstream, &stated);
        update.location = Some(location(upstream, stated));
    } else if upstream != current {
        update.location = Some(location(upstream, String::new()));
    }
    (update, check)
}

fn check_location(check: &mut Check, upstream: Upstream, location: &str) {
    let field = "project.location";
    check.location(field, location);
    if upstream != Upstream::Vertex && !location.is_empty() {
        check.wrong(field, format!("is for the upstream vertex, not {upstream}"));
    }
}

fn given_token(
    check: &mut Check,
    secret: String,
    expires_at: Option<prost_types::Timestamp>,
) -> Option<StoredToken> {
    let field = "access_token_expires_at";
    if secret.is_empty() {
        if expires_at.is_some() {
            check.wrong(field, "is given without an access_token");
        }
        return None;
    }
    check.secret("access_token", &secret);
    if expires_at.is_none() {
        check.wrong(field, "is missing beside an access_token");
    }
    Some(StoredToken {
        secret: secret.into(),
        expires_at: check.time(field, expires_at)?,
        lifetime: None,
        refreshed_at: None,
    })
}

/// What to do about a refusal for good.
fn next_step(error: &RefreshError) -> &'static str {
    match error {
        RefreshError::ClientMismatch(_) => {
            "name the OAuth client that minted it (oauth-clients list and put, --oauth-client), or \
             log the account in (login)"
        }
        RefreshError::Revoked(_) => "log the account in again (login)",
        RefreshError::ClientRefused(_) => "set its right secret (oauth-clients put)",
        RefreshError::KeyRefused(_) => {
            "make a new key in the Google Cloud console and set it (projects set-credential)"
        }
        RefreshError::Transient(_) => "try again",
    }
}

/// Says after which project the next page starts. Opaque, so that nobody builds one.
fn page_token(last: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("after:{last}"))
}

fn page_start(token: &str) -> Option<String> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    text.strip_prefix("after:").map(str::to_owned)
}

/// Whoever is told so knows by the details that it is not the token-service that is away.
fn unavailable(reason: &str, message: String) -> Status {
    let details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, HashMap::new());
    Status::with_error_details(Code::Unavailable, message, details)
}

fn status(error: AdminError) -> Status {
    let message = error.to_string();
    match error {
        AdminError::NoSuchProject(_) | AdminError::NoSuchClient(_) => Status::not_found(message),
        AdminError::ProjectExists(_) | AdminError::SameCredential(_) => {
            Status::already_exists(message)
        }
        AdminError::ClientNotNamed(_) => {
            let mut check = Check::default();
            check.wrong("project.oauth_client_id", format!("is missing: {message}"));
            check
                .done()
                .err()
                .unwrap_or_else(|| Status::internal(message))
        }
        AdminError::ClientInUse { .. } | AdminError::NoCredential(_) => {
            Status::failed_precondition(message)
        }
        AdminError::Refresh(failed) => match failed {
            RefreshFailed::Refused(RefreshError::Transient(_)) => unavailable(
                "GOOGLE_UNAVAILABLE",
                format!(
                    "Google's token endpoint does not refresh it: {message}; it is tried again by itself"
                ),
            ),
            RefreshFailed::BrokenOff
            | RefreshFailed::Superseded
            | RefreshFailed::NotStored(_)
            | RefreshFailed::DatabaseAway(_)
            | RefreshFailed::Elsewhere => unavailable("NOT_REFRESHED", message),
            RefreshFailed::Refused(error) => {
                Status::failed_precondition(format!("{message}; {}", next_step(&error)))
            }
        },
        AdminError::Store(source) if source.is_full() => {
            tracing::error!(error = %source, "the disk is full");
            Status::resource_exhausted(
                "the token-service's disk is full, and nothing was changed; make room and try again",
            )
        }
        AdminError::Store(source) if source.is_passing() => {
            Status::unavailable(format!("{message}: {source}; nothing was changed"))
        }
        AdminError::Store(source) => {
            tracing::error!(error = %source, "the store failed");
            Status::internal(format!("{message}: {source}"))
        }
        AdminError::BrokenOff => Status::internal(message),
    }
}
