//! `antigravity-gateway`: both services in one process, a demonstration of them, and
//! the operators' commands.

mod admin;
mod demo;
mod failure;
mod serve;
mod stack;
mod terminal;

use std::{path::PathBuf, process::ExitCode};

use antigravity_runtime::config::{self, Environment};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::failure::Failure;

/// An OpenAI-compatible gateway to Gemini, with a pool of Google projects behind it.
#[derive(Debug, Parser)]
#[command(name = "antigravity-gateway", version)]
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
    Serve,
    /// Show the whole path with a fake Google on this machine; needs no account.
    Demo(demo::Arguments),
}

fn main() -> ExitCode {
    let matches = Arguments::command().get_matches();
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

async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Demo(demo) => demo::run(&demo).await,
        Command::Serve => {
            let environment = Environment::load(arguments.env_file.as_deref())?;
            serve::run(&environment).await
        }
    }
}
