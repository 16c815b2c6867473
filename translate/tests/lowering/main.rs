//! Requests: what Google is sent for what the client said.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod compatibility;
mod golden;
mod loops;
mod media;
mod models;
mod references;
mod requests;
mod schemas;
mod seeds;
