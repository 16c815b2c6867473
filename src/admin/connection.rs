//! Which token-service an operators' command talks to: the one that is named, the one
//! that runs on this machine, or one in this process that opens the database itself.

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use antigravity_runtime::{
    config::{self, Environment},
    secret,
    shutdown::Shutdown,
    telemetry,
};
use secrecy::SecretString;
use token_service::{Config, Secrets, config::Database};
use tokio::net::TcpStream;
use tonic::transport::Channel;

use super::{
    client::{Client, Error},
    route::Route,
};
use crate::{
    failure::Failure,
    stack::{self, TokenService},
};

/// A service on the same machine answers much faster.
const CONNECT: Duration = Duration::from_secs(5);

/// What a command is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Only look: then a database that is not there is not made.
    Read,
    /// Look at, or change, what is there: a database that is not is a mistake.
    Existing,
    /// Change something.
    Write,
}

/// A client, and the service behind it when that is in this process.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    own: Option<TokenService>,
    _lines: Option<telemetry::Writing>,
}

impl Connection {
    /// Finds the service, and starts one in this process when there is none.
    ///
    /// # Errors
    /// A named service that does not answer, a token that cannot be found, and a
    /// database that cannot be opened.
    pub(crate) async fn open(environment: &Environment, purpose: Purpose) -> Result<Self, Failure> {
        let config = Config::from_environment(environment)?;
        let level = if stack::is_set(environment, "LOG_LEVEL")? {
            Ok(config.log_level.clone())
        } else {
            "error".parse()
        };
        let lines = level
            .ok()
            .map(|level| telemetry::init(config.log_format, &level));
        if let Some(urls) = named(environment)? {
            let (token, origin) = admin_token(environment, &config, &urls.join(","))?;
            let (channel, url) = first_there(environment, urls).await?;
            return Ok(Self {
                client: Client::over(channel, url, &token, &origin)?,
                own: None,
                _lines: lines,
            });
        }
        let address = stack::reachable(config.listen);
        let connected = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await;
        if address.port() != 0 && matches!(connected, Ok(Ok(_))) {
            let (token, origin) = admin_token(environment, &config, &format!("http://{address}"))?;
            let tls = match &config.tls {
                Some(files) => Some(stack::own_connector(stack::connector(environment)?, files)?),
                None => None,
            };
            return Ok(Self {
                client: Client::to(address, tls.as_ref(), &token, &origin)?,
                own: None,
                _lines: lines,
            });
        }
        Self::on_own(config, purpose, lines).await
    }

    /// Opens the database in this process, under its lock.
    async fn on_own(
        mut config: Config,
        purpose: Purpose,
        lines: Option<telemetry::Writing>,
    ) -> Result<Self, Failure> {
        match &config.database {
            Database::Memory => {
                return Err(Failure::NothingToOpen {
                    address: config.listen,
                });
            }
            // Shown as the empty pool that it is.
            Database::Sqlite(path) if purpose == Purpose::Read && !path.exists() => {
                config.database = Database::Memory;
            }
            Database::Sqlite(path) if purpose == Purpose::Existing && !path.exists() => {
                return Err(Failure::NoDatabase { path: path.clone() });
            }
            Database::Sqlite(_) | Database::Postgres(_) => {}
        }
        config.tokens_file = None;
        // One command is no reason to ask Google for anything that it does not need.
        config.refresh_ahead = false;
        config.wait_for_database = false;
        // The address is the service's that runs for good.
        config.admin_listen = None;
        // Nor to speak TLS with itself.
        config.tls = None;
        stack::tokens_in_memory(&mut config)?;
        let listener = stack::bind((Ipv4Addr::LOCALHOST, 0).into(), "a free port").await?;
        let never = Shutdown::new();
        let service = TokenService::start(config.clone(), None, listener, &never)
            .await?
            .ok_or(Failure::Ended {
                service: "the token-service",
            })?;
        let token = match &config.admin_token {
            Some(token) => token.clone(),
            None => Secrets::load_or_create(&config)?.admin_token,
        };
        Ok(Self {
            client: Client::to(service.address, None, &token, "its own")?,
            own: Some(service),
            _lines: lines,
        })
    }

    /// Ends the service in this process, if there is one.
    ///
    /// # Errors
    /// When it does not end well.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        drop(self.client);
        match self.own {
            Some(service) => service.stop(&Shutdown::new()).await,
            None => Ok(()),
        }
    }
}

/// The URLs that the operator named: of replicas any will do.
fn named(environment: &Environment) -> Result<Option<Vec<String>>, Failure> {
    match stack::var("TOKEN_SERVICE_URL") {
        Some(var) if environment.raw(var)?.is_some() => {
            Ok(environment.read(var, config::base_urls)?)
        }
        _ => Ok(None),
    }
}

/// A connection to the first service that can be reached, and its URL.
async fn first_there(
    environment: &Environment,
    urls: Vec<String>,
) -> Result<(Channel, String), Failure> {
    let mut unreachable = None;
    for url in urls {
        match Route::to(&url, stack::connector(environment)?)?.now().await {
            Ok(channel) => return Ok((channel, url)),
            Err(error) => {
                unreachable.get_or_insert(error);
            }
        }
    }
    let none = || Error::Url { url: String::new() };
    Err(unreachable.unwrap_or_else(none).into())
}

/// The operators' token of a service that runs, and where it comes from.
fn admin_token(
    environment: &Environment,
    config: &Config,
    url: &str,
) -> Result<(SecretString, String), Failure> {
    if let Some(token) = &config.admin_token {
        let origin = match stack::var("ADMIN_TOKEN") {
            Some(var) => environment.raw(var)?,
            None => None,
        };
        let origin = origin.map_or_else(String::new, |(_, origin)| origin.to_string());
        return Ok((token.clone(), format!("ADMIN_TOKEN, {origin}")));
    }
    let path = Secrets::admin_token_path(config).unwrap_or_else(|| PathBuf::from("admin_token"));
    match secret::read(&path)? {
        Some(token) => Ok((token, format!("from {}", path.display()))),
        None => Err(Failure::NoAdminToken {
            url: url.to_owned(),
            path,
        }),
    }
}
