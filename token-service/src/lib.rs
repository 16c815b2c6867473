//! Keeps projects and hands out fresh access tokens round-robin.
//!
//! Read in this order: [`project`] (what a project is), [`rotation`] (who is next),
//! [`credential`] and [`service_account`] (what it logs in with), `refresh` and `oauth` (how
//! tokens stay fresh), `acquire` (turns with tokens), `outcomes`, `ledger` (who used what),
//! `admin`, `login`, `keys`, [`tokens_file`] and `import`, `store` and [`seal`] (what is
//! kept, and how), `rpc` (the contract), `metrics` and `probes` (what operators watch), and
//! [`serve()`], the only way in, which [`command`] takes.

pub mod command;
pub mod config;
pub mod credential;
pub mod project;
pub mod rotation;
pub mod seal;
pub mod secrets;
pub mod service_account;
pub mod tokens_file;

mod acquire;
mod admin;
mod error;
mod export;
mod healthcheck;
mod import;
mod keys;
mod last_hour;
mod ledger;
mod limits;
mod login;
mod metrics;
mod oauth;
mod outcomes;
mod pool;
mod probes;
mod quota;
mod refresh;
mod replicas;
mod rpc;
mod serve;
mod store;
mod transitions;
mod waiting;

pub use self::{
    config::Config,
    error::Error,
    healthcheck::{HealthcheckError, healthcheck},
    keys::{Forgotten, forget_secrets},
    refresh::{BACKGROUND_REFRESHES, ahead, stagger},
    secrets::Secrets,
    serve::serve,
    store::{MoveError, Moved, Step, StoreError, migrate, take_back},
};
