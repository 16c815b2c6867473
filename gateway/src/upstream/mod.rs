//! Google: who is asked, how often, and what comes of it.
//!
//! [`Upstream::open`] owns every retry. It ends with an answer of which the client can
//! be told the first piece, or with what the client is to be told instead. Until then
//! nothing has reached the client, so everything can be tried again.

mod attempt;
pub mod client;
pub mod drain;
pub mod envelope;
pub mod google_error;
mod open;
pub mod outcome;
pub mod pieces;
mod react;
mod refusals;
pub mod relay;
pub mod running;
mod urls;

pub use attempt::About;
pub use open::{Call, Opened, Upstream};
