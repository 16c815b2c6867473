//! `keys`: what seals the secrets at rest.

use antigravity_runtime::config::Environment;
use comfy_table::Cell;
use serde::Serialize;
use token_service::Config;

use super::{Purpose, projects::confirm, view, with_client};
use crate::{failure::Failure, table, terminal};

/// What `keys` takes.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List the keys by their ids, and how much each has sealed. Never a key itself.
    List {
        /// Print JSON: {"origin", "keys": [{"id", "seals", "available", "sealed_values"}]}.
        #[arg(long)]
        json: bool,
    },
    /// Seal every secret with a new key, while everything goes on.
    Rotate {
        /// Print JSON: {"key_id", "resealed_values", "retired_key_ids", "retired_to"}.
        #[arg(long)]
        json: bool,
    },
    /// Give up the secrets of a database whose key is lost, and keep the rest of it.
    Reset {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Print JSON: {"projects", "oauth_clients"}.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Serialize)]
struct List {
    origin: String,
    keys: Vec<Key>,
}

#[derive(Debug, Serialize)]
struct Key {
    id: String,
    seals: bool,
    available: bool,
    sealed_values: u32,
}

#[derive(Debug, Serialize)]
struct Rotated {
    key_id: String,
    resealed_values: u32,
    retired_key_ids: Vec<String>,
    retired_to: Option<String>,
}

#[derive(Debug, Serialize)]
struct Reset {
    projects: u32,
    oauth_clients: u32,
}

/// Does one of them.
pub(crate) async fn run(environment: &Environment, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { json } => list(environment, json).await,
        Command::Rotate { json } => rotate(environment, json).await,
        Command::Reset { yes, json } => reset(environment, yes, json).await,
    }
}

async fn list(environment: &Environment, json: bool) -> Result<(), Failure> {
    let listed = with_client(environment, Purpose::Existing, async |client| {
        Ok(client.list_encryption_keys().await?)
    })
    .await?;
    let keys = listed.keys.into_iter().map(|key| Key {
        id: key.id,
        seals: key.seals,
        available: key.available,
        sealed_values: key.sealed_values,
    });
    let list = List {
        origin: listed.origin,
        keys: keys.collect(),
    };
    if json {
        return view::print_json(&list);
    }
    let mut table = table::table(&["KEY", "USE", "SEALED VALUES"]);
    for key in &list.keys {
        let is_used = match (key.seals, key.available) {
            (true, _) => "seals and opens",
            (false, true) => "opens",
            (false, false) => "is missing",
        };
        table.add_row([
            Cell::new(&key.id),
            Cell::new(is_used),
            Cell::new(key.sealed_values),
        ]);
    }
    table::print(&table);
    terminal::line(format!("\nThey come from {}.", list.origin));
    Ok(())
}

async fn rotate(environment: &Environment, json: bool) -> Result<(), Failure> {
    let rotated = with_client(environment, Purpose::Existing, async |client| {
        Ok(client.rotate_encryption_key().await?)
    })
    .await?;
    let rotated = Rotated {
        key_id: rotated.key_id,
        resealed_values: rotated.resealed_values,
        retired_key_ids: rotated.retired_key_ids,
        retired_to: Some(rotated.retired_to).filter(|path| !path.is_empty()),
    };
    if json {
        return view::print_json(&rotated);
    }
    let retired = rotated.retired_key_ids.join(" and ");
    if rotated.resealed_values == 0 && rotated.retired_to.is_none() && !retired.is_empty() {
        // Whether it was done before, or the keys stand in the wrong order, cannot be told apart.
        terminal::line(format!(
            "Nothing had to be sealed anew: {key} is first in ENCRYPTION_KEY, and seals everything. \
             If {key} is the new key, take {retired} out of ENCRYPTION_KEY; only backups that were \
             made before may need it. If {retired} is to be the new one, put it first, restart, and \
             rotate again.",
            key = rotated.key_id
        ));
        return Ok(());
    }
    let next = match &rotated.retired_to {
        _ if retired.is_empty() => String::new(),
        Some(path) => format!(
            "\nThe old key, {retired}, is in {path}: backups that were made before need it. Make \
             a new one (`antigravity-gateway backup FILE`), then delete it."
        ),
        None => format!(
            "\nNothing needs {retired} any more but backups that were made before: take it out of \
             ENCRYPTION_KEY."
        ),
    };
    terminal::line(format!(
        "{} sealed anew; the key is {} now.{next}",
        terminal::counted(rotated.resealed_values, "secret"),
        rotated.key_id
    ));
    Ok(())
}

async fn reset(environment: &Environment, yes: bool, json: bool) -> Result<(), Failure> {
    confirm(
        yes,
        "Give up every refresh token and client secret in the database for good? Only do so when \
         their key is lost.",
    )?;
    let config = Config::from_environment(environment)?;
    let forgotten = token_service::forget_secrets(&config).await?;
    if json {
        return view::print_json(&Reset {
            projects: forgotten.projects,
            oauth_clients: forgotten.oauth_clients,
        });
    }
    terminal::line(format!(
        "Kept without their secrets: {} and {}. Set those of the clients again \
         (`antigravity-gateway oauth-clients put`), then log each project in again \
         (`antigravity-gateway login`), or import a sealed export with --overwrite",
        terminal::counted(forgotten.projects, "project"),
        terminal::counted(forgotten.oauth_clients, "OAuth client")
    ));
    Ok(())
}
