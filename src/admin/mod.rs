//! The operators' commands.

pub(crate) mod client;
