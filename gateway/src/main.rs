//! The gateway as a process of its own.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use antigravity_runtime::{
    config::{self, Environment},
    shutdown::Shutdown,
    telemetry,
};
use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use gateway::config::{Config, Defaults, Logging, VARS};

/// Where a token-service in the same folder keeps its secrets by default.
const FOLDER: &str = "data";
const EXAMPLES: &str = "\
Examples:
  gateway                                            with data/api_key and data/gateway_token
  TOKEN_SERVICE_URL=http://tokens:50051 HOST=0.0.0.0 gateway
  gateway healthcheck

Exit status: 0 done; 1 failed; 2 wrong configuration or usage.";

/// Serves the OpenAI HTTP API and answers with Gemini.
#[derive(Debug, Parser)]
#[command(name = "gateway", version)]
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
    /// Serve (the default).
    Serve,
    /// Ask a running gateway on this machine whether it lives; exit status 1 when not.
    Healthcheck,
}

#[tokio::main]
async fn main() -> ExitCode {
    let help = format!(
        "{EXAMPLES}\n\n{}",
        config::help("Environment variables:", VARS)
    );
    let command = Arguments::command().after_help(help);
    let arguments = match Arguments::from_arg_matches(&command.get_matches()) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway: {error:#}");
            let served = error.downcast_ref::<gateway::ServeError>();
            let configured_wrong = error.is::<config::ConfigError>();
            ExitCode::from(served.map_or(if configured_wrong { 2 } else { 1 }, |e| e.exit_code()))
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let environment = Environment::load(arguments.env_file.as_deref())?;
    let logging = Logging::from_environment(&environment)?;
    let kept = Defaults::from_folder(&environment, Path::new(FOLDER))?;
    let config = Config::from_environment(&environment, kept)?;
    if let Some(Command::Healthcheck) = arguments.command {
        return gateway::health::check(config.listen, config.tls.is_some())
            .await
            .with_context(|| format!("the gateway on {} does not live", config.listen));
    }
    let lines = telemetry::init(logging.format, &logging.level);
    lines.levels().follow(environment.clone());
    for (name, origin) in environment.unknown(&[VARS]) {
        tracing::warn!(name, %origin, "this variable is not known here and has no effect");
    }
    let listener = tokio::net::TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {} (HOST, PORT)", config.listen))?;
    gateway::serve(config, listener, Shutdown::on_signals()).await?;
    Ok(())
}
