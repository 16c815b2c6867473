//! Gemini's own language, which is the hub: what every surface lowers to and
//! renders from.

pub mod event;
pub mod finish;
pub mod grounding;
pub mod logprobs;
pub mod model;
pub(crate) mod partial;
pub mod request;
pub mod response;
pub(crate) mod settings;
pub(crate) mod thinking;
pub mod usage;
pub(crate) mod write;
