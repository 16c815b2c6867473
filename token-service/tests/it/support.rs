//! Starts services and the offline Google that they refresh at.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use antigravity_proto::v1::{
    self, database_service_client::DatabaseServiceClient,
    project_service_client::ProjectServiceClient, token_service_client::TokenServiceClient,
    usage_service_client::UsageServiceClient,
};
use antigravity_runtime::{clock::Clock, config::Environment, shutdown::Shutdown};
use fake_google::{Account, Action, CLIENT_ID, CLIENT_SECRET, FakeGoogle, Fault};
use serde_json::{Value, json};
use tempfile::TempDir;
use token_service::{Config, Error, config::TokensFileSource, serve};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{
    Request, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

pub(crate) const GATEWAY_TOKEN: &str = "gateway-token-of-the-tests";
pub(crate) const ADMIN_TOKEN: &str = "admin-token-of-the-tests";
pub(crate) const ENCRYPTION_KEY: &str = "dGhlIGtleSBvZiB0aGUgdGVzdHMsIDMyIGJ5dGVzISE=";

pub(crate) use crate::postgres;

pub(crate) type TokensClient = TokenServiceClient<InterceptedService<Channel, Bearer>>;
pub(crate) type DatabaseClient = DatabaseServiceClient<InterceptedService<Channel, Bearer>>;
pub(crate) type UsageClient = UsageServiceClient<InterceptedService<Channel, Bearer>>;
pub(crate) type ProjectsClient = ProjectServiceClient<InterceptedService<Channel, Bearer>>;

/// Sends a bearer token with each request; an empty one is not sent.
#[derive(Clone)]
pub(crate) struct Bearer(pub(crate) String);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if !self.0.is_empty() {
            let value = format!("Bearer {}", self.0).parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

/// An offline Google with as many accounts, which the services of a test share.
pub(crate) async fn google(accounts: usize) -> fake_google::Running {
    google_with(fake_google::Config::with_accounts(accounts)).await
}

pub(crate) async fn google_with(config: fake_google::Config) -> fake_google::Running {
    fake_google::Running::start(config, false).await.unwrap()
}

/// Calls of the token endpoint with the refresh token of account `n`.
pub(crate) fn refreshes(google: &FakeGoogle, n: usize) -> u64 {
    let token = Account::numbered(n).refresh_token;
    let name = fake_google::fingerprint(&token);
    let counters = google.counters();
    let of_token = counters.oauth.by_refresh_token.get(&name);
    of_token.map_or(0, |refreshes| refreshes.calls)
}

/// A tokens file with the accounts `numbers`, without access tokens.
pub(crate) fn tokens_json(numbers: impl IntoIterator<Item = usize>) -> Value {
    tokens_json_of(numbers.into_iter().map(entry))
}

pub(crate) fn tokens_json_of(entries: impl IntoIterator<Item = Value>) -> Value {
    json!({
        "oauth_config": {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET},
        "projects": entries.into_iter().collect::<Vec<_>>(),
    })
}

pub(crate) fn entry(number: usize) -> Value {
    let account = Account::numbered(number);
    json!({
        "project_id": account.projects[0],
        "refresh_token": account.refresh_token,
        "access_token": null,
        "expires_at": null,
    })
}

/// Where a service keeps its things; survives its restarts.
pub(crate) struct Home {
    pub(crate) folder: TempDir,
    pub(crate) clock: Clock,
    pub(crate) token_url: String,
    /// In PostgreSQL, where that is tested.
    pub(crate) postgres: Option<postgres::Database>,
}

impl Home {
    pub(crate) fn new(google: &fake_google::Running) -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            clock: Clock::movable(),
            token_url: format!("{}/token", google.base_url()),
            postgres: postgres::Database::create(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Of the database in PostgreSQL, where that is tested.
    pub(crate) fn postgres_url(&self) -> &str {
        let database = self.postgres.as_ref();
        &database.expect("TEST_DATABASE_URL is set").url
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path("data/tokens.db")
    }

    pub(crate) fn tokens_file(&self) -> PathBuf {
        self.path("tokens.json")
    }

    pub(crate) fn write_tokens(&self, file: &Value) {
        let text = serde_json::to_string_pretty(file).unwrap();
        std::fs::write(self.tokens_file(), text).unwrap();
    }

    fn google(&self, path: &str) -> String {
        format!("{}{path}", self.token_url.trim_end_matches("/token"))
    }

    /// The variables of a service here.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let file = format!("sqlite://{}", self.database().display());
        let database = match &self.postgres {
            None => vec![("DATABASE_URL", file)],
            Some(postgres) => vec![
                ("DATABASE_URL", postgres.url.clone()),
                ("ENCRYPTION_KEY", ENCRYPTION_KEY.to_owned()),
            ],
        };
        let others = vec![
            ("TOKENS_FILE", self.tokens_file().display().to_string()),
            ("GATEWAY_TOKEN", GATEWAY_TOKEN.to_owned()),
            ("ADMIN_TOKEN", ADMIN_TOKEN.to_owned()),
            ("OAUTH_TOKEN_URL", self.token_url.clone()),
            ("ANTIGRAVITY_BASE_URLS", self.google("")),
            ("OAUTH_AUTH_URL", self.google("/o/oauth2/v2/auth")),
            ("OAUTH_USERINFO_URL", self.google("/oauth2/v2/userinfo")),
            ("GEMINI_BASE_URL", self.google("")),
            ("VERTEX_BASE_URL", self.google("")),
            ("TOKEN_SERVICE_LISTEN", "127.0.0.1:0".to_owned()),
        ];
        database.into_iter().chain(others).collect()
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = Config::from_environment(&Environment::of(self.variables())).unwrap();
        config.tokens_file = Some(TokensFileSource {
            path: self.tokens_file(),
            required: false,
        });
        config.clock = self.clock.clone();
        config
    }

    pub(crate) async fn start(&self) -> Service {
        Service::start(self.config()).await
    }

    /// Starts a service that must not start.
    pub(crate) async fn refused(&self) -> Error {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        serve(self.config(), listener, Shutdown::new())
            .await
            .expect_err("it has started")
    }
}

/// A service in this process.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), Error>>,
}

impl Service {
    pub(crate) async fn start(config: Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let task = tokio::spawn(serve(config, listener, shutdown.clone()));
        Self {
            address,
            shutdown,
            task,
        }
    }

    /// Ends it as SIGTERM does.
    pub(crate) async fn stop(self) {
        self.shutdown.drain.cancel();
        self.task.await.unwrap().unwrap();
    }

    pub(crate) async fn tokens(&self) -> TokensClient {
        self.tokens_as(GATEWAY_TOKEN).await
    }

    pub(crate) async fn tokens_as(&self, token: &str) -> TokensClient {
        let channel = channel(self.address).await;
        TokenServiceClient::with_interceptor(channel, Bearer(token.to_owned()))
    }

    pub(crate) async fn database(&self) -> DatabaseClient {
        let channel = channel(self.address).await;
        DatabaseServiceClient::with_interceptor(channel, Bearer(ADMIN_TOKEN.to_owned()))
    }

    pub(crate) async fn usage(&self) -> UsageClient {
        let channel = channel(self.address).await;
        UsageServiceClient::with_interceptor(channel, Bearer(ADMIN_TOKEN.to_owned()))
    }

    pub(crate) async fn projects(&self) -> ProjectsClient {
        self.projects_as(ADMIN_TOKEN).await
    }

    pub(crate) async fn projects_as(&self, token: &str) -> ProjectsClient {
        let channel = channel(self.address).await;
        ProjectServiceClient::with_interceptor(channel, Bearer(token.to_owned()))
    }
}

/// The listener is bound before the service starts, so that connecting waits for it.
pub(crate) async fn channel(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

pub(crate) fn wanted(count: u32) -> v1::AcquireTokensRequest {
    v1::AcquireTokensRequest {
        count: Some(count),
        ..Default::default()
    }
}

/// Acquires and tells the numbers of the accounts that were dealt, in order.
pub(crate) async fn dealt(client: &mut TokensClient, request: v1::AcquireTokensRequest) -> String {
    let answer = client.acquire_tokens(request).await.unwrap().into_inner();
    numbers(&answer.turns)
}

pub(crate) fn numbers(turns: &[v1::Turn]) -> String {
    let number = |turn: &v1::Turn| {
        let id = &turn.token.as_ref().unwrap().project_id;
        id.trim_start_matches("fake-project-").to_owned()
    };
    turns.iter().map(number).collect::<Vec<_>>().join(" ")
}

/// Acquires one turn and returns its token.
pub(crate) async fn one_token(client: &mut TokensClient) -> v1::AccessToken {
    let answer = client.acquire_tokens(wanted(1)).await.unwrap().into_inner();
    let turn = answer.turns.into_iter().next().unwrap();
    turn.token.unwrap()
}

/// What a gateway reports of a request to the first project.
pub(crate) fn report(id: &str, outcome: v1::Outcome) -> v1::OutcomeReport {
    let millis = |millis: i32| prost_types::Duration {
        seconds: 0,
        nanos: millis * 1_000_000,
    };
    v1::OutcomeReport {
        outcome_id: id.to_owned(),
        project_id: "fake-project-1".to_owned(),
        outcome: outcome.into(),
        model: "gemini-2.5-flash".to_owned(),
        api_key_name: "ann".to_owned(),
        usage: Some(v1::Usage {
            prompt_tokens: 100,
            candidates_tokens: 20,
            thoughts_tokens: 5,
            cached_tokens: 40,
            tool_use_prompt_tokens: 3,
            total_tokens: 128,
        }),
        first_event: Some(millis(200)),
        duration: Some(millis(900)),
        ..Default::default()
    }
}

pub(crate) async fn project(client: &mut ProjectsClient, id: &str) -> v1::Project {
    let request = v1::GetProjectRequest { id: id.to_owned() };
    client.get_project(request).await.unwrap().into_inner()
}

pub(crate) async fn ids(client: &mut ProjectsClient) -> Vec<String> {
    let answer = client
        .list_projects(v1::ListProjectsRequest::default())
        .await
        .unwrap();
    let projects = answer.into_inner().projects;
    projects.into_iter().map(|project| project.id).collect()
}

/// Changes one project as the mask says.
pub(crate) async fn update(
    client: &mut ProjectsClient,
    project: v1::Project,
    refresh_token: &str,
    paths: &[&str],
) -> Result<v1::Project, Status> {
    let request = v1::UpdateProjectRequest {
        project: Some(project),
        refresh_token: refresh_token.to_owned(),
        update_mask: Some(prost_types::FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
        ..Default::default()
    };
    client
        .update_project(request)
        .await
        .map(tonic::Response::into_inner)
}

pub(crate) async fn set_disabled(client: &mut ProjectsClient, id: &str, disabled: bool) {
    let project = v1::Project {
        id: id.to_owned(),
        disabled,
        ..Default::default()
    };
    update(client, project, "", &["disabled"]).await.unwrap();
}

/// Polls until `holds`, and fails after ten seconds.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within ten seconds: {what}");
}

/// A Google with one account per entry, whose refresh tokens rotate.
pub(crate) async fn rotating_google(accounts: usize) -> fake_google::Running {
    google_with(fake_google::Config {
        rotate_refresh_tokens: true,
        ..fake_google::Config::with_accounts(accounts)
    })
    .await
}

/// What a file holds, as text; empty when it is not there.
pub(crate) fn lossy(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The state behind a running Google.
pub(crate) fn fake(google: &fake_google::Running) -> Arc<FakeGoogle> {
    Arc::clone(google.fake())
}

/// An answer of the token endpoint, as it is.
pub(crate) fn raw(status: u16, body: &str) -> Action {
    Action::Raw {
        status,
        content_type: "application/json".into(),
        body: body.into(),
    }
}

/// Meets every refresh of account `number`.
pub(crate) fn at_refresh(number: usize, action: Action) -> Fault {
    Fault::always(action).refresh_token(Account::numbered(number).refresh_token)
}

/// Delays a refresh of the first account, once.
pub(crate) fn slow(before_commit_ms: u64, before_headers_ms: u64) -> Fault {
    Fault::once(Action::Delay {
        before_commit_ms,
        before_headers_ms,
        before_first_event_ms: 0,
        between_events_ms: 0,
    })
    .refresh_token(Account::numbered(1).refresh_token)
}
