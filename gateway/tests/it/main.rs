//! The gateway through its public face: real sockets, a real token-service on a real
//! SQLite file, and an offline Google behind TLS.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod answers;
mod bad_input;
mod evenness;
mod failover;
mod pools;
mod process;
mod support;
mod token_service_away;
