//! What the model says: from a Gemini request to candidates, without HTTP, framing or faults.
//!
//! - The words are an echo of the last user text, deterministic for a given request.
//! - Under `AUTO` and `VALIDATED` a tool is called when the last turn is a user's text that names it (case and
//!   punctuation aside) or has a word of four letters or more of its name (`weather` for `get_weather`), but for a few
//!   verbs that half of all tools begin with. Every tool that is meant is called, in parallel. Right after a function
//!   response no tool is called, unless that turn also has such a text. `ANY` always calls: the tools that are meant,
//!   else the first that is allowed. `NONE` never does.
//! - A function's response whose `output` or `result` says to call something is such a text too, so that agents
//!   take several steps.
//! - Arguments and JSON answers are made from the declared schemas, with what the text quotes and its first number.
//!   Without a schema the object has the keys that a text quotes when it speaks of keys.
//! - With `googleSearch` the words have sources, with `codeExecution` code goes before them, and with the modality
//!   `AUDIO` speech, which is noise, stands in their place.

mod ask;
mod instance;
mod render;
mod speech;
mod subject;
pub(crate) mod tokens;

pub(crate) use ask::Ask;
pub(crate) use instance::is_servable;
pub(crate) use render::{Origin, Rendering, merge};
pub(crate) use speech::{Candidate, Piece, speak};
