//! Everything an operator can set on the gateway, read once.

mod variables;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use ::http::HeaderMap;
use antigravity_runtime::{
    clock::Clock,
    config::{self, ConfigError, Environment, Var, parsed},
    secret, telemetry,
    tls::{ClientFiles, Connector, ServerFiles},
    variables::{
        ANTIGRAVITY_BASE_URLS, CONNECT_TIMEOUT, GATEWAY_TOKEN, GATEWAY_TOKEN_FILE, GEMINI_BASE_URL,
        LOG_FORMAT, LOG_LEVEL, TOKEN_SERVICE_CA_FILE, TOKEN_SERVICE_CLIENT_CERT_FILE,
        TOKEN_SERVICE_CLIENT_KEY_FILE, UPSTREAM_CA_FILE, UPSTREAM_HEADERS, VERTEX_BASE_URL,
    },
};
use antigravity_traces::settings::Settings as Traces;
use secrecy::SecretString;

pub use self::variables::VARS;
use self::variables::{
    ADMIN_LISTEN, AFFINITY, API_KEYS, BODY_TIMEOUT, CORS_ALLOW_ORIGINS, DEFAULT_STREAM,
    FETCH_REMOTE_MEDIA, FIRST_BYTE_TIMEOUT, HANG_UP_DRAIN, HOST, IDLE_TIMEOUT, KEEPALIVE_INTERVAL,
    MAX_ATTEMPTS, MAX_BODY_BYTES, MAX_CONCURRENT_REQUESTS, MAX_CONCURRENT_REQUESTS_PER_KEY, PORT,
    REQUEST_LOG, REQUEST_LOG_BODIES, REQUEST_LOG_BUDGET, REQUEST_LOG_MAX_BYTES, REQUEST_TIMEOUT,
    SHUTDOWN_DELAY, SHUTDOWN_GRACE, SIGNATURE_ID_LIMIT, STRICT_PARAMS, TLS_CERT_FILE, TLS_KEY_FILE,
    TOKEN_SERVICE_URL, TRACE_CONTEXT_TO_GOOGLE, WRITE_TIMEOUT,
};
use crate::{api_keys::ApiKeys, http::Cors, limits::Most, media, request_log};

/// The gateway's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The keys that clients may use.
    pub api_keys: ApiKeys,
    /// Where clients reach it.
    pub listen: SocketAddr,
    /// Where the status page and `/metrics` are, and the probes besides; `None`: nowhere.
    pub admin_listen: Option<SocketAddr>,
    /// The certificate that listeners show; `None`: they speak no TLS.
    pub tls: Option<ServerFiles>,
    /// Where the token-service is.
    pub token_service_urls: Vec<String>,
    /// How it is spoken to where it speaks TLS.
    pub token_service_tls: Connector,
    /// What the token-service asks of gateways.
    pub gateway_token: SecretString,
    /// Where Google is.
    pub upstreams: Upstreams,
    /// How requests are read.
    pub requests: translate::chat::request::Options,
    /// Which addresses media are fetched from; tests let their own in.
    pub media_guard: media::Guard,
    /// The longest tool call id that carries a thought signature, in characters.
    pub signature_id_limit: usize,
    /// Whether a conversation stays with its project.
    pub affinity: bool,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Requests to Google for one request of a client, at most.
    pub max_attempts: usize,
    /// The largest body of a request, in bytes.
    pub max_body_bytes: usize,
    /// Requests at once, at most.
    pub most: Most,
    /// Whose pages may ask from a browser.
    pub cors: Cors,
    /// How long the listener stays open after it was asked to end.
    pub shutdown_delay: Duration,
    /// How long running requests may go on after that.
    pub shutdown_grace: Duration,
    /// How long an answer is read on whose client has hung up.
    pub hang_up_drain: Duration,
    /// Where requests are logged; `None`: in log lines alone.
    pub request_log: Option<request_log::Settings>,
    /// Where traces go; `None`: there are none.
    pub traces: Option<Traces>,
    /// The time; tests move it.
    pub clock: Clock,
}

/// Where Google is, and what to tell it.
#[derive(Clone, Debug)]
pub struct Upstreams {
    /// Hosts of the Cloud Code API, in the order of trying.
    pub antigravity: Vec<String>,
    /// Host of the Gemini API.
    pub gemini: String,
    /// Host of Vertex AI; `None`: Google's host of each location.
    pub vertex: Option<String>,
    /// Extra headers.
    pub headers: HeaderMap,
    /// Certificate authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether Google is told which trace a request belongs to.
    pub trace_context: bool,
}

impl Default for Upstreams {
    fn default() -> Self {
        let hosts = ANTIGRAVITY_BASE_URLS.default.split(',');
        Self {
            antigravity: hosts.map(str::to_owned).collect(),
            gemini: GEMINI_BASE_URL.default.to_owned(),
            vertex: None,
            headers: HeaderMap::new(),
            ca_file: None,
            trace_context: false,
        }
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// A connection to Google.
    pub connect: Duration,
    /// The first event of a stream, per attempt.
    pub first_byte: Duration,
    /// Between two reads of a stream.
    pub idle: Duration,
    /// A whole unary answer, and all attempts until a stream's first event.
    pub request: Duration,
    /// Between two reads of a client's body.
    pub body: Duration,
    /// For a client to take something of its answer.
    pub write: Duration,
    /// Silence after which a stream gets a comment.
    pub keepalive: Duration,
    /// Silence on an HTTP/2 connection to Google after which Google is asked whether it is
    /// still there.
    pub ping: Duration,
    /// For its answer; then the connection is given up, with all its streams.
    pub pong: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(120),
            idle: Duration::from_secs(120),
            request: Duration::from_secs(600),
            body: Duration::from_secs(30),
            write: Duration::from_secs(30),
            keepalive: Duration::from_secs(15),
            ping: Duration::from_secs(15),
            pong: Duration::from_secs(10),
        }
    }
}

/// How log lines look, which `main` needs before everything else.
#[derive(Clone, Debug)]
pub struct Logging {
    /// For people or for machines.
    pub format: telemetry::Format,
    /// Which lines.
    pub level: telemetry::Level,
}

impl Logging {
    /// Reads `LOG_FORMAT` and `LOG_LEVEL`.
    ///
    /// # Errors
    /// A value that is neither.
    pub fn from_environment(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            format: environment.required(&LOG_FORMAT, parsed("text, pretty or json"))?,
            level: environment.required(
                &LOG_LEVEL,
                parsed("one of error, warn, info, debug, trace or a filter"),
            )?,
        })
    }
}

/// What is known without asking the operator.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// The key that was made at the first start.
    pub api_key: Option<SecretString>,
    /// The gateways' token that was made at the first start.
    pub gateway_token: Option<SecretString>,
    /// Where the token-service of this process listens.
    pub token_service_url: Option<String>,
}

/// The file, beside the database, of the API key that is made at the first start.
pub const API_KEY_FILE: &str = "api_key";

impl Defaults {
    /// Those of a gateway on its own: the secrets that a first start has left in `folder`,
    /// and that are not set otherwise.
    ///
    /// # Errors
    /// A file that is there and cannot be read, or is empty.
    pub fn from_folder(environment: &Environment, folder: &Path) -> Result<Self, ConfigError> {
        let kept = |var: &Var, file: &str| match environment.raw(var)? {
            Some(_) => Ok(None),
            None => Ok::<_, ConfigError>(secret::read(&folder.join(file))?),
        };
        Ok(Self {
            api_key: kept(&API_KEYS, API_KEY_FILE)?,
            gateway_token: kept(&GATEWAY_TOKEN, GATEWAY_TOKEN_FILE)?,
            token_service_url: None,
        })
    }
}

impl Config {
    /// Reads it; what is not set comes from `defaults` where they have it.
    ///
    /// # Errors
    /// A value that is missing or cannot be used, named.
    pub fn from_environment(
        environment: &Environment,
        defaults: Defaults,
    ) -> Result<Self, ConfigError> {
        let host: String = environment.required(&HOST, |text| Ok(text.to_owned()))?;
        let port: u16 = environment.required(&PORT, parsed("a port from 0 to 65535"))?;
        let listen = resolve(&host, port)
            .map_err(|problem| environment.invalid(&HOST, format!("{host:?} {problem}")))?;
        let api_keys = match environment.read(&API_KEYS, ApiKeys::parse)? {
            Some(keys) => keys,
            None => match defaults.api_key {
                Some(key) => ApiKeys::single("default", key),
                None => {
                    return Err(ConfigError::Missing {
                        name: API_KEYS.name.to_owned(),
                        remedy: "set it, or API_KEYS_FILE, to the keys that clients may use, such \
                                 as API_KEYS='[\"<a long random text>\"]' (there is no \
                                 data/api_key either)"
                            .to_owned(),
                    });
                }
            },
        };
        if !listen.ip().is_loopback()
            && let Some(sample) = api_keys.sample()
        {
            return Err(environment.invalid(
                &API_KEYS,
                format!(
                    "the sample key {sample:?} is public, and HOST={host} lets others in; set a \
                     key of your own, or HOST=127.0.0.1"
                ),
            ));
        }
        let gateway_token = match environment.secret(&GATEWAY_TOKEN)? {
            Some(token) => token,
            None => defaults.gateway_token.ok_or_else(|| ConfigError::Missing {
                name: GATEWAY_TOKEN.name.to_owned(),
                remedy: "set it, or GATEWAY_TOKEN_FILE, to the token-service's (it keeps one in \
                         gateway_token beside its database; there is no data/gateway_token here)"
                    .to_owned(),
            })?,
        };
        let token_service_urls = match (
            environment.raw(&TOKEN_SERVICE_URL)?,
            defaults.token_service_url,
        ) {
            (None, Some(url)) => vec![url],
            _ => environment.required(&TOKEN_SERVICE_URL, config::base_urls)?,
        };
        let duration = |var| environment.required(var, config::duration);
        let affinity = environment.required(&AFFINITY, config::boolean)?;
        let limit = |var| environment.required(var, config::positive_duration);
        Ok(Self {
            api_keys,
            listen,
            admin_listen: environment
                .read(&ADMIN_LISTEN, parsed("an address such as 127.0.0.1:9090"))?,
            tls: ServerFiles::from_environment(environment, &TLS_CERT_FILE, &TLS_KEY_FILE, None)?,
            token_service_urls,
            token_service_tls: Connector::new(ClientFiles::from_environment(
                environment,
                &TOKEN_SERVICE_CA_FILE,
                &TOKEN_SERVICE_CLIENT_CERT_FILE,
                &TOKEN_SERVICE_CLIENT_KEY_FILE,
            )?),
            gateway_token,
            upstreams: Upstreams {
                antigravity: environment.required(&ANTIGRAVITY_BASE_URLS, config::base_urls)?,
                gemini: environment.required(&GEMINI_BASE_URL, config::base_url)?,
                vertex: environment.read(&VERTEX_BASE_URL, config::base_url)?,
                headers: environment
                    .read(&UPSTREAM_HEADERS, config::header_map)?
                    .unwrap_or_default(),
                ca_file: environment.read(&UPSTREAM_CA_FILE, |text| Ok(text.into()))?,
                trace_context: environment.required(&TRACE_CONTEXT_TO_GOOGLE, config::boolean)?,
            },
            requests: translate::chat::request::Options {
                default_stream: environment.required(&DEFAULT_STREAM, config::boolean)?,
                strict_params: environment.required(&STRICT_PARAMS, config::boolean)?,
                fetch_remote_media: environment.required(&FETCH_REMOTE_MEDIA, config::boolean)?,
                affinity,
            },
            media_guard: media::is_public,
            signature_id_limit: environment
                .required(&SIGNATURE_ID_LIMIT, parsed("a number of characters"))?,
            affinity,
            timeouts: Timeouts {
                connect: limit(&CONNECT_TIMEOUT)?,
                first_byte: limit(&FIRST_BYTE_TIMEOUT)?,
                idle: limit(&IDLE_TIMEOUT)?,
                request: limit(&REQUEST_TIMEOUT)?,
                body: limit(&BODY_TIMEOUT)?,
                write: limit(&WRITE_TIMEOUT)?,
                keepalive: limit(&KEEPALIVE_INTERVAL)?,
                ..Timeouts::default()
            },
            max_attempts: environment.required(&MAX_ATTEMPTS, attempts)?,
            max_body_bytes: environment.required(&MAX_BODY_BYTES, body_limit)?,
            most: Most {
                in_all: environment.read(&MAX_CONCURRENT_REQUESTS, at_least_one)?,
                per_key: environment.read(&MAX_CONCURRENT_REQUESTS_PER_KEY, at_least_one)?,
            },
            cors: environment
                .read(&CORS_ALLOW_ORIGINS, Cors::parse)?
                .unwrap_or_default(),
            shutdown_delay: duration(&SHUTDOWN_DELAY)?,
            shutdown_grace: duration(&SHUTDOWN_GRACE)?,
            hang_up_drain: duration(&HANG_UP_DRAIN)?,
            request_log: request_log(environment)?,
            traces: Traces::from_environment(environment)?,
            clock: Clock::system(),
        })
    }
}

fn request_log(environment: &Environment) -> Result<Option<request_log::Settings>, ConfigError> {
    /// Enough for a line without bodies, however long its names are.
    const LEAST: u64 = 64 << 10;
    let bodies = environment.required(&REQUEST_LOG_BODIES, config::boolean)?;
    let file_bytes = environment.required(&REQUEST_LOG_MAX_BYTES, |text| {
        match config::bytes(text)? as u64 {
            ..LEAST => Err("is less than 64KiB, and lines may be long".to_owned()),
            enough => Ok(enough),
        }
    })?;
    let budget = environment.required(&REQUEST_LOG_BUDGET, |text| {
        let budget = config::bytes(text)? as u64;
        if budget < file_bytes {
            return Err(format!(
                "is less than one file has, {file_bytes} bytes (REQUEST_LOG_MAX_BYTES)"
            ));
        }
        Ok(budget)
    })?;
    let folder = environment.read(&REQUEST_LOG, |text| Ok(PathBuf::from(text)))?;
    Ok(folder.map(|folder| request_log::Settings {
        folder,
        bodies,
        file_bytes,
        budget,
    }))
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    use std::net::ToSocketAddrs as _;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (host, port)
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .ok_or_else(|| "is not an address to listen on, such as 127.0.0.1 or 0.0.0.0".to_owned())
}

fn body_limit(text: &str) -> Result<usize, String> {
    match config::bytes(text)? {
        0 => Err("is nothing; give a size such as 32MiB".to_owned()),
        some => Ok(some),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err("is not a number from 1 on; leave it unset for no limit".to_owned()),
    }
}

fn attempts(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(attempts @ 1..=100) => Ok(attempts),
        _ => Err("is not a number from 1 to 100".to_owned()),
    }
}
