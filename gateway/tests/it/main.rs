//! The gateway through its public face: real sockets, a real token-service on a real
//! SQLite file, and an offline Google behind TLS.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../../../runtime/tests/it/certificates.rs"]
mod certificates;

mod affinity;
mod answers;
mod bad_input;
mod broken_answers;
mod choices;
mod connections;
mod credentials;
mod evenness;
mod failover;
mod hang_ups;
mod metrics;
mod outputs;
mod pool_states;
mod pools;
mod process;
mod protection;
mod remote_media;
mod request_lines;
mod request_log;
mod silence;
mod status_page;
mod support;
mod token_service_away;
mod traces;
mod transport;
mod verdicts;
