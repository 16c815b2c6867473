//! The command `token-service`: reads its configuration and serves.

use std::{path::PathBuf, process::ExitCode};

use antigravity_runtime::{
    config::{self, ConfigError, Environment},
    shutdown::Shutdown,
    telemetry,
};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tokio::net::TcpListener;

use crate::{Config, Error, config::VARS, healthcheck, serve};

const EXAMPLES: &str = "\
Examples:
  token-service                                      with data/tokens.db and data/tokens.json
  TOKEN_SERVICE_LISTEN=0.0.0.0:50051 LOG_FORMAT=json token-service
  token-service healthcheck

Exit status: 0 done; 1 failed; 2 wrong configuration or usage.";

/// Keeps Google projects and hands out fresh access tokens to gateways, over gRPC.
#[derive(Debug, Parser)]
#[command(name = "token-service", version)]
struct Arguments {
    /// File with further environment variables; those that are set win. Default: ./.env,
    /// when there is one.
    #[arg(long, global = true, value_name = "PATH")]
    env_file: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM (the default).
    Serve,
    /// Exit with 0 when the service at TOKEN_SERVICE_LISTEN is healthy, else with 1.
    Healthcheck,
}

/// Runs it with the arguments and the environment of this process.
#[must_use]
pub fn main() -> ExitCode {
    let matches = Arguments::command()
        .after_help(format!(
            "{EXAMPLES}\n\n{}",
            config::help("Environment variables:", VARS)
        ))
        .get_matches();
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let (config, lines, environment) = match configure(&arguments) {
        Ok(configured) => configured,
        Err(error) => return fail(&error, 2),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Healthcheck => {
            match runtime.block_on(healthcheck(config.listen, config.tls.as_ref())) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(&error, 1),
            }
        }
        Command::Serve => match runtime.block_on(run(config, &lines, environment)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => match error.downcast_ref::<Error>() {
                Some(known) => fail(known, known.exit_code()),
                None => fail(&format_args!("{error:#}"), 1),
            },
        },
    }
}

fn configure(
    arguments: &Arguments,
) -> Result<(Config, telemetry::Writing, Environment), ConfigError> {
    let environment = Environment::load(arguments.env_file.as_deref())?;
    let config = Config::from_environment(&environment)?;
    let lines = telemetry::init(config.log_format, &config.log_level);
    for (name, origin) in environment.unknown(&[VARS]) {
        tracing::debug!(name, %origin, "a variable of another service, or a misspelt one");
    }
    Ok((config, lines, environment))
}

async fn run(
    config: Config,
    lines: &telemetry::Writing,
    environment: Environment,
) -> anyhow::Result<()> {
    use anyhow::Context as _;
    lines.levels().follow(environment);
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!(
            "cannot listen on {} (TOKEN_SERVICE_LISTEN); choose another address or port",
            config.listen
        )
    })?;
    serve(config, listener, Shutdown::on_signals()).await?;
    Ok(())
}

#[expect(
    clippy::print_stderr,
    reason = "the last words of a process that cannot start"
)]
fn fail(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(code)
}
