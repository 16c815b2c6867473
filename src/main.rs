//! `antigravity-gateway`: both services in one process, a demonstration of them, and
//! the operators' commands.

mod admin;
mod demo;
mod failure;
mod health;
mod help;
mod init;
mod progress;
mod serve;
mod show;
mod stack;
mod table;
mod terminal;

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use antigravity_runtime::config::Environment;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::failure::Failure;

/// An OpenAI-compatible gateway to Gemini, with a pool of Google projects behind it.
#[derive(Debug, Parser)]
#[command(name = "antigravity-gateway", version, after_help = help::TOP)]
struct Arguments {
    /// A file of NAME=value lines; by default ./.env when there is one. The environment
    /// goes before it.
    #[arg(long, global = true, value_name = "FILE")]
    env_file: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the OpenAI API, with the token-service in the same process (the default).
    #[command(after_help = help::SERVE)]
    Serve,
    /// Show the whole path with a fake Google on this machine; needs no account.
    #[command(after_help = help::DEMO)]
    Demo(demo::Arguments),
    /// Bring a Google account in: consent in the browser, and its project is in the pool.
    #[command(after_help = help::LOGIN)]
    Login(Box<admin::login::Arguments>),
    /// Import projects from tokens files, sealed exports and other programs' credential files.
    #[command(after_help = help::IMPORT)]
    Import(admin::import::Arguments),
    /// Write the whole pool, sealed with a passphrase.
    #[command(after_help = help::EXPORT)]
    Export(admin::export::Arguments),
    /// List, show, add, remove, refresh, enable and disable projects, and set credentials.
    #[command(subcommand, after_help = help::PROJECTS)]
    Projects(admin::projects::Command),
    /// List, add and remove the OAuth clients that minted the refresh tokens.
    #[command(subcommand, after_help = help::OAUTH_CLIENTS)]
    OauthClients(admin::oauth_clients::Command),
    /// Sum up who used what.
    #[command(after_help = help::USAGE)]
    Usage(admin::usage::Arguments),
    /// Write a copy of all that is kept, while it is in use.
    #[command(after_help = help::BACKUP)]
    Backup(admin::backup::BackupArguments),
    /// Replace all that is kept with what a backup holds.
    #[command(after_help = help::RESTORE)]
    Restore(admin::backup::RestoreArguments),
    /// Move all that is kept to another database: from SQLite to PostgreSQL, or back.
    #[command(after_help = help::MIGRATE)]
    Migrate(admin::migrate::Arguments),
    /// List and rotate the keys that seal secrets at rest.
    #[command(subcommand, after_help = help::KEYS)]
    Keys(admin::keys::Command),
    /// Make what a first start would make, for services that run apart.
    #[command(after_help = help::INIT)]
    Init(init::Arguments),
    /// Print a secret that was made at the first start.
    #[command(after_help = help::SECRET)]
    Secret(show::Arguments),
    /// Exit with 0 when both services on this machine are healthy, else with 1.
    #[command(after_help = help::HEALTHCHECK)]
    Healthcheck,
}

fn main() -> ExitCode {
    if called("token-service") {
        return token_service::command::main();
    }
    let variables = format!("{}\n\n{}", help::TOP, help::variables());
    let matches = Arguments::command()
        .after_long_help(variables)
        .get_matches();
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let done = tokio::runtime::Runtime::new()
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(Box::pin(run(arguments))));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", failure.paragraph());
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Whether this file was started by a link of that name: the token-service's image has the service
/// and the operators' commands, which are mostly the same code, as one file with two names.
fn called(name: &str) -> bool {
    let path = std::env::args_os().next();
    path.is_some_and(|path| Path::new(&path).file_name() == Some(OsStr::new(name)))
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let command = arguments.command.unwrap_or(Command::Serve);
    if let Command::Demo(demo) = &command {
        // It must not meet what is configured for real.
        return demo::run(demo).await;
    }
    let environment = Environment::load(arguments.env_file.as_deref())?;
    match command {
        Command::Serve | Command::Demo(_) => serve::run(&environment).await,
        Command::Login(login) => admin::login::run(&environment, *login).await,
        Command::Import(import) => admin::import::run(&environment, import).await,
        Command::Export(export) => admin::export::run(&environment, export).await,
        Command::Projects(command) => admin::projects::run(&environment, command).await,
        Command::OauthClients(command) => admin::oauth_clients::run(&environment, command).await,
        Command::Usage(usage) => admin::usage::run(&environment, usage).await,
        Command::Backup(backup) => admin::backup::back_up(&environment, backup).await,
        Command::Restore(restore) => admin::backup::restore(&environment, restore).await,
        Command::Migrate(migrate) => admin::migrate::run(&environment, migrate).await,
        Command::Keys(command) => admin::keys::run(&environment, command).await,
        Command::Init(init) => init::run(&environment, &init),
        Command::Secret(secret) => show::run(&environment, &secret).await,
        Command::Healthcheck => health::run(&environment).await,
    }
}
