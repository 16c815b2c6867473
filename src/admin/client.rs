//! The gRPC client of the operators' commands: every call they make, and what the
//! refusals mean. Knows nothing of files, tables or where the service comes from.

use std::net::SocketAddr;

use antigravity_proto::v1::{
    self, BackUpRequest, BeginLoginRequest, BeginLoginResponse, CreateProjectRequest,
    DeleteOAuthClientRequest, DeleteProjectRequest, ExportProjectsRequest, FinishLoginRequest,
    FinishLoginResponse, GetProjectRequest, ImportProjectsRequest, ImportProjectsResponse,
    ListEncryptionKeysRequest, ListEncryptionKeysResponse, ListOAuthClientsRequest,
    ListProjectsRequest, OAuthClient, Project, PutOAuthClientRequest, QueryUsageRequest,
    QueryUsageResponse, RefreshProjectRequest, RestoreRequest, RestoreResponse,
    RotateEncryptionKeyRequest, RotateEncryptionKeyResponse, UpdateProjectRequest,
    database_service_client::DatabaseServiceClient, project_service_client::ProjectServiceClient,
    restore_request, usage_service_client::UsageServiceClient,
};
use antigravity_runtime::tls::{self, Connector};
use secrecy::{ExposeSecret as _, SecretString};
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use super::route::Route;
use crate::failure::Failure;

/// Projects a page.
const PAGE: u32 = 500;

/// Why a token-service cannot be asked, or refuses.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The token has characters that no header can carry.
    #[error("ADMIN_TOKEN has characters that no header can carry")]
    Token,
    /// The address is none.
    #[error("TOKEN_SERVICE_URL {url:?} is not an address such as http://127.0.0.1:50051")]
    Url {
        /// What was given.
        url: String,
    },
    /// Nobody answers at an address that an operator named.
    #[error(
        "the token-service at {url} (TOKEN_SERVICE_URL) does not answer: {source}; start it, or \
         unset TOKEN_SERVICE_URL to work on this machine's database"
    )]
    Unreachable {
        /// Where it was sought.
        url: String,
        /// Why not.
        source: tonic::transport::Error,
    },
    /// The token is another one.
    #[error(
        "the token-service does not accept this admin token ({origin}); set ADMIN_TOKEN or \
         ADMIN_TOKEN_FILE to the one that it was started with (it keeps its own in admin_token \
         beside its database)"
    )]
    WrongToken {
        /// Where the token comes from.
        origin: String,
    },
    /// It refuses, and says why.
    #[error("{}", .0.message())]
    Refused(Box<Status>),
    /// It fails, or something else answers there.
    #[error("the token-service at {url} failed: {}", said(status))]
    Failed {
        /// Where it is.
        url: String,
        /// What it says.
        status: Box<Status>,
    },
}

fn said(status: &Status) -> String {
    tls::connection_failure(status).unwrap_or_else(|| status.message().to_owned())
}

/// Shows the operators' token with every call.
#[derive(Clone, Debug)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// What a project logs in with.
#[derive(Debug)]
pub(crate) enum Secret {
    RefreshToken(SecretString),
    ServiceAccountKey(SecretString),
    ApiKey(SecretString),
}

/// Calls one token-service as its operator.
#[derive(Debug)]
pub(crate) struct Client {
    service: ProjectServiceClient<InterceptedService<Channel, Bearer>>,
    database: DatabaseServiceClient<InterceptedService<Channel, Bearer>>,
    usage: UsageServiceClient<InterceptedService<Channel, Bearer>>,
    /// Where the service is, for people.
    url: String,
    /// Where the token comes from, for people.
    token_origin: String,
}

impl Client {
    /// A client of the service at `address`; connects with its first call.
    ///
    /// # Errors
    /// A token that no header can carry.
    pub(crate) fn to(
        address: SocketAddr,
        tls: Option<&Connector>,
        token: &SecretString,
        token_origin: &str,
    ) -> Result<Self, Error> {
        let url = match tls {
            None => format!("http://{address}"),
            Some(_) => format!("https://{address}"),
        };
        let channel = Route::to(&url, tls.cloned().unwrap_or_default())?.lazily();
        Self::over(channel, url, token, token_origin)
    }

    /// A client over a connection that is there.
    ///
    /// # Errors
    /// A token that no header can carry.
    pub(crate) fn over(
        channel: Channel,
        url: String,
        token: &SecretString,
        token_origin: &str,
    ) -> Result<Self, Error> {
        let mut bearer: MetadataValue<Ascii> = format!("Bearer {}", token.expose_secret())
            .parse()
            .map_err(|_| Error::Token)?;
        bearer.set_sensitive(true);
        Ok(Self {
            service: ProjectServiceClient::with_interceptor(
                channel.clone(),
                Bearer(bearer.clone()),
            ),
            database: DatabaseServiceClient::with_interceptor(
                channel.clone(),
                Bearer(bearer.clone()),
            ),
            usage: UsageServiceClient::with_interceptor(channel, Bearer(bearer)),
            url,
            token_origin: token_origin.to_owned(),
        })
    }

    fn refusal(&self, status: Status) -> Error {
        match status.code() {
            Code::Unauthenticated => Error::WrongToken {
                origin: self.token_origin.clone(),
            },
            // The service itself says why: Google does not answer.
            Code::Unavailable if !status.details().is_empty() => Error::Refused(Box::new(status)),
            // A connection that breaks in the wrong moment is a cancelled call.
            Code::Unavailable
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::Unknown
            | Code::Unimplemented => Error::Failed {
                url: self.url.clone(),
                status: Box::new(status),
            },
            _ => Error::Refused(Box::new(status)),
        }
    }

    /// How many projects there are.
    pub(crate) async fn count_projects(&mut self) -> Result<u32, Error> {
        let request = ListProjectsRequest {
            page_size: 1,
            ..Default::default()
        };
        let answer = self.service.list_projects(request).await;
        let answer = answer.map_err(|status| self.refusal(status))?;
        Ok(answer.into_inner().total_size)
    }

    /// Every project, in the order of their ids.
    pub(crate) async fn list_projects(&mut self) -> Result<Vec<Project>, Error> {
        let mut projects = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListProjectsRequest {
                page_size: PAGE,
                page_token,
            };
            let answer = self.service.list_projects(request).await;
            let answer = answer.map_err(|status| self.refusal(status))?.into_inner();
            projects.extend(answer.projects);
            page_token = answer.next_page_token;
            if page_token.is_empty() {
                return Ok(projects);
            }
        }
    }

    /// One project.
    pub(crate) async fn get_project(&mut self, id: String) -> Result<Project, Error> {
        let answer = self.service.get_project(GetProjectRequest { id }).await;
        Ok(answer.map_err(|status| self.refusal(status))?.into_inner())
    }

    /// Adds a project.
    pub(crate) async fn create_project(
        &mut self,
        project: Project,
        secret: &Secret,
        check: bool,
    ) -> Result<Project, Error> {
        let mut request = CreateProjectRequest {
            project: Some(project),
            check,
            ..Default::default()
        };
        let (field, secret) = match secret {
            Secret::RefreshToken(secret) => (&mut request.refresh_token, secret),
            Secret::ServiceAccountKey(secret) => (&mut request.service_account_key, secret),
            Secret::ApiKey(secret) => (&mut request.api_key, secret),
        };
        secret.expose_secret().clone_into(field);
        let answer = self.service.create_project(request).await;
        Ok(answer.map_err(|status| self.refusal(status))?.into_inner())
    }

    /// Gives a project another credential.
    pub(crate) async fn set_credential(
        &mut self,
        id: String,
        secret: &Secret,
        oauth_client: Option<String>,
    ) -> Result<Project, Error> {
        let mut request = UpdateProjectRequest::default();
        let (path, field, secret) = match secret {
            Secret::RefreshToken(secret) => ("refresh_token", &mut request.refresh_token, secret),
            Secret::ServiceAccountKey(secret) => (
                "service_account_key",
                &mut request.service_account_key,
                secret,
            ),
            Secret::ApiKey(secret) => ("api_key", &mut request.api_key, secret),
        };
        secret.expose_secret().clone_into(field);
        let client = oauth_client.is_some().then_some("oauth_client_id");
        request.update_mask = Some(prost_types::FieldMask {
            paths: client
                .into_iter()
                .chain([path])
                .map(str::to_owned)
                .collect(),
        });
        request.project = Some(Project {
            id,
            oauth_client_id: oauth_client.unwrap_or_default(),
            ..Default::default()
        });
        let answer = self.service.update_project(request).await;
        Ok(answer.map_err(|status| self.refusal(status))?.into_inner())
    }

    /// Takes a project out of the rotation, or puts it back.
    pub(crate) async fn set_disabled(
        &mut self,
        id: String,
        disabled: bool,
    ) -> Result<Project, Error> {
        let request = UpdateProjectRequest {
            project: Some(Project {
                id,
                disabled,
                ..Default::default()
            }),
            update_mask: Some(prost_types::FieldMask {
                paths: vec!["disabled".to_owned()],
            }),
            ..Default::default()
        };
        let answer = self.service.update_project(request).await;
        Ok(answer.map_err(|status| self.refusal(status))?.into_inner())
    }

    /// Removes a project and its tokens.
    pub(crate) async fn delete_project(&mut self, id: String) -> Result<(), Error> {
        let request = DeleteProjectRequest { id };
        let answer = self.service.delete_project(request).await;
        answer.map_err(|status| self.refusal(status))?;
        Ok(())
    }

    /// Refreshes a project's access token now.
    pub(crate) async fn refresh_project(&mut self, id: String) -> Result<Project, Error> {
        let request = RefreshProjectRequest { id };
        let answer = self.service.refresh_project(request).await;
        Ok(answer.map_err(|status| self.refusal(status))?.into_inner())
    }

    /// Imports what the pieces together are; one answer an entry. `progress` hears how many
    /// changes are written, of how many.
    pub(crate) async fn import_projects(
        &mut self,
        pieces: Vec<ImportProjectsRequest>,
        mut progress: impl FnMut(u32, u32),
    ) -> Result<Vec<ImportProjectsResponse>, Error> {
        let answer = self
            .service
            .import_projects(tokio_stream::iter(pieces))
            .await;
        let mut answers = answer.map_err(|status| self.refusal(status))?.into_inner();
        let mut results = Vec::new();
        while let Some(result) = answers
            .message()
            .await
            .map_err(|status| self.refusal(status))?
        {
            match result.progress {
                Some(step) => progress(step.written, step.total),
                None => results.push(result),
            }
        }
        Ok(results)
    }

    /// The pool, sealed with the passphrase.
    pub(crate) async fn export_projects(
        &mut self,
        passphrase: &SecretString,
        ids: Vec<String>,
    ) -> Result<Vec<u8>, Error> {
        let request = ExportProjectsRequest {
            passphrase: passphrase.expose_secret().to_owned(),
            ids,
        };
        let answer = self.service.export_projects(request).await;
        let mut answers = answer.map_err(|status| self.refusal(status))?.into_inner();
        let mut sealed = Vec::new();
        while let Some(piece) = answers
            .message()
            .await
            .map_err(|status| self.refusal(status))?
        {
            sealed.extend(piece.sealed_export);
        }
        Ok(sealed)
    }

    /// The OAuth clients, without their secrets.
    pub(crate) async fn list_oauth_clients(&mut self) -> Result<Vec<OAuthClient>, Error> {
        let answer = self
            .service
            .list_o_auth_clients(ListOAuthClientsRequest {})
            .await;
        Ok(answer
            .map_err(|status| self.refusal(status))?
            .into_inner()
            .clients)
    }

    /// Adds or changes an OAuth client; without a secret it keeps the one it has.
    pub(crate) async fn put_oauth_client(
        &mut self,
        client: OAuthClient,
        client_secret: Option<&SecretString>,
    ) -> Result<OAuthClient, Error> {
        let request = PutOAuthClientRequest {
            client: Some(client),
            client_secret: client_secret
                .map(|secret| secret.expose_secret().to_owned())
                .unwrap_or_default(),
        };
        let answer = self.service.put_o_auth_client(request).await;
        Ok(answer.map_err(|status| self.refusal(status))?.into_inner())
    }

    /// Begins a login.
    pub(crate) async fn begin_login(
        &mut self,
        request: BeginLoginRequest,
    ) -> Result<BeginLoginResponse, Error> {
        let answer = self.service.begin_login(request).await;
        Ok(answer.map_err(|status| self.refusal(status))?.into_inner())
    }

    /// Finishes a login; `told` hears what it is at.
    pub(crate) async fn finish_login(
        &mut self,
        login: String,
        answer: &SecretString,
        mut told: impl FnMut(FinishLoginResponse),
    ) -> Result<(), Error> {
        let request = FinishLoginRequest {
            login,
            answer: answer.expose_secret().to_owned(),
        };
        let answer = self.service.finish_login(request).await;
        let mut steps = answer.map_err(|status| self.refusal(status))?.into_inner();
        while let Some(step) = steps
            .message()
            .await
            .map_err(|status| self.refusal(status))?
        {
            told(step);
        }
        Ok(())
    }

    /// Removes an OAuth client that no project names.
    pub(crate) async fn delete_oauth_client(&mut self, client_id: String) -> Result<(), Error> {
        let request = DeleteOAuthClientRequest { client_id };
        let answer = self.service.delete_o_auth_client(request).await;
        answer.map_err(|status| self.refusal(status))?;
        Ok(())
    }
}

impl Client {
    /// Sums of what was used.
    pub(crate) async fn query_usage(
        &mut self,
        request: QueryUsageRequest,
    ) -> Result<QueryUsageResponse, Error> {
        let answer = self.usage.query_usage(request).await;
        Ok(answer.map_err(|status| self.refusal(status))?.into_inner())
    }

    /// The keys that seal secrets at rest, by their ids.
    pub(crate) async fn list_encryption_keys(
        &mut self,
    ) -> Result<ListEncryptionKeysResponse, Error> {
        let answer = self
            .database
            .list_encryption_keys(ListEncryptionKeysRequest {})
            .await;
        Ok(answer.map_err(|status| self.refusal(status))?.into_inner())
    }

    /// Seals every secret anew.
    pub(crate) async fn rotate_encryption_key(
        &mut self,
    ) -> Result<RotateEncryptionKeyResponse, Error> {
        let answer = self
            .database
            .rotate_encryption_key(RotateEncryptionKeyRequest {})
            .await;
        Ok(answer.map_err(|status| self.refusal(status))?.into_inner())
    }

    /// Hands a backup on, piece by piece.
    pub(crate) async fn back_up(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let answer = self.database.back_up(BackUpRequest {}).await;
        let mut pieces = answer.map_err(|status| self.refusal(status))?.into_inner();
        while let Some(piece) = pieces
            .message()
            .await
            .map_err(|status| self.refusal(status))?
        {
            take(&piece.backup)?;
        }
        Ok(())
    }

    /// Replaces everything with what a backup holds.
    pub(crate) async fn restore(
        &mut self,
        backup: Vec<u8>,
        encryption_keys: Option<&SecretString>,
    ) -> Result<RestoreResponse, Error> {
        let options = restore_request::Options {
            encryption_keys: encryption_keys
                .map(|keys| keys.expose_secret().to_owned())
                .unwrap_or_default(),
        };
        let backup = bytes_in_pieces(backup).map(restore_request::Payload::Backup);
        let payloads = std::iter::once(restore_request::Payload::Options(options)).chain(backup);
        let requests = payloads.map(|payload| RestoreRequest {
            payload: Some(payload),
        });
        let answer = self.database.restore(tokio_stream::iter(requests)).await;
        Ok(answer.map_err(|status| self.refusal(status))?.into_inner())
    }
}

/// Below the limit of a message, with room for its frame.
const PIECE: usize = 1 << 20;

fn bytes_in_pieces(bytes: Vec<u8>) -> impl Iterator<Item = Vec<u8>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let piece = bytes.get(at..)?.iter().take(PIECE);
        let piece: Vec<u8> = piece.copied().collect();
        at += piece.len();
        (!piece.is_empty()).then_some(piece)
    })
}

/// A name of an upstream in the contract.
pub(crate) fn upstream_name(upstream: i32) -> &'static str {
    match v1::Upstream::try_from(upstream) {
        Ok(v1::Upstream::Antigravity) => "antigravity",
        Ok(v1::Upstream::Gemini) => "gemini",
        Ok(v1::Upstream::Vertex) => "vertex",
        Ok(v1::Upstream::Unspecified) | Err(_) => "unspecified",
    }
}
