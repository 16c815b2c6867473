//! The gateway and the token-service in one process: how they find each other, and in
//! which order they start and end.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use antigravity_runtime::{
    config::{ConfigError, Environment, Var},
    secret::{self, SecretFile, SecretFileError},
    shutdown::Shutdown,
    tls::{ClientFiles, Connector, ServerFiles},
    variables::{
        TOKEN_SERVICE_CA_FILE, TOKEN_SERVICE_CLIENT_CERT_FILE, TOKEN_SERVICE_CLIENT_KEY_FILE,
    },
};
use gateway::{
    api_keys::ApiKeys,
    config::{API_KEY_FILE, Defaults},
};
use secrecy::{ExposeSecret as _, SecretString};
use token_service::{Secrets, config::Database};
use tokio::{net::TcpListener, task::JoinHandle, time::Duration};

use crate::failure::Failure;

/// For a token-service that waits for its database: clients are told so from then on.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks at a token-service that is still starting.
const LOOK: Duration = Duration::from_millis(20);

/// Looks up a variable of either service by its name.
pub(crate) fn var(name: &str) -> Option<&'static Var> {
    let all = gateway::config::VARS.iter();
    all.chain(token_service::config::VARS)
        .find(|var| var.name == name)
}

/// Whether an operator has set `name`.
pub(crate) fn is_set(environment: &Environment, name: &str) -> Result<bool, ConfigError> {
    match var(name) {
        Some(var) => Ok(environment.raw(var)?.is_some()),
        None => Ok(false),
    }
}

/// How a token-service is spoken to where it speaks TLS.
///
/// # Errors
/// Variables that do not fit together.
pub(crate) fn connector(environment: &Environment) -> Result<Connector, ConfigError> {
    let files = ClientFiles::from_environment(
        environment,
        &TOKEN_SERVICE_CA_FILE,
        &TOKEN_SERVICE_CLIENT_CERT_FILE,
        &TOKEN_SERVICE_CLIENT_KEY_FILE,
    )?;
    Ok(Connector::new(files))
}

/// The same for the one on this machine, which is known by its certificate itself.
///
/// # Errors
/// When it demands a client certificate, and there is none.
pub(crate) fn own_connector(
    connector: Connector,
    files: &ServerFiles,
) -> Result<Connector, ConfigError> {
    if files.demands_client_certificates() && !connector.has_identity() {
        return Err(ConfigError::Missing {
            name: TOKEN_SERVICE_CLIENT_CERT_FILE.name.to_owned(),
            remedy: format!(
                "TOKEN_SERVICE_CLIENT_CA_FILE makes the token-service demand a client \
                 certificate, of this program too; set it and {}",
                TOKEN_SERVICE_CLIENT_KEY_FILE.name
            ),
        });
    }
    Ok(connector.to_own(files.certificate().clone()))
}

/// What both services are told.
#[derive(Debug)]
pub(crate) struct Configs {
    /// The gateway's, but for what is made at the first start.
    pub(crate) gateway: gateway::config::Config,
    /// The token-service's.
    pub(crate) token_service: token_service::Config,
    /// Whether the gateway is to use a key of its own making, as none is configured.
    pub(crate) own_api_key: bool,
}

impl Configs {
    /// Reads both, and makes nothing.
    ///
    /// # Errors
    /// The first value that cannot be used.
    pub(crate) fn from_environment(environment: &Environment) -> Result<Self, Failure> {
        let mut token_service = token_service::Config::from_environment(environment)?;
        let own_api_key = !is_set(environment, "API_KEYS")?;
        // What is made at the first start takes the place of these once it is there.
        let not_yet = || Some(SecretString::from("not made yet"));
        let defaults = Defaults {
            api_key: not_yet(),
            gateway_token: not_yet(),
            token_service_url: None,
        };
        let gateway = gateway::config::Config::from_environment(environment, defaults)?;
        tokens_in_memory(&mut token_service)?;
        Ok(Self {
            gateway,
            token_service,
            own_api_key,
        })
    }
}

/// With a database in memory no file keeps the tokens that this process has to share
/// with its own service.
pub(crate) fn tokens_in_memory(config: &mut token_service::Config) -> Result<(), Failure> {
    if config.database == Database::Memory {
        for token in [&mut config.gateway_token, &mut config.admin_token] {
            if token.is_none() {
                *token = Some(secret::generate()?);
            }
        }
    }
    Ok(())
}

/// Why there is no file for what is made at a first start.
pub(crate) fn no_folder(database: &Database) -> Failure {
    let problem = match database {
        Database::Postgres(_) => {
            "DATABASE_URL names PostgreSQL, which has no folder for secrets: ENCRYPTION_KEY, \
             GATEWAY_TOKEN, ADMIN_TOKEN and API_KEYS are yours to make and to keep"
        }
        _ => "DATABASE_URL names a database in memory, which has no folder for secrets",
    };
    Failure::Usage(problem.to_owned())
}

/// A token-service that runs in this process and answers.
#[derive(Debug)]
pub(crate) struct TokenService {
    /// Where this process reaches it.
    pub(crate) address: SocketAddr,
    /// How it is spoken to when it speaks TLS.
    pub(crate) tls: Option<Connector>,
    running: JoinHandle<Result<(), token_service::Error>>,
    shutdown: Shutdown,
}

impl TokenService {
    /// Starts one on `listener` and waits until it serves; while its database is away, no longer
    /// than [`PATIENCE`], as it answers by itself that it waits. `None`: `stop` came first.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) async fn start(
        config: token_service::Config,
        tls: Option<Connector>,
        listener: TcpListener,
        stop: &Shutdown,
    ) -> Result<Option<Self>, Failure> {
        let files = config.tls.clone();
        let may_wait = config.wait_for_database && matches!(config.database, Database::Postgres(_));
        let address = reachable(listener.local_addr()?);
        // One of its own: it has to outlive the gateway that reports to it.
        let shutdown = Shutdown::new();
        let running = tokio::spawn(token_service::serve(config, listener, shutdown.clone()));
        let mut this = Self {
            address,
            tls,
            running,
            shutdown,
        };
        let patience = tokio::time::sleep(PATIENCE);
        tokio::pin!(patience);
        loop {
            tokio::select! {
                ended = this.ended() => return Err(ended),
                () = &mut patience, if may_wait => return Ok(Some(this)),
                () = stop.drain.cancelled() => {
                    this.stop(stop).await?;
                    return Ok(None);
                }
                healthy = token_service::healthcheck(address, files.as_ref()) => {
                    if healthy.is_ok() {
                        return Ok(Some(this));
                    }
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }

    /// Waits for it to end unasked, and says why it did.
    async fn ended(&mut self) -> Failure {
        let ended = (&mut self.running).await;
        outcome(ended).err().unwrap_or(Failure::Ended {
            service: "the token-service",
        })
    }

    /// Ends it, and waits until everything is put away; not for what still runs once
    /// `insisted` aborts.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) async fn stop(mut self, insisted: &Shutdown) -> Result<(), Failure> {
        self.shutdown.drain.cancel();
        let ended = tokio::select! {
            ended = &mut self.running => ended,
            () = insisted.abort.cancelled() => {
                self.shutdown.abort();
                self.running.await
            }
        };
        outcome(ended)
    }
}

fn outcome(
    ended: Result<Result<(), token_service::Error>, tokio::task::JoinError>,
) -> Result<(), Failure> {
    match ended {
        Ok(done) => Ok(done?),
        Err(_) => Err(Failure::BrokenOff {
            service: "the token-service",
        }),
    }
}

/// Both services, running.
#[derive(Debug)]
pub(crate) struct Stack {
    /// Where clients reach the gateway.
    pub(crate) gateway_address: SocketAddr,
    /// Whether they speak TLS there.
    pub(crate) gateway_tls: bool,
    /// Where operators reach its status page, when that is known beforehand.
    pub(crate) status_page: Option<SocketAddr>,
    /// What the gateway stands on.
    pub(crate) token_service: TokenService,
    /// The API key that is used because none is configured.
    pub(crate) api_key: Option<SecretFile>,
    /// The operators' token.
    pub(crate) admin_token: SecretString,
    gateway: JoinHandle<Result<(), gateway::ServeError>>,
    gateway_shutdown: Shutdown,
    /// Of the whole process.
    shutdown: Shutdown,
}

impl Stack {
    /// Opens both listeners, starts the token-service, and when that is ready the
    /// gateway. `None`: `shutdown` came first.
    ///
    /// # Errors
    /// When one of the two cannot start.
    pub(crate) async fn start(
        configs: Configs,
        shutdown: &Shutdown,
    ) -> Result<Option<Self>, Failure> {
        let Configs {
            mut gateway,
            token_service: config,
            own_api_key,
        } = configs;
        if own_api_key && matches!(config.database, Database::Postgres(_)) {
            // It has no file to be kept in, and would be another one after each start.
            return Err(ConfigError::Missing {
                name: "API_KEYS".to_owned(),
                remedy: "with PostgreSQL there is no folder to keep a key of our making in; set \
                         API_KEYS"
                    .to_owned(),
            }
            .into());
        }
        let tls = match &config.tls {
            Some(files) => Some(own_connector(gateway.token_service_tls.clone(), files)?),
            None => None,
        };
        // Before anything is made: an address that is taken leaves no trace.
        let clients = bind(gateway.listen, "HOST, PORT").await?;
        let grpc = bind(config.listen, "TOKEN_SERVICE_LISTEN").await?;
        let gateway_address = clients.local_addr()?;
        let Some(token_service) = TokenService::start(config.clone(), tls, grpc, shutdown).await?
        else {
            return Ok(None);
        };

        let (gateway_token, admin_token) = match (&config.gateway_token, &config.admin_token) {
            (Some(gateway), Some(admin)) => (gateway.clone(), admin.clone()),
            _ => {
                let secrets = Secrets::load_or_create(&config)?;
                (secrets.gateway_token, secrets.admin_token)
            }
        };
        let mut api_key = None;
        if own_api_key {
            let key = match config.database.folder() {
                Some(folder) => {
                    let file = api_key_file(folder)?;
                    let key = file.secret.clone();
                    api_key = Some(file);
                    key
                }
                None => new_api_key()?,
            };
            gateway.api_keys = ApiKeys::single("default", key);
        }
        gateway.gateway_token = gateway_token;
        let scheme = match &token_service.tls {
            Some(tls) => {
                gateway.token_service_tls = tls.clone();
                "https"
            }
            None => "http",
        };
        gateway.token_service_urls = vec![format!("{scheme}://{}", token_service.address)];
        let gateway_tls = gateway.tls.is_some();
        let status_page = gateway.admin_listen.filter(|address| address.port() != 0);
        let gateway_shutdown = Shutdown {
            drain: shutdown.drain.child_token(),
            abort: shutdown.abort.child_token(),
        };
        let gateway = tokio::spawn(gateway::serve(gateway, clients, gateway_shutdown.clone()));
        Ok(Some(Self {
            gateway_address,
            gateway_tls,
            status_page,
            token_service,
            api_key,
            admin_token,
            gateway,
            gateway_shutdown,
            shutdown: shutdown.clone(),
        }))
    }

    /// Waits until both have ended: the gateway drains first, while the token-service
    /// still takes its reports. When one fails, the other is ended too.
    ///
    /// # Errors
    /// The first of the two that failed.
    pub(crate) async fn run(mut self) -> Result<(), Failure> {
        let served = tokio::select! {
            served = &mut self.gateway => served,
            ended = self.token_service.ended() => {
                self.gateway_shutdown.drain.cancel();
                // What broke first is what is told.
                let _ = self.gateway.await;
                return Err(ended);
            }
        };
        let served = match served {
            Ok(served) => served.map_err(Failure::from),
            Err(_) => Err(Failure::BrokenOff {
                service: "the gateway",
            }),
        };
        let stopped = self.token_service.stop(&self.shutdown).await;
        served.and(stopped)
    }
}

/// The API key that is used while none is configured, in its file beside the database.
///
/// # Errors
/// A file that cannot be read or made.
pub(crate) fn api_key_file(folder: &Path) -> Result<SecretFile, SecretFileError> {
    secret::read_or_create(&folder.join(API_KEY_FILE), new_api_key)
}

/// As OpenAI's look: some programs refuse others.
fn new_api_key() -> io::Result<SecretString> {
    let random = secret::generate()?;
    Ok(format!("sk-{}", random.expose_secret()).into())
}

/// Opens a listener; `variables` set its address.
pub(crate) async fn bind(
    address: SocketAddr,
    variables: &'static str,
) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|source| Failure::Listen {
            address,
            variables,
            source,
        })
}

/// Where this machine reaches a listener that may be open to every interface.
pub(crate) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
