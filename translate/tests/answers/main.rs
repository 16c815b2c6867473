//! Answers: what a client is told of what Google says.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fold;
mod golden;
mod hostile;
mod laws;
mod played;
mod seeds;
