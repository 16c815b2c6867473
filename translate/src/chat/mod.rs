//! The chat completions surface: OpenAI's request lowered to Gemini's, Gemini's
//! events rendered as OpenAI's answer, streamed or whole.

mod annotations;
pub mod audio;
mod calls;
mod choice;
mod chunk;
mod end;
pub mod fields;
mod google;
mod logprobs;
mod message;
pub mod names;
mod part;
mod remembered;
pub mod reply;
pub mod request;
mod settings;
mod source;
mod tools;
mod widths;
mod write;
