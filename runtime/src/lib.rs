//! What both services stand on: configuration, clock, secrets, listener,
//! open files, shutdown, logging, text that can be shown. Nothing here knows OpenAI, Google or the token contract.

pub mod clock;
pub mod config;
pub mod descriptors;
pub mod dotenv;
mod hangups;
pub mod listener;
pub mod random;
pub mod secret;
pub mod showable;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
pub mod variables;
