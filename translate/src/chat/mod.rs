//! The chat completions surface: OpenAI's request lowered to Gemini's, Gemini's
//! events rendered as OpenAI's answer, streamed or whole.

mod annotations;
pub mod audio;
mod choice;
mod chunk;
pub mod fields;
mod logprobs;
mod message;
mod part;
pub mod reply;
pub mod request;
mod tools;
mod write;
