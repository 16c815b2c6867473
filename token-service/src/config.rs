//! Everything an operator can set for this service. Read once, in `main`.

mod database;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use antigravity_runtime::{
    clock::Clock,
    config::{
        ConfigError, Environment, Var, base_url, base_urls, duration, header_map, parsed,
        positive_duration,
    },
    secret, telemetry,
    tls::ServerFiles,
    variables::{
        ANTIGRAVITY_BASE_URLS, CONNECT_TIMEOUT, GATEWAY_TOKEN, GEMINI_BASE_URL, LOG_FORMAT,
        LOG_LEVEL, UPSTREAM_CA_FILE, UPSTREAM_HEADERS, VERTEX_BASE_URL,
    },
};
use antigravity_traces::settings::{self as traces, Settings as Traces};
use http::HeaderMap;
use secrecy::{ExposeSecret as _, SecretString};

pub use self::database::{Database, DatabaseError, Servers};
use crate::{project::Upstream, seal::Keyring};

const TOKENS_FILE: Var = Var {
    name: "TOKENS_FILE",
    default: "data/tokens.json",
    help: "Projects to import at the start. It is only read. May be missing unless it is set.",
    secret: false,
};
const DATABASE_URL: Var = Var {
    name: "DATABASE_URL",
    default: "sqlite://data/tokens.db",
    help: "Where projects and tokens are kept: sqlite://PATH. File and folder are made when \
           they are missing, and secrets that are not set are kept beside the file. Or \
           postgres://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full, which several \
           token-services may share; ENCRYPTION_KEY, GATEWAY_TOKEN and ADMIN_TOKEN have to be \
           set then, the same for all.",
    secret: true,
};
const DATABASE_CONNECTIONS: Var = Var {
    name: "DATABASE_CONNECTIONS",
    default: "4",
    help: "Connections to PostgreSQL that a token-service has at most, from 3 to 100. One of \
           them listens for what other token-services change.",
    secret: false,
};
const ENCRYPTION_KEY: Var = Var {
    name: "ENCRYPTION_KEY",
    default: "",
    help: "Seals the secrets in the database: 32 bytes in base64. Several, separated by commas: \
           the first seals, all open. Not set: encryption.key beside the database, made at the \
           first start.",
    secret: true,
};
const DEFAULT_UPSTREAM: Var = Var {
    name: "DEFAULT_UPSTREAM",
    default: "antigravity",
    help: "Upstream of projects that name none: antigravity, gemini or vertex.",
    secret: false,
};
const REFRESH_MARGIN: Var = Var {
    name: "REFRESH_MARGIN",
    default: "5m",
    help: "How long before its end an access token is refreshed; at most a quarter of its \
           lifetime.",
    secret: false,
};
const TOKEN_SERVICE_LISTEN: Var = Var {
    name: "TOKEN_SERVICE_LISTEN",
    default: "127.0.0.1:50051",
    help: "Address of the gRPC listener. Port 0: any free one, which the log names.",
    secret: false,
};
const TOKEN_SERVICE_ADMIN_LISTEN: Var = Var {
    name: "TOKEN_SERVICE_ADMIN_LISTEN",
    default: "",
    help: "An address for the token-service's /livez, /readyz and /metrics, such as \
           127.0.0.1:9091. In the all-in-one too it is another than ADMIN_LISTEN, which is the \
           gateway's.",
    secret: false,
};
const TOKEN_SERVICE_TLS_CERT_FILE: Var = Var {
    name: "TOKEN_SERVICE_TLS_CERT_FILE",
    default: "",
    help: "Certificate (PEM, with its chain): the gRPC listener speaks TLS alone, and gateways \
           say https:// in TOKEN_SERVICE_URL. The file is read again when it changes, and at \
           SIGHUP.",
    secret: false,
};
const TOKEN_SERVICE_TLS_KEY_FILE: Var = Var {
    name: "TOKEN_SERVICE_TLS_KEY_FILE",
    default: "",
    help: "Private key (PEM) of TOKEN_SERVICE_TLS_CERT_FILE.",
    secret: false,
};
const TOKEN_SERVICE_CLIENT_CA_FILE: Var = Var {
    name: "TOKEN_SERVICE_CLIENT_CA_FILE",
    default: "",
    help: "Certificates (PEM) of authorities: gateways and operators have to show a client \
           certificate of one of them, besides their tokens.",
    secret: false,
};
const ADMIN_TOKEN: Var = Var {
    name: "ADMIN_TOKEN",
    default: "",
    help: "Bearer token of operators. Not set: admin_token beside the database, made at the \
           first start.",
    secret: true,
};
const QUOTA_INTERVAL: Var = Var {
    name: "QUOTA_INTERVAL",
    default: "10m",
    help: "How often Google is asked, at most, what is left of the quotas of each antigravity \
           project in use; projects list shows it. 0: never.",
    secret: false,
};
const USAGE_RETENTION: Var = Var {
    name: "USAGE_RETENTION",
    default: "400d",
    help: "How far back the ledger goes, which `antigravity-gateway usage` sums up.",
    secret: false,
};
const OAUTH_TOKEN_URL: Var = Var {
    name: "OAUTH_TOKEN_URL",
    default: "",
    help: "Where access tokens are refreshed. Set, it overrides the token_url of every OAuth \
           client; otherwise a client without one uses https://oauth2.googleapis.com/token.",
    secret: false,
};
const OAUTH_AUTH_URL: Var = Var {
    name: "OAUTH_AUTH_URL",
    default: "https://accounts.google.com/o/oauth2/v2/auth",
    help: "Where the owner of an account consents to a login.",
    secret: false,
};
const OAUTH_USERINFO_URL: Var = Var {
    name: "OAUTH_USERINFO_URL",
    default: "https://www.googleapis.com/oauth2/v2/userinfo",
    help: "Where a login asks for the account's e-mail address, when its tokens do not tell it.",
    secret: false,
};

/// The variables that [`Config::from_environment`] reads.
pub const VARS: &[Var] = &[
    TOKENS_FILE,
    DATABASE_URL,
    DATABASE_CONNECTIONS,
    ENCRYPTION_KEY,
    DEFAULT_UPSTREAM,
    REFRESH_MARGIN,
    TOKEN_SERVICE_LISTEN,
    TOKEN_SERVICE_ADMIN_LISTEN,
    TOKEN_SERVICE_TLS_CERT_FILE,
    TOKEN_SERVICE_TLS_KEY_FILE,
    TOKEN_SERVICE_CLIENT_CA_FILE,
    GATEWAY_TOKEN,
    ADMIN_TOKEN,
    OAUTH_TOKEN_URL,
    OAUTH_AUTH_URL,
    OAUTH_USERINFO_URL,
    ANTIGRAVITY_BASE_URLS,
    GEMINI_BASE_URL,
    VERTEX_BASE_URL,
    UPSTREAM_HEADERS,
    QUOTA_INTERVAL,
    USAGE_RETENTION,
    UPSTREAM_CA_FILE,
    CONNECT_TIMEOUT,
    LOG_FORMAT,
    LOG_LEVEL,
    traces::ENDPOINT,
    traces::PROTOCOL,
    traces::HEADERS,
    traces::CERTIFICATE,
    traces::CLIENT_CERTIFICATE,
    traces::CLIENT_KEY,
    traces::SERVICE_NAME,
    traces::SAMPLER,
    traces::SAMPLER_ARG,
];

/// What an operator can set.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address of the gRPC listener; whoever calls [`crate::serve()`] binds it.
    pub listen: SocketAddr,
    /// Address of the admin listener; `None`: there is none.
    pub admin_listen: Option<SocketAddr>,
    /// The certificate that it shows there; `None`: it speaks no TLS.
    pub tls: Option<ServerFiles>,
    /// Where projects and tokens are kept.
    pub database: Database,
    /// Connections to PostgreSQL at most, the one that listens included.
    pub database_connections: u32,
    /// What is imported at the start. `None`: nothing.
    pub tokens_file: Option<TokensFileSource>,
    /// Upstream of projects that name none.
    pub default_upstream: Upstream,
    /// How long before its end an access token is refreshed; at most a quarter of its
    /// lifetime.
    pub refresh_margin: Duration,
    /// Overrides the token URL of every OAuth client.
    pub oauth_token_url: Option<String>,
    /// Where the owner of an account consents to a login.
    pub oauth_auth_url: String,
    /// Where a login asks for the account's e-mail address.
    pub oauth_userinfo_url: String,
    /// Hosts of the Cloud Code API, in the order of trying.
    pub antigravity_hosts: Vec<String>,
    /// Host of the Gemini API.
    pub gemini_host: String,
    /// Host of Vertex AI. `None`: Google's host of each location.
    pub vertex_host: Option<String>,
    /// Extra headers of every request to them.
    pub upstream_headers: HeaderMap,
    /// How often a project's quotas are asked for; zero: never.
    pub quota_interval: Duration,
    /// How far back the ledger goes.
    pub usage_retention: Duration,
    /// Certificates that are trusted beside the system's.
    pub upstream_ca_file: Option<PathBuf>,
    /// How long a connection to Google may take.
    pub connect_timeout: Duration,
    /// Bearer token of the gateways. `None`: kept beside the database.
    pub gateway_token: Option<SecretString>,
    /// Bearer token of operators. `None`: kept beside the database.
    pub admin_token: Option<SecretString>,
    /// The keys that seal secrets. `None`: kept beside the database.
    pub encryption_keys: Option<Arc<Keyring>>,
    /// How log lines look.
    pub log_format: telemetry::Format,
    /// Where traces go; `None`: there are none.
    pub traces: Option<Traces>,
    /// Which log lines are written.
    pub log_level: telemetry::Level,
    /// Whether tokens are refreshed ahead of need; off for a service that only lives for
    /// one command.
    pub refresh_ahead: bool,
    /// Whether a database that is away at the start is waited for; off for a service that only
    /// lives for one command.
    pub wait_for_database: bool,
    /// The time; tests move it.
    pub clock: Clock,
}

/// A tokens file to import at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokensFileSource {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is an error that it is missing.
    pub required: bool,
}

impl Config {
    /// Reads the variables in [`VARS`].
    ///
    /// # Errors
    /// The first value that cannot be used, with its variable and where it was set.
    pub fn from_environment(environment: &Environment) -> Result<Self, ConfigError> {
        let tokens_file = environment.required(&TOKENS_FILE, |path| Ok(PathBuf::from(path)))?;
        let keys = |text: &str| Keyring::parse(text).map_err(|error| error.to_string());
        let margin = |text: &str| match duration(text)? {
            zero if zero.is_zero() => Err("is not more than nothing".to_owned()),
            margin => Ok(margin),
        };
        Ok(Self {
            listen: environment.required(
                &TOKEN_SERVICE_LISTEN,
                parsed("an address such as 127.0.0.1:50051"),
            )?,
            admin_listen: environment.read(
                &TOKEN_SERVICE_ADMIN_LISTEN,
                parsed("an address such as 127.0.0.1:9091"),
            )?,
            tls: ServerFiles::from_environment(
                environment,
                &TOKEN_SERVICE_TLS_CERT_FILE,
                &TOKEN_SERVICE_TLS_KEY_FILE,
                Some(&TOKEN_SERVICE_CLIENT_CA_FILE),
            )?,
            database: environment.required(&DATABASE_URL, |text| {
                text.parse()
                    .map_err(|error: DatabaseError| error.to_string())
            })?,
            database_connections: environment.required(&DATABASE_CONNECTIONS, |text| match text
                .parse()
            {
                Ok(connections @ 3..=100) => Ok(connections),
                _ => Err("is not a number from 3 to 100".to_owned()),
            })?,
            tokens_file: Some(TokensFileSource {
                path: tokens_file,
                required: environment.raw(&TOKENS_FILE)?.is_some(),
            }),
            default_upstream: environment.required(
                &DEFAULT_UPSTREAM,
                parsed("one of antigravity, gemini, vertex"),
            )?,
            refresh_margin: environment.required(&REFRESH_MARGIN, margin)?,
            oauth_token_url: environment.read(&OAUTH_TOKEN_URL, base_url)?,
            oauth_auth_url: environment.required(&OAUTH_AUTH_URL, base_url)?,
            oauth_userinfo_url: environment.required(&OAUTH_USERINFO_URL, base_url)?,
            antigravity_hosts: environment.required(&ANTIGRAVITY_BASE_URLS, base_urls)?,
            gemini_host: environment.required(&GEMINI_BASE_URL, base_url)?,
            vertex_host: environment.read(&VERTEX_BASE_URL, base_url)?,
            upstream_headers: environment
                .read(&UPSTREAM_HEADERS, header_map)?
                .unwrap_or_default(),
            quota_interval: environment.required(&QUOTA_INTERVAL, duration)?,
            usage_retention: environment.required(&USAGE_RETENTION, positive_duration)?,
            upstream_ca_file: environment.read(&UPSTREAM_CA_FILE, |path| Ok(path.into()))?,
            connect_timeout: environment.required(&CONNECT_TIMEOUT, positive_duration)?,
            gateway_token: bearer(environment, &GATEWAY_TOKEN)?,
            admin_token: admin_token(environment)?,
            encryption_keys: environment.read(&ENCRYPTION_KEY, keys)?.map(Arc::new),
            log_format: environment.required(&LOG_FORMAT, parsed("text, pretty or json"))?,
            log_level: environment.required(&LOG_LEVEL, parsed("a level or a filter"))?,
            traces: Traces::from_environment(environment)?,
            refresh_ahead: true,
            wait_for_database: true,
            clock: Clock::system(),
        })
    }
}

/// The operators' token, which has to be another than the gateways': one token for both
/// would make every gateway an operator.
fn admin_token(environment: &Environment) -> Result<Option<SecretString>, ConfigError> {
    let admin = bearer(environment, &ADMIN_TOKEN)?;
    let gateway = bearer(environment, &GATEWAY_TOKEN)?;
    match (&admin, &gateway) {
        (Some(admin), Some(gateway))
            if secret::equal(admin.expose_secret(), gateway.expose_secret()) =>
        {
            Err(environment.invalid(&ADMIN_TOKEN, "is the same as GATEWAY_TOKEN; give two"))
        }
        _ => Ok(admin),
    }
}

fn bearer(environment: &Environment, var: &Var) -> Result<Option<SecretString>, ConfigError> {
    environment.read(var, |text| {
        if text.len() < 16 || !crate::limits::is_token(text) {
            return Err("is not a token of 16 or more visible ASCII characters \
                        (`openssl rand -hex 32`)"
                .to_owned());
        }
        Ok(text.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults() {
        let config = Config::from_environment(&Environment::default()).unwrap();
        assert_eq!(config.database, Database::Sqlite("data/tokens.db".into()));
        assert_eq!(config.listen.to_string(), "127.0.0.1:50051");
        assert_eq!(config.refresh_margin, Duration::from_secs(300));
        assert!(!config.tokens_file.unwrap().required);
    }

    #[test]
    fn bad_values_name_their_variable_and_no_secret() {
        for (name, value) in [
            ("DATABASE_URL", "postgres://planted@db/x?unknown"),
            ("DATABASE_CONNECTIONS", "2"),
            ("DATABASE_URL", "data/tokens.db"),
            ("DATABASE_URL", "sqlite://data/"),
            ("ENCRYPTION_KEY", "planted"),
            ("DEFAULT_UPSTREAM", "openai"),
            ("REFRESH_MARGIN", "0"),
            ("REFRESH_MARGIN", "soon"),
            ("TOKEN_SERVICE_LISTEN", "localhost"),
            ("TOKEN_SERVICE_ADMIN_LISTEN", "9091"),
            ("GATEWAY_TOKEN", "planted"),
            ("ADMIN_TOKEN", "planted planted planted"),
            ("OAUTH_TOKEN_URL", "oauth2.googleapis.com"),
            ("OAUTH_AUTH_URL", "https://example.com/auth?prompt=none"),
            ("OAUTH_USERINFO_URL", "userinfo"),
            ("TOKEN_SERVICE_TLS_CERT_FILE", "without.a.key"),
            ("TOKEN_SERVICE_TLS_KEY_FILE", "without.a.certificate"),
            ("TOKEN_SERVICE_CLIENT_CA_FILE", "without.both"),
            ("UPSTREAM_HEADERS", "[]"),
            ("LOG_FORMAT", "xml"),
        ] {
            let environment = Environment::of([(name, value)]);
            let error = Config::from_environment(&environment).unwrap_err();
            let told = error.to_string();
            assert!(told.starts_with(name), "{told}");
            let is_secret = VARS.iter().any(|var| var.name == name && var.secret);
            assert!(!is_secret || !told.contains("planted"), "{told}");
        }
    }
}
