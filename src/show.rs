//! `secret`: prints one of the secrets that were made at the first start, for people
//! and scripts that cannot read its file, as in a container without a shell.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use antigravity_runtime::{
    config::{self, Environment},
    secret,
    variables::GATEWAY_TOKEN_FILE,
};
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
    /// How long to wait for a first start that is just going on.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = config::duration)]
    wait: Duration,
}

/// Between two looks at a file that is not there yet.
const LOOK: Duration = Duration::from_millis(50);
/// So long nobody wonders why nothing is shown.
const UNNOTICED: Duration = Duration::from_millis(500);

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
pub(crate) async fn run(environment: &Environment, arguments: &Arguments) -> Result<(), Failure> {
    let secret = find(environment, arguments).await?;
    terminal::line(secret.expose_secret());
    Ok(())
}

async fn find(environment: &Environment, arguments: &Arguments) -> Result<SecretString, Failure> {
    let config = Config::from_environment(environment)?;
    let (variable, file) = arguments.name.places();
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
    made(&path, arguments.wait).await?.ok_or_else(|| {
        Failure::Found(format!(
            "{} is not there: it is made at the first start of `antigravity-gateway serve` (or \
             by `antigravity-gateway init`)",
            path.display()
        ))
    })
}

/// What the file holds, as soon as it is there.
async fn made(path: &Path, wait: Duration) -> Result<Option<SecretString>, Failure> {
    let began = Instant::now();
    let mut told = false;
    loop {
        let secret = secret::read(path)?;
        if secret.is_some() || began.elapsed() >= wait {
            return Ok(secret);
        }
        if !told && began.elapsed() >= UNNOTICED {
            terminal::note(format!("waiting for {} to be made", path.display()));
            told = true;
        }
        tokio::time::sleep(LOOK).await;
    }
}
