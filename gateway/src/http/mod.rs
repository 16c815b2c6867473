//! The HTTP edge: routes, keys, bodies, ids, and errors as OpenAI writes them.
//! Handlers read a request, hand it on and answer; what happens upstream is not here.

mod auth;
mod body;
mod chat;
mod cors;
mod health;
mod models;
mod respond;
mod router;

pub use cors::Cors;
pub use router::{Gateway, admin_router, router};

/// Sent to clients whose request's head does not end.
pub const HEAD_TIMEOUT: &[u8] = respond::HEAD_TIMEOUT;
