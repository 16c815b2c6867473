//! The gRPC face: thin; proto to domain and back, errors to statuses.

mod auth;
mod check;
mod projects;
mod tokens;
mod view;

pub(crate) use self::{auth::Guard, projects::Projects, tokens::Tokens};

/// `google.rpc.ErrorInfo.domain` of our errors.
const ERROR_DOMAIN: &str = "antigravity-gateway";
