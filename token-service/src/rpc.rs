//! The gRPC face: thin; proto to domain and back, errors to statuses.

mod auth;
mod check;
mod database;
mod measured;
mod projects;
mod tokens;
mod usage;
mod view;

pub(crate) use self::{
    auth::Guard, database::Database, measured::Measured, projects::Projects, tokens::Tokens,
    usage::Usage,
};

/// `google.rpc.ErrorInfo.domain` of our errors.
const ERROR_DOMAIN: &str = "antigravity-gateway";
