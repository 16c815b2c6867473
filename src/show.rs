//! `secret`: prints one of the secrets that were made at the first start, for people
//! and scripts that cannot read its file, as in a container without a shell.

use antigravity_runtime::{config::Environment, secret, variables::GATEWAY_TOKEN_FILE};
use gateway::config::API_KEY_FILE;
use secrecy::{ExposeSecret as _, SecretString};
use token_service::{Config, secrets};

use crate::{failure::Failure, stack, terminal};

/// What `secret` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Which one.
    #[arg(value_enum)]
    name: Name,
}

/// The secrets that a first start makes.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Name {
    /// What clients show to the gateway.
    ApiKey,
    /// What operators show to the token-service.
    AdminToken,
    /// What gateways show to the token-service.
    GatewayToken,
    /// What opens the database; it belongs into your backups.
    EncryptionKey,
}

impl Name {
    /// The variable that sets it, and the file that keeps it otherwise.
    fn places(self) -> (&'static str, &'static str) {
        match self {
            Self::ApiKey => ("API_KEYS", API_KEY_FILE),
            Self::AdminToken => ("ADMIN_TOKEN", secrets::ADMIN_TOKEN),
            Self::GatewayToken => ("GATEWAY_TOKEN", GATEWAY_TOKEN_FILE),
            Self::EncryptionKey => ("ENCRYPTION_KEY", secrets::ENCRYPTION_KEY),
        }
    }
}

/// Prints it, and nothing else.
pub(crate) fn run(environment: &Environment, arguments: &Arguments) -> Result<(), Failure> {
    let secret = find(environment, arguments.name)?;
    terminal::line(secret.expose_secret());
    Ok(())
}

fn find(environment: &Environment, name: Name) -> Result<SecretString, Failure> {
    let config = Config::from_environment(environment)?;
    let (variable, file) = name.places();
    if let Some(var) = stack::var(variable)
        && let Some((_, origin)) = environment.raw(var)?
    {
        return Err(Failure::Usage(format!(
            "{variable} is configured ({origin}): there is no secret of our making to show"
        )));
    }
    let Some(folder) = config.database.folder() else {
        return Err(stack::no_folder(&config.database));
    };
    let path = folder.join(file);
    secret::read(&path)?.ok_or_else(|| {
        Failure::Found(format!(
            "{} is not there: it is made at the first start of `antigravity-gateway serve` (or \
             by `antigravity-gateway init`)",
            path.display()
        ))
    })
}
