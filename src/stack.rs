//! The gateway and the token-service in one process: how they find each other, and in
//! which order they start and end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use antigravity_runtime::{
    config::{ConfigError, Environment, Var},
    secret::{self, SecretFile},
    shutdown::Shutdown,
};
use gateway::{api_keys::ApiKeys, config::Defaults};
use secrecy::SecretString;
use token_service::{Secrets, config::Database};
use tokio::{net::TcpListener, task::JoinHandle, time::Duration};

use crate::failure::Failure;

/// Where the gateway's first API key is kept, beside the database.
const API_KEY: &str = "api_key";
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

/// What both services are told.
#[derive(Debug)]
pub(crate) struct Configs {
    gateway: gateway::config::Config,
    token_service: token_service::Config,
    /// The folder of the API key to be used when none is configured.
    own_api_key: bool,
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
        if token_service.database == Database::Memory {
            for token in [
                &mut token_service.gateway_token,
                &mut token_service.admin_token,
            ] {
                if token.is_none() {
                    *token = Some(secret::generate()?);
                }
            }
        }
        Ok(Self {
            gateway,
            token_service,
            own_api_key,
        })
    }
}

/// Both services, running.
#[derive(Debug)]
pub(crate) struct Stack {
    /// Where clients reach the gateway.
    pub(crate) gateway_address: SocketAddr,
    /// Where the token-service answers gRPC, as this process reaches it.
    pub(crate) token_service_address: SocketAddr,
    /// The API key that is used because none is configured.
    pub(crate) api_key: Option<SecretFile>,
    /// The operators' token.
    pub(crate) admin_token: SecretString,
    gateway: JoinHandle<Result<(), gateway::ServeError>>,
    token_service: JoinHandle<Result<(), token_service::Error>>,
    token_service_shutdown: Shutdown,
    gateway_shutdown: Shutdown,
}

impl Stack {
    /// Opens both listeners, starts the token-service, and when that is ready the
    /// gateway. `None`: `shutdown` came first.
    ///
    /// # Errors
    /// When one of the two cannot start. Nothing that is kept was changed then, as both
    /// listeners and every file are looked at before anything is made.
    pub(crate) async fn start(
        configs: Configs,
        shutdown: &Shutdown,
    ) -> Result<Option<Self>, Failure> {
        let Configs {
            mut gateway,
            token_service,
            own_api_key,
        } = configs;
        let clients = bind(gateway.listen, "HOST, PORT").await?;
        let grpc = bind(token_service.listen, "TOKEN_SERVICE_LISTEN").await?;
        let gateway_address = clients.local_addr()?;
        let token_service_address = reachable(grpc.local_addr()?);

        // Each gets a shutdown of its own: the token-service has to outlive the gateway,
        // and a drain that takes too long must not take it along.
        let token_service_shutdown = Shutdown {
            abort: shutdown.abort.child_token(),
            ..Shutdown::new()
        };
        let mut running = tokio::spawn(token_service::serve(
            token_service.clone(),
            grpc,
            token_service_shutdown.clone(),
        ));
        let ready = loop {
            tokio::select! {
                ended = &mut running => return Err(outcome_of_token_service(ended)),
                () = shutdown.drain.cancelled() => break false,
                healthy = token_service::healthcheck(token_service_address) => {
                    if healthy.is_ok() {
                        break true;
                    }
                    tokio::time::sleep(LOOK).await;
                }
            }
        };
        if !ready {
            token_service_shutdown.drain.cancel();
            finish_token_service(running.await)?;
            return Ok(None);
        }

        let (gateway_token, admin_token) =
            match (&token_service.gateway_token, &token_service.admin_token) {
                (Some(gateway), Some(admin)) => (gateway.clone(), admin.clone()),
                _ => {
                    let secrets = Secrets::load_or_create(&token_service)?;
                    (secrets.gateway_token, secrets.admin_token)
                }
            };
        let mut api_key = None;
        if own_api_key {
            let (key, file) = match token_service.database.folder() {
                Some(folder) => {
                    let file = secret::read_or_create(&folder.join(API_KEY), secret::generate)?;
                    (file.secret.clone(), Some(file))
                }
                None => (secret::generate()?, None),
            };
            gateway.api_keys = ApiKeys::single("default", key);
            api_key = file;
        }
        gateway.gateway_token = gateway_token;
        gateway.token_service_url = format!("http://{token_service_address}");
        let gateway_shutdown = Shutdown {
            drain: shutdown.drain.child_token(),
            abort: shutdown.abort.child_token(),
        };
        let gateway = tokio::spawn(gateway::serve(gateway, clients, gateway_shutdown.clone()));
        Ok(Some(Self {
            gateway_address,
            token_service_address,
            api_key,
            admin_token,
            gateway,
            token_service: running,
            token_service_shutdown,
            gateway_shutdown,
        }))
    }

    /// Waits until both have ended: the gateway drains first, while the token-service
    /// still takes its reports. When one fails, the other is ended too.
    ///
    /// # Errors
    /// The first of the two that failed.
    pub(crate) async fn run(mut self) -> Result<(), Failure> {
        let mut broken = None;
        let served = tokio::select! {
            served = &mut self.gateway => served,
            ended = &mut self.token_service => {
                broken = Some(outcome_of_token_service(ended));
                self.gateway_shutdown.drain.cancel();
                (&mut self.gateway).await
            }
        };
        let served = match served {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Failure::BrokenOff {
                service: "the gateway",
            }),
        };
        if let Some(broken) = broken {
            return Err(broken);
        }
        self.token_service_shutdown.drain.cancel();
        let ended = finish_token_service(self.token_service.await);
        served.and(ended)
    }
}

type Ended = Result<Result<(), token_service::Error>, tokio::task::JoinError>;

fn finish_token_service(ended: Ended) -> Result<(), Failure> {
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Failure::BrokenOff {
            service: "the token-service",
        }),
    }
}

/// Of one that nobody has asked to end.
fn outcome_of_token_service(ended: Ended) -> Failure {
    finish_token_service(ended).err().unwrap_or(Failure::Ended {
        service: "the token-service",
    })
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
