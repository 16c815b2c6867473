//! The operators' commands: gRPC clients of the token-service, with tables for people
//! and `--json` for scripts.

pub(crate) mod backup;
pub(crate) mod client;
mod connection;
pub(crate) mod export;
mod files;
pub(crate) mod import;
pub(crate) mod keys;
pub(crate) mod login;
pub(crate) mod migrate;
pub(crate) mod oauth_clients;
pub(crate) mod projects;
mod route;
pub(crate) mod usage;
mod view;

use antigravity_runtime::config::Environment;

pub(crate) use self::connection::Purpose;
use self::{client::Client, connection::Connection};
use crate::failure::Failure;

/// Does `command` with a client, and puts the service away if it was in this process.
async fn with_client<T>(
    environment: &Environment,
    purpose: Purpose,
    command: impl AsyncFnOnce(&mut Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut connection = Connection::open(environment, purpose).await?;
    let done = command(&mut connection.client).await;
    let closed = connection.close().await;
    let done = done?;
    closed?;
    Ok(done)
}
