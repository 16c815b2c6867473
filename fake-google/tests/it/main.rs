//! The fake Google through its sockets.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod code_assist;
mod consent;
mod control;
mod errors;
mod faults;
mod framing;
mod generation;
mod oauth;
mod prepared;
#[cfg(unix)]
mod process;
mod requests;
mod schemas;
mod signatures;
mod support;
mod transport;
