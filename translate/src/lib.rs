//! OpenAI's chat completions to Gemini and back.
//!
//! The hub is Gemini's own language: a surface lowers its request to a Gemini
//! request and renders its answer from Gemini's events. Nothing here does I/O,
//! reads a clock or draws a random number; ids and times come in from outside.
//!
//! In reading order: [`json`] borrowed tokens, [`chat`] the surface, [`gemini`]
//! the hub, [`schema`] and [`signature`] what needs care, [`sse`] the framing.

pub mod chat;
pub mod error;
pub mod gemini;
pub mod json;
pub mod media;
pub mod schema;
pub mod signature;
pub mod sse;
