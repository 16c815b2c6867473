//! `oauth-clients`: the OAuth clients that minted the projects' refresh tokens.

use antigravity_proto::v1;
use antigravity_runtime::config::Environment;
use comfy_table::Cell;
use jiff::Timestamp;
use serde::Serialize;

use super::{Purpose, files::Source, projects::confirm, view, with_client};
use crate::{failure::Failure, table, terminal};

/// What `oauth-clients` takes.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List the OAuth clients, without their secrets.
    List {
        /// Print JSON: {"oauth_clients": [{"client_id", "token_url", "has_secret",
        /// "projects", "refused_since"}]}.
        #[arg(long)]
        json: bool,
    },
    /// Add an OAuth client, or change the one of this id.
    Put {
        /// Google's client id, such as 123-abc.apps.googleusercontent.com.
        client_id: String,
        /// A file with the client secret; - reads standard input. Without it a secret that
        /// is stored is kept.
        #[arg(long, value_name = "FILE")]
        secret_file: Option<Source>,
        /// Where it refreshes. Default: OAUTH_TOKEN_URL, else Google's.
        #[arg(long, value_name = "URL")]
        token_url: Option<String>,
        /// Print JSON: the client, as in `list`.
        #[arg(long)]
        json: bool,
    },
    /// Remove an OAuth client that no project names.
    Remove {
        /// Google's client id.
        client_id: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Print JSON: {"client_id", "removed"}.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Serialize)]
struct List {
    oauth_clients: Vec<view::OAuthClient>,
}

#[derive(Debug, Serialize)]
struct Removed {
    client_id: String,
    removed: bool,
}

/// Does one of them.
pub(crate) async fn run(environment: &Environment, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { json } => list(environment, json).await,
        Command::Put {
            client_id,
            secret_file,
            token_url,
            json,
        } => {
            let secret = match secret_file {
                Some(source) => Some(source.read_secret("client secret")?),
                None => None,
            };
            let client = v1::OAuthClient {
                client_id,
                token_url: token_url.unwrap_or_default(),
                ..Default::default()
            };
            let client = with_client(environment, Purpose::Write, async |service| {
                Ok(service.put_oauth_client(client, secret.as_ref()).await?)
            })
            .await?;
            let client = view::OAuthClient::from(client);
            if json {
                return view::print_json(&client);
            }
            let secret = if client.has_secret {
                "with a secret"
            } else {
                "without a secret"
            };
            terminal::line(format!("{} is stored, {secret}", client.client_id));
            Ok(())
        }
        Command::Remove {
            client_id,
            yes,
            json,
        } => {
            confirm(yes, &format!("Remove the OAuth client {client_id}?"))?;
            with_client(environment, Purpose::Write, async |service| {
                Ok(service.delete_oauth_client(client_id.clone()).await?)
            })
            .await?;
            if json {
                return view::print_json(&Removed {
                    client_id,
                    removed: true,
                });
            }
            terminal::line(format!("{client_id} is removed"));
            Ok(())
        }
    }
}

async fn list(environment: &Environment, json: bool) -> Result<(), Failure> {
    let clients = with_client(environment, Purpose::Read, async |service| {
        Ok(service.list_oauth_clients().await?)
    })
    .await?;
    let list = List {
        oauth_clients: clients.into_iter().map(Into::into).collect(),
    };
    if json {
        return view::print_json(&list);
    }
    if list.oauth_clients.is_empty() {
        terminal::line(
            "There is no OAuth client yet. `antigravity-gateway import FILE` takes those of the \
             file over; `antigravity-gateway oauth-clients put` adds one.",
        );
        return Ok(());
    }
    let now = Timestamp::now();
    let mut table = table::table(&["CLIENT ID", "SECRET", "PROJECTS", "TOKEN URL", "STATE"]);
    for client in &list.oauth_clients {
        let state = match client.refused_since {
            Some(since) => Cell::new(format!("refused, {}", table::distance(since, now))),
            None => Cell::new("-"),
        };
        table.add_row([
            Cell::new(&client.client_id),
            Cell::new(if client.has_secret { "yes" } else { "no" }),
            Cell::new(client.projects),
            Cell::new(client.token_url.as_deref().unwrap_or("default")),
            state,
        ]);
    }
    table::print(&table);
    Ok(())
}
