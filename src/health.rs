//! `healthcheck`: asks both services of a running `serve`, for containers without a
//! shell.

use antigravity_runtime::config::Environment;

use crate::{failure::Failure, stack::Configs};

/// Asks both.
pub(crate) async fn run(environment: &Environment) -> Result<(), Failure> {
    let configs = Configs::from_environment(environment)?;
    let address = configs.gateway.listen;
    gateway::health::check(address, configs.gateway.tls.is_some())
        .await
        .map_err(|source| Failure::GatewayHealth { address, source })?;
    let service = &configs.token_service;
    token_service::healthcheck(service.listen, service.tls.as_ref()).await?;
    Ok(())
}
