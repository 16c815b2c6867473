//! A whole world in one process: Google, a token-service, gateways, a client.

use std::{net::SocketAddr, time::Duration};

use antigravity_proto::v1::{self, project_service_client::ProjectServiceClient};
use antigravity_runtime::{clock::Clock, config::Environment, shutdown::Shutdown};
use fake_google::{Account, Action, Config as GoogleConfig, ErrorForm, ErrorName, Running};
use gateway::config::{Config, Defaults};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

pub(crate) const API_KEY: &str = "sk-planted-api-key";
pub(crate) const MODEL: &str = "gemini-2.5-flash";

pub(crate) struct World {
    pub(crate) google: Running,
    pub(crate) clock: Clock,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) token_service: Option<TokenService>,
    pub(crate) gateways: Vec<GatewayProcess>,
    pub(crate) client: reqwest::Client,
    token_address: SocketAddr,
    extra: Vec<(&'static str, String)>,
    media_guard: Option<gateway::media::Guard>,
}

pub(crate) struct TokenService {
    pub(crate) shutdown: Shutdown,
    task: JoinHandle<Result<(), token_service::Error>>,
}

impl TokenService {
    /// Whether it has ended unasked.
    pub(crate) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }
}

pub(crate) struct GatewayProcess {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    pub(crate) task: JoinHandle<Result<(), gateway::ServeError>>,
}

/// How a world differs from the usual: three projects of Code Assist, one gateway.
pub(crate) struct Setup {
    pub(crate) projects: Vec<(&'static str, &'static str)>,
    pub(crate) gateways: usize,
    pub(crate) google: GoogleConfig,
    pub(crate) environment: Vec<(&'static str, String)>,
    /// From where media may be fetched, if not from public addresses alone.
    pub(crate) media_guard: Option<gateway::media::Guard>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            projects: vec![
                ("p1", "antigravity"),
                ("p2", "antigravity"),
                ("p3", "antigravity"),
            ],
            gateways: 1,
            google: GoogleConfig::default(),
            environment: Vec::new(),
            media_guard: None,
        }
    }
}

impl Setup {
    pub(crate) fn projects(projects: &[(&'static str, &'static str)]) -> Self {
        Self {
            projects: projects.to_vec(),
            ..Self::default()
        }
    }

    pub(crate) async fn start(self) -> World {
        let mut google = self.google;
        google.accounts = self
            .projects
            .iter()
            .map(|(project, _)| Account::new(format!("1//planted-{project}"), *project))
            .collect();
        let google = Running::start(google, true).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), google.ca_pem().unwrap()).unwrap();
        let projects: Vec<Value> = self
            .projects
            .iter()
            .map(|(project, upstream)| {
                json!({"project_id": project, "refresh_token": format!("1//planted-{project}"),
                       "access_token": null, "expires_at": null, "upstream": upstream})
            })
            .collect();
        let file = json!({
            "oauth_config": {"client_id": fake_google::CLIENT_ID, "client_secret": fake_google::CLIENT_SECRET,
                             "token_url": format!("{}/token", google.base_url())},
            "projects": projects,
        });
        std::fs::write(folder.path().join("tokens.json"), file.to_string()).unwrap();
        let token_address = fake_google::unused_address().unwrap();
        let listener = TcpListener::bind(token_address).await.unwrap();
        let mut world = World {
            google,
            clock: Clock::movable(),
            folder,
            token_service: None,
            gateways: Vec::new(),
            client: reqwest_client(),
            token_address,
            extra: self.environment,
            media_guard: self.media_guard,
        };
        world.serve_tokens(listener);
        for _ in 0..self.gateways {
            world.add_gateway().await;
        }
        world
    }
}

fn reqwest_client() -> reqwest::Client {
    antigravity_runtime::tls::install_crypto_provider();
    reqwest::Client::builder()
        .pool_max_idle_per_host(64)
        .timeout(Duration::from_secs(60))
        // No request of these leaves the machine, and TLS needs no system's roots.
        .tls_certs_only([])
        .build()
        .unwrap()
}

impl World {
    fn environment(&self) -> Environment {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let tls = |(name, _): &(&str, String)| *name == "TOKEN_SERVICE_TLS_CERT_FILE";
        let scheme = if self.extra.iter().any(tls) {
            "https"
        } else {
            "http"
        };
        let mut pairs = vec![
            ("TOKENS_FILE", path("tokens.json")),
            (
                "DATABASE_URL",
                format!("sqlite://{}", path("data/tokens.db")),
            ),
            ("UPSTREAM_CA_FILE", path("ca.pem")),
            ("GATEWAY_TOKEN", "planted-gateway-token".to_owned()),
            ("ADMIN_TOKEN", "planted-admin-token".to_owned()),
            (
                "TOKEN_SERVICE_URL",
                format!("{scheme}://{}", self.token_address),
            ),
            ("API_KEYS", format!("tests={API_KEY}")),
            ("ANTIGRAVITY_BASE_URLS", self.google.base_url()),
            ("GEMINI_BASE_URL", self.google.base_url()),
            ("VERTEX_BASE_URL", self.google.base_url()),
            // As the tokens file says; keys of service accounts may name it then.
            (
                "OAUTH_TOKEN_URL",
                format!("{}/token", self.google.base_url()),
            ),
            ("PORT", "0".to_owned()),
            ("SHUTDOWN_DELAY", "0s".to_owned()),
            ("SHUTDOWN_GRACE", "5s".to_owned()),
        ];
        pairs.extend(self.extra.iter().cloned());
        Environment::of(pairs)
    }

    fn serve_tokens(&mut self, listener: TcpListener) {
        let mut config = token_service::Config::from_environment(&self.environment()).unwrap();
        config.clock = self.clock.clone();
        let shutdown = Shutdown::new();
        let task = tokio::spawn(token_service::serve(config, listener, shutdown.clone()));
        self.token_service = Some(TokenService { shutdown, task });
    }

    pub(crate) async fn add_gateway(&mut self) {
        self.add_gateway_with(|_| {}).await;
    }

    /// Adds a gateway in whose configuration something is what nobody can set.
    pub(crate) async fn add_gateway_with(&mut self, change: impl FnOnce(&mut Config)) {
        let mut config =
            Config::from_environment(&self.environment(), Defaults::default()).unwrap();
        config.clock = self.clock.clone();
        if let Some(guard) = self.media_guard {
            config.media_guard = guard;
        }
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let task = tokio::spawn(gateway::serve(config, listener, shutdown.clone()));
        self.gateways.push(GatewayProcess {
            address,
            shutdown,
            task,
        });
    }

    pub(crate) async fn stop_tokens(&mut self) {
        let TokenService { shutdown, task } = self.token_service.take().unwrap();
        shutdown.abort();
        task.await.unwrap().unwrap();
    }

    /// Ends the gateways, which hand their last reports in.
    pub(crate) async fn end_gateways(&mut self) {
        for gateway in self.gateways.drain(..) {
            gateway.shutdown.drain.cancel();
            gateway.task.await.unwrap().unwrap();
        }
    }

    /// A project as operators see it.
    pub(crate) async fn project(&self, id: &str) -> v1::Project {
        let request = as_operator(v1::GetProjectRequest { id: id.to_owned() });
        let mut client = self.operators().await;
        client.get_project(request).await.unwrap().into_inner()
    }

    /// Adds a project.
    pub(crate) async fn create(&self, request: v1::CreateProjectRequest) {
        let request = as_operator(request);
        let mut client = self.operators().await;
        client.create_project(request).await.unwrap();
    }

    /// Changes what the mask names.
    pub(crate) async fn update(&self, mut request: v1::UpdateProjectRequest, paths: &[&str]) {
        request.update_mask = Some(prost_types::FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        });
        let mut client = self.operators().await;
        client.update_project(as_operator(request)).await.unwrap();
    }

    /// Takes a project out of the rotation, or puts it back.
    pub(crate) async fn set_disabled(&self, id: &str, disabled: bool) {
        let request = as_operator(v1::UpdateProjectRequest {
            project: Some(v1::Project {
                id: id.to_owned(),
                disabled,
                ..Default::default()
            }),
            update_mask: Some(prost_types::FieldMask {
                paths: vec!["disabled".to_owned()],
            }),
            ..Default::default()
        });
        self.operators()
            .await
            .update_project(request)
            .await
            .unwrap();
    }

    async fn operators(&self) -> ProjectServiceClient<tonic::transport::Channel> {
        let url = format!("http://{}", self.token_address);
        let channel = tonic::transport::Endpoint::from_shared(url)
            .unwrap()
            .connect()
            .await
            .unwrap();
        ProjectServiceClient::new(channel)
    }

    pub(crate) async fn restart_tokens(&mut self) {
        let listener = loop {
            match TcpListener::bind(self.token_address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        self.serve_tokens(listener);
    }

    /// Sets a variable of the services that are started from now on.
    pub(crate) fn set(&mut self, name: &'static str, value: String) {
        self.extra.push((name, value));
    }

    pub(crate) fn token_address(&self) -> SocketAddr {
        self.token_address
    }

    pub(crate) fn url(&self, gateway: usize, path: &str) -> String {
        format!("http://{}{path}", self.gateways[gateway].address)
    }

    pub(crate) async fn chat(&self, body: &Value) -> Answer {
        self.chat_on(0, body).await
    }

    pub(crate) async fn chat_on(&self, gateway: usize, body: &Value) -> Answer {
        let response = self
            .client
            .post(self.url(gateway, "/v1/chat/completions"))
            .bearer_auth(API_KEY)
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .unwrap();
        Answer::of(response).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = self.client.get(self.url(0, path)).bearer_auth(API_KEY);
        Answer::of(request.send().await.unwrap()).await
    }

    /// How often each project was asked to generate.
    pub(crate) fn asked(&self, project: &str) -> u64 {
        self.google.fake().counters().project(project)
    }

    /// Calls of one project's refresh token at the OAuth endpoint.
    pub(crate) fn refreshes(&self, project: &str) -> u64 {
        let token = format!("1//planted-{project}");
        self.google.fake().counters().refreshes(&token).calls
    }
}

fn as_operator<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let bearer = "Bearer planted-admin-token".parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    request
}

/// An HTTP answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.text().await.unwrap(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The text of a whole answer.
    pub(crate) fn content(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.body);
        let json = self.json();
        json["choices"][0]["message"]["content"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// The chunks of a stream, and whether it ended with `[DONE]`.
    pub(crate) fn chunks(&self) -> (Vec<Value>, bool) {
        let events: Vec<&str> = self
            .body
            .split("\n\n")
            .filter_map(|event| event.strip_prefix("data: "))
            .collect();
        let done = events.last() == Some(&"[DONE]");
        let chunks = events
            .iter()
            .filter(|event| **event != "[DONE]")
            .map(|event| serde_json::from_str(event).unwrap());
        (chunks.collect(), done)
    }

    /// The text of a stream.
    pub(crate) fn streamed(&self) -> String {
        let (chunks, _) = self.chunks();
        let texts = chunks
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
        texts.collect()
    }
}

/// One of Google's errors, with what it says about when to come back.
pub(crate) fn error(error: ErrorName, retry_after: Option<f64>) -> Action {
    Action::Error {
        error,
        form: ErrorForm::Object,
        retry_after,
    }
}

pub(crate) fn hello() -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]})
}

pub(crate) fn with(mut body: Value, key: &str, value: Value) -> Value {
    body[key] = value;
    body
}

/// Waits for something that comes by itself, and not long.
pub(crate) async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if check() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 20 s: {what}");
}
