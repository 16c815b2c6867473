//! `migrate`: all that the token-service keeps, from one database to another.

use antigravity_runtime::{config::Environment, tls};
use serde::Serialize;
use token_service::{Step, config::Database};

use super::view;
use crate::{failure::Failure, progress::Progress, terminal};

/// What `migrate` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The database of today; by default the one of DATABASE_URL.
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// The database to fill, which has to be empty: postgres://USER@HOST/DATABASE or
    /// sqlite://PATH. `env:NAME` reads the URL from a variable, so that its password is in no
    /// list of processes.
    #[arg(long, value_name = "URL", required_unless_present = "take_back")]
    to: Option<String>,
    /// Empty the new database first, whatever is in it.
    #[arg(long)]
    start_over: bool,
    /// Have the old database serve again as it was when it was moved, for when the new one is
    /// lost. Refresh tokens that Google has rotated since are lost too.
    #[arg(long, conflicts_with_all = ["to", "start_over", "json"])]
    take_back: bool,
    /// Print JSON: {"projects", "oauth_clients", "usage_rows", "resumed"}.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    projects: usize,
    oauth_clients: usize,
    usage_rows: usize,
    resumed: bool,
}

/// Moves the database.
pub(crate) async fn run(environment: &Environment, arguments: Arguments) -> Result<(), Failure> {
    let own = token_service::Config::from_environment(environment)?;
    let from = match &arguments.from {
        Some(url) => database("--from", url)?,
        None => own.database,
    };
    tls::install_crypto_provider();
    let Some(to) = &arguments.to else {
        return take_back(&from).await;
    };
    let to = database("--to", to)?;
    let mut progress = Progress::of(format!("moving to {to}"));
    let moved = token_service::migrate(&from, &to, arguments.start_over, |step| match step {
        Step::Copying(_, done, of) => progress.is_at(done as u64, of as u64),
        Step::Comparing(_) => {}
    });
    // Killed here, or by Ctrl-C, it goes on when it is run again.
    let moved = tokio::select! {
        moved = moved => moved?,
        _ = tokio::signal::ctrl_c() => return Err(Failure::MoveInterrupted),
    };
    drop(progress);
    if arguments.json {
        let report = Report {
            projects: moved.projects,
            oauth_clients: moved.oauth_clients,
            usage_rows: moved.usage_rows,
            resumed: moved.resumed,
        };
        return view::print_json(&report);
    }
    let again = if moved.resumed {
        " (an earlier move was finished)"
    } else {
        ""
    };
    terminal::line(format!(
        "Moved {}, {} and {} of the ledger from {from} to {to}, and found both the same{again}.",
        terminal::counted(moved.projects as u64, "project"),
        terminal::counted(moved.oauth_clients as u64, "OAuth client"),
        terminal::counted(moved.usage_rows as u64, "row")
    ));
    terminal::line(next_step(&to));
    Ok(())
}

async fn take_back(from: &Database) -> Result<(), Failure> {
    let to = token_service::take_back(from).await?;
    terminal::line(format!(
        "{from} serves again, as it was when it was moved to {to}. Do not start a token-service \
         with that one any more. Projects whose refresh tokens were rotated meanwhile need a new \
         login: `antigravity-gateway projects list` tells which."
    ));
    Ok(())
}

fn next_step(to: &Database) -> String {
    match to {
        Database::Postgres(_) => "Next: start the token-services with DATABASE_URL set to it, and \
             with the ENCRYPTION_KEY, GATEWAY_TOKEN and ADMIN_TOKEN of before (`antigravity-gateway \
             secret encryption_key` and so on print those that were made at the first start). \
             None starts with the old database any more: refresh tokens may be rotated."
            .to_owned(),
        _ => format!(
            "Next: start the token-service with DATABASE_URL=sqlite://{to} and the ENCRYPTION_KEY \
             of before. None starts with the old database any more: refresh tokens may be rotated."
        ),
    }
}

fn database(argument: &str, url: &str) -> Result<Database, Failure> {
    let read;
    let url = match url.strip_prefix("env:") {
        None => url,
        Some(name) => {
            read = std::env::var(name)
                .map_err(|_| Failure::Usage(format!("{argument}: {name} is not set")))?;
            &read
        }
    };
    url.trim()
        .parse()
        .map_err(|error| Failure::Usage(format!("{argument} {error}")))
}
