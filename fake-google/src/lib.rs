//! A faithful offline Google: OAuth, Code Assist, the Gemini API and Vertex AI, with scripted faults.
//!
//! One listener serves everything by path, over HTTP/1.1 and HTTP/2, in the clear or with a certificate of its own
//! making. [`Running`] starts one on a free port; [`serve`] serves one on a listener of yours; the binary `fake-google`
//! does so from a shell.
//!
//! ```
//! use fake_google::{Action, Config, ErrorForm, ErrorName, Fault, Running};
//!
//! # async fn example() -> Result<(), fake_google::StartError> {
//! let google = Running::start(Config::with_accounts(2), false).await?;
//! let limited = Action::Error { error: ErrorName::RateLimited, form: ErrorForm::Object, retry_after: None };
//! google.fake().script(Fault::once(limited).project("fake-project-1"));
//! // Requests go to google.base_url().
//! assert_eq!(google.fake().counters().generations(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! # Over HTTP
//!
//! What [`FakeGoogle`] can be told in Rust it can be told by scripts too, in JSON:
//!
//! | request | body |
//! | --- | --- |
//! | `POST /__fake/faults` | a [`Fault`] or a list of them: `{"matcher": {"project": "p", "nth": 2}, "times": 1, "action": {"kind": "error", "error": "rate_limited"}}` |
//! | `DELETE /__fake/faults` | drops the faults that are waiting |
//! | `POST /__fake/accounts` | an [`Account`] or a list of them: `{"refresh_token": "1//x", "projects": ["p"]}` |
//! | `GET /__fake/counters` | answers [`Counters`] |
//! | `GET /__fake/requests` | answers the [`ReceivedRequest`]s that were kept |
//! | `POST /__fake/release` | `{"gate": "name"}`: lets go whom an [`Action::Hold`] holds |
//! | `POST /__fake/advance` | `{"seconds": 3600}`: moves the clock |
//! | `POST /__fake/revoke` | `{"target": "a refresh or access token, an API key, or a service account's address (its key is deleted)"}` |
//! | `POST /__fake/disable` | `{"target": "a service account's address"}` |
//! | `POST /__fake/invalidate` | `{"target": "a refresh token or Google project"}`: its access tokens get 401 |
//! | `POST /__fake/exhaust` | `{"target": "…", "group": "gemini", "seconds": 60}`: uses up a quota |
//! | `POST /__fake/reset` | back to the start |
//!
//! Each answers `{}`, or `{"error": "…"}` with 400 or 404.

mod accounts;
mod answer;
mod authorization;
mod catalogue;
mod code_assist;
mod config;
mod connection;
mod consent;
mod control;
mod counters;
mod embedding;
mod endpoint;
mod fake;
mod fault;
mod form;
mod framing;
mod gates;
mod generation;
mod intervention;
mod json;
mod listing;
mod named;
mod oauth;
mod oauth_error;
mod page;
mod prepared;
mod recording;
mod reply;
mod router;
mod running;
mod service_accounts;
mod signature;
mod spelling;
mod status;
mod tls;
mod unused;
mod wire;

pub use catalogue::{Group, Kind, Model, Upstream};
pub use config::{
    API_KEY, Account, CLIENT_ID, CLIENT_SECRET, Config, Discovery, InvalidGrant, Quota,
};
pub use connection::serve;
pub use counters::{
    ConnectionCounters, Counters, OAuthCounters, RefreshCounters, SignatureCounters, fingerprint,
};
pub use endpoint::Endpoint;
pub use fake::FakeGoogle;
pub use fault::{Action, ErrorForm, Fault, HoldPoint, Matcher, StreamErrorForm};
pub use named::ErrorName;
pub use recording::ReceivedRequest;
pub use running::{Running, StartError};
pub use service_accounts::ServiceAccount;
pub use tls::{Tls, TlsError};
pub use unused::unused_address;
