//! What operators ask of the token-service: with a token of theirs, which the gateway itself does
//! not have.

use std::{collections::HashSet, sync::Arc, time::Duration};

use antigravity_proto::v1::{
    ListProjectsRequest, ListProjectsResponse, Project, QueryUsageRequest, QueryUsageResponse,
    RefreshProjectRequest, UpdateProjectRequest, project_service_client::ProjectServiceClient,
    usage_service_client::UsageServiceClient,
};
use antigravity_runtime::tls;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::Instant;
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

use super::{
    endpoints::{Endpoints, NO_ADDRESS},
    replicas,
};

/// For what is answered from memory or by one query.
const TIMEOUT: Duration = Duration::from_secs(5);
/// For the others, once one has answered.
const OTHERS: Duration = Duration::from_secs(1);
/// Longer than a refresh at the OAuth endpoint may take.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(40);
/// Projects a page: as many as the service gives.
const PAGE: u32 = 1000;
/// A page of projects whose reasons are all as long as they may be.
const LARGEST_PAGE: usize = 32 << 20;

/// Why an operator gets no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OperatorError {
    /// Nobody answers, or not in time.
    #[error("the token-service does not answer: {0}")]
    Away(String),
    /// The token is none that the service knows.
    #[error("the token-service does not know this token")]
    WrongToken,
    /// The token is the gateways'.
    #[error("this is the gateways' token, not the operators'")]
    GatewayToken,
    /// The service refuses, and says why.
    #[error("{0}")]
    Refused(String),
}

/// Calls the token-service as an operator. Its debug form does not tell the token.
#[derive(Clone, Debug)]
pub struct Operator {
    endpoints: Arc<Endpoints>,
    /// Marked as sensitive.
    bearer: MetadataValue<Ascii>,
}

/// What one token-service lists.
struct Listed {
    projects: Vec<Project>,
    /// Of all there are.
    in_all: u32,
    /// Which it is.
    replica: String,
}

impl Operator {
    pub(super) fn new(endpoints: Arc<Endpoints>, bearer: MetadataValue<Ascii>) -> Self {
        Self { endpoints, bearer }
    }

    fn request<T>(&self, message: T, timeout: Duration) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.bearer.clone());
        request.set_timeout(timeout);
        request
    }

    /// Whether the service takes the token.
    ///
    /// # Errors
    /// It does not, or does not answer.
    pub async fn check(&self) -> Result<(), OperatorError> {
        let message = ListProjectsRequest {
            page_size: 1,
            ..Default::default()
        };
        let asked = self
            .endpoints
            .call_aside(|channel| self.list(channel, &message));
        let answer = asked.await.map_err(|status| refusal(&status));
        answer.map(|_| ())
    }

    fn list(
        &self,
        channel: Channel,
        message: &ListProjectsRequest,
    ) -> impl Future<Output = Result<Response<ListProjectsResponse>, Status>> + use<> {
        let call = self.request(message.clone(), TIMEOUT);
        let mut client = ProjectServiceClient::new(channel).max_decoding_message_size(LARGEST_PAGE);
        async move { client.list_projects(call).await }
    }

    /// The projects in the order of their ids, `most` of them at most, and how many there are; each
    /// with what all token-services that answer know of it.
    ///
    /// # Errors
    /// All refuse or do not answer; what the first says.
    pub async fn projects(&self, most: usize) -> Result<(Vec<Project>, u32), OperatorError> {
        let each = self.endpoints.each().await;
        let asked = each.into_iter().map(|channel| self.listed(channel, most));
        let mut asked: FuturesUnordered<_> = asked.collect();
        let mut known: Option<Listed> = None;
        let mut refused = None;
        let mut replicas = HashSet::new();
        let mut late = None;
        loop {
            let answer = match late {
                None => asked.next().await,
                Some(late) => tokio::time::timeout_at(late, asked.next())
                    .await
                    .unwrap_or_default(),
            };
            match answer {
                None => break,
                // Two addresses may be of one process.
                Some(Ok(listed)) if !replicas.insert(listed.replica.clone()) => {}
                Some(Ok(listed)) => match &mut known {
                    None => {
                        late = Some(Instant::now() + OTHERS);
                        known = Some(listed);
                    }
                    Some(known) => replicas::merge(&mut known.projects, listed.projects),
                },
                Some(Err(error)) => {
                    refused.get_or_insert(error);
                }
            }
        }
        match (known, refused) {
            (Some(known), _) => Ok((known.projects, known.in_all)),
            (None, Some(error)) => Err(error),
            (None, None) => Err(OperatorError::Away(NO_ADDRESS.to_owned())),
        }
    }

    /// What one of them lists.
    async fn listed(&self, channel: Channel, most: usize) -> Result<Listed, OperatorError> {
        let mut projects = Vec::new();
        let mut page_token = String::new();
        loop {
            let message = ListProjectsRequest {
                page_size: PAGE,
                page_token,
            };
            let asked = Endpoints::call_one(&channel, |channel| self.list(channel, &message));
            let page = asked.await.map_err(|status| refusal(&status))?;
            projects.extend(page.projects);
            page_token = page.next_page_token;
            if page_token.is_empty() || projects.len() >= most {
                projects.truncate(most);
                return Ok(Listed {
                    projects,
                    in_all: page.total_size,
                    replica: page.replica,
                });
            }
        }
    }

    /// Sums of the ledger.
    ///
    /// # Errors
    /// The service refuses or does not answer.
    pub async fn usage(
        &self,
        message: &QueryUsageRequest,
    ) -> Result<QueryUsageResponse, OperatorError> {
        let answer = self.endpoints.call_aside(|channel| {
            let call = self.request(message.clone(), TIMEOUT);
            async move { UsageServiceClient::new(channel).query_usage(call).await }
        });
        answer.await.map_err(|status| refusal(&status))
    }

    /// Takes a project out of the rotation, or puts it back.
    ///
    /// # Errors
    /// The service refuses or does not answer.
    pub async fn set_disabled(&self, id: &str, disabled: bool) -> Result<Project, OperatorError> {
        let message = UpdateProjectRequest {
            project: Some(Project {
                id: id.to_owned(),
                disabled,
                ..Default::default()
            }),
            update_mask: Some(prost_types::FieldMask {
                paths: vec!["disabled".to_owned()],
            }),
            ..Default::default()
        };
        let answer = self.endpoints.call_aside(|channel| {
            let call = self.request(message.clone(), TIMEOUT);
            async move {
                ProjectServiceClient::new(channel)
                    .update_project(call)
                    .await
            }
        });
        answer.await.map_err(|status| refusal(&status))
    }

    /// Refreshes a project's access token now, and has it tried again.
    ///
    /// # Errors
    /// The service refuses or does not answer; Google refuses.
    pub async fn refresh(&self, id: &str) -> Result<Project, OperatorError> {
        let message = RefreshProjectRequest { id: id.to_owned() };
        let answer = self.endpoints.call_aside(|channel| {
            let call = self.request(message.clone(), REFRESH_TIMEOUT);
            async move {
                ProjectServiceClient::new(channel)
                    .refresh_project(call)
                    .await
            }
        });
        answer.await.map_err(|status| refusal(&status))
    }
}

fn refusal(status: &Status) -> OperatorError {
    let ours = std::error::Error::source(status).is_some();
    match status.code() {
        Code::Unauthenticated => OperatorError::WrongToken,
        Code::PermissionDenied => OperatorError::GatewayToken,
        Code::DeadlineExceeded | Code::Cancelled => {
            OperatorError::Away("it took too long".to_owned())
        }
        // Nothing of the service's own: what is there is no token-service, or none of today.
        Code::Unimplemented => OperatorError::Away("something else answers there".to_owned()),
        Code::Unavailable | Code::Unknown | Code::Internal if ours => {
            let tls = tls::connection_failure(status);
            OperatorError::Away(tls.unwrap_or_else(|| status.message().to_owned()))
        }
        Code::Unavailable if status.message() == NO_ADDRESS => {
            OperatorError::Away(NO_ADDRESS.to_owned())
        }
        _ => OperatorError::Refused(status.message().to_owned()),
    }
}
