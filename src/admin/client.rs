//! The gRPC client of the operators' commands: which token-service it talks to, with
//! which token, and the one in this process when none is running.

use std::{io, net::SocketAddr, path::PathBuf};

use antigravity_proto::v1::{ListProjectsRequest, project_service_client::ProjectServiceClient};
use secrecy::{ExposeSecret as _, SecretString};
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

/// Why a token-service cannot be asked, or refuses.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The token has characters that no header can carry.
    #[error("ADMIN_TOKEN has characters that no header can carry")]
    Token,
    /// `TOKEN_SERVICE_URL` is none.
    #[error("TOKEN_SERVICE_URL {url:?} is not an address such as http://127.0.0.1:50051")]
    Url { url: String },
    /// Nobody listens there.
    #[error(
        "the token-service at {url} (TOKEN_SERVICE_URL) does not answer: {source}; start it, or unset TOKEN_SERVICE_URL to use the database of this machine"
    )]
    Unreachable {
        url: String,
        source: tonic::transport::Error,
    },
    /// It runs, and nothing tells which token it wants.
    #[error(
        "a token-service runs at {url}, but there is no admin token: set ADMIN_TOKEN or \
         ADMIN_TOKEN_FILE, or go where its {} is",
        path.display()
    )]
    NoToken { url: String, path: PathBuf },
    /// The database is in memory, so that there is nothing to open.
    #[error(
        "no token-service runs at {address}, and DATABASE_URL names a database in memory, which \
         ends with its process; start `antigravity-gateway serve`, or set TOKEN_SERVICE_URL"
    )]
    NothingToOpen { address: SocketAddr },
    /// The token is another one.
    #[error(
        "the token-service does not accept this admin token ({origin}): set ADMIN_TOKEN to the one \
         that it was started with, or to what its admin_token file holds"
    )]
    WrongToken { origin: String },
    /// It refuses.
    #[error("{}", told(.0))]
    Refused(Box<Status>),
    /// A port for the service in this process cannot be had.
    #[error("cannot open a port on this machine: {0}")]
    Port(#[from] io::Error),
}

fn told(status: &Status) -> String {
    match status.code() {
        Code::Unavailable | Code::Internal | Code::Unknown => {
            format!("the token-service failed: {}", status.message())
        }
        _ => status.message().to_owned(),
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
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

/// Calls one token-service as its operator.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) service: ProjectServiceClient<InterceptedService<Channel, Bearer>>,
}

impl Client {
    /// A client of the service at `address`; connects with its first call.
    ///
    /// # Errors
    /// A token that no header can carry.
    pub(crate) fn to(address: SocketAddr, token: &SecretString) -> Result<Self, Error> {
        let url = format!("http://{address}");
        let endpoint = Endpoint::from_shared(url.clone()).map_err(|_| Error::Url { url })?;
        Self::over(endpoint.connect_lazy(), token)
    }

    fn over(channel: Channel, token: &SecretString) -> Result<Self, Error> {
        let mut bearer: MetadataValue<Ascii> = format!("Bearer {}", token.expose_secret())
            .parse()
            .map_err(|_| Error::Token)?;
        bearer.set_sensitive(true);
        Ok(Self {
            service: ProjectServiceClient::with_interceptor(channel, Bearer(bearer)),
        })
    }

    /// How many projects there are.
    ///
    /// # Errors
    /// When the service refuses.
    pub(crate) async fn count_projects(&mut self) -> Result<u32, Error> {
        let request = ListProjectsRequest {
            page_size: 1,
            ..Default::default()
        };
        let answer = self.service.list_projects(request).await?;
        Ok(answer.into_inner().total_size)
    }
}
