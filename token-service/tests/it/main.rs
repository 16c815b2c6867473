//! The service as its clients see it: real sockets, real database files, and an offline
//! Google.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "../../../runtime/tests/it/certificates.rs"]
mod certificates;

mod admin;
mod adversity;
mod backups;
mod cooldowns;
mod crashes;
mod credentials;
mod failovers;
mod formats;
mod imports;
mod keys;
mod ledger;
mod listener;
mod login_refusals;
mod logins;
mod metrics;
mod moves;
mod opening;
mod postgres;
mod refreshes;
mod refusals;
mod replicas;
mod roles;
mod rotation;
mod secrecy;
mod standbys;
mod starts;
mod support;
mod tls;
mod transfers;
