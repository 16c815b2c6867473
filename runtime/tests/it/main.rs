//! The listener and TLS through real sockets: what clients do to it, and what they get.

#![expect(clippy::unwrap_used, reason = "tests")]

mod certificates;
mod drain;
mod idle;
mod lengths;
mod slow;
mod support;
mod tls;
