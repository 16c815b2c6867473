//! The all-in-one binary as its users meet it: real processes, real files, real sockets,
//! and a fake Google behind them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that fails is to say so at once"
)]

#[path = "../../runtime/tests/it/certificates.rs"]
mod certificates;

mod admin;
mod credentials;
mod demo;
mod documents;
mod help_table;
mod init;
mod login;
mod readmes;
mod refusals;
mod serve;
mod support;
mod tls;
