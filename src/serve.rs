//! `serve`: both services in one process, and what a person has to know at the start.

use std::time::Duration;

use antigravity_runtime::{config::Environment, shutdown::Shutdown, telemetry};
use gateway::config::Logging;
use secrecy::ExposeSecret as _;

use crate::{
    admin::client::Client,
    failure::Failure,
    stack::{self, Configs, Stack},
    terminal,
};

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn run(environment: &Environment) -> Result<(), Failure> {
    let logging = Logging::from_environment(environment)?;
    let mut configs = Configs::from_environment(environment)?;
    if terminal::is_watched() && !stack::is_set(environment, "SHUTDOWN_DELAY")? {
        // Who presses Ctrl-C has no load balancer to wait for.
        configs.gateway.shutdown_delay = Duration::ZERO;
    }
    let lines = telemetry::init(logging.format, &logging.level);
    lines.levels().follow(environment.clone());
    let known = [gateway::config::VARS, token_service::config::VARS];
    for (name, origin) in environment.unknown(&known) {
        tracing::warn!(name, %origin, "this variable is not known here and has no effect");
    }
    if stack::is_set(environment, "TOKEN_SERVICE_URL")? {
        tracing::info!("TOKEN_SERVICE_URL is for the other commands: serve brings its own service");
    }
    let shutdown = Shutdown::on_signals();
    let Some(stack) = Stack::start(configs, &shutdown).await? else {
        return Ok(());
    };
    announce(&stack).await;
    stack.run().await
}

async fn announce(stack: &Stack) {
    let scheme = if stack.gateway_tls { "https" } else { "http" };
    let base = format!("{scheme}://{}/v1", stack::reachable(stack.gateway_address));
    if let Some(key) = &stack.api_key {
        tracing::info!(
            file = %key.path.display(),
            made = key.created,
            "clients need the API key in this file, as API_KEYS is not set"
        );
    }
    let service = &stack.token_service;
    let client = Client::to(
        service.address,
        service.tls.as_ref(),
        &stack.admin_token,
        "its own",
    );
    let projects = match client {
        Ok(mut client) => client.count_projects().await,
        Err(error) => Err(error),
    };
    match projects {
        Ok(0) => tracing::warn!(
            "there is no project yet, so that every request is refused; add one: \
             `antigravity-gateway import data/tokens.json`, or `antigravity-gateway projects \
             add GOOGLE_PROJECT_ID`"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot tell how many projects there are"),
    }
    if terminal::is_watched() {
        terminal::line(format!("\nOpenAI base URL  {base}"));
        if let Some(key) = &stack.api_key {
            if key.created {
                let secret = key.secret.expose_secret();
                terminal::line(format!("API key          {secret}"));
                terminal::line(format!(
                    "                 shown this once; kept in {}",
                    key.path.display()
                ));
            } else {
                terminal::line(format!("API key          in {}", key.path.display()));
            }
        }
        if let Some(address) = stack.status_page {
            let address = stack::reachable(address);
            terminal::line(format!(
                "Status page      {scheme}://{address}/ (`antigravity-gateway secret admin_token` \
                 opens it)"
            ));
        }
        terminal::line("Ctrl-C ends it.\n");
    }
}
