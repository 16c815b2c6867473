//! Requests as they came in, for tests that look at what was sent.

use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::Serialize;

use crate::catalogue::Upstream;
use crate::counters::fingerprint;
use crate::endpoint::Endpoint;

/// A request to one of a model's methods.
#[derive(Clone, Debug, Serialize)]
pub struct ReceivedRequest {
    /// What was asked for.
    pub endpoint: Endpoint,
    /// Of whom.
    pub upstream: Upstream,
    /// Google project that it names, if any.
    pub project: String,
    /// Bare id of the model that it names.
    pub model: String,
    /// Headers by lower-case name; of credentials only the [`fingerprint`].
    pub headers: BTreeMap<String, String>,
    /// The body, Code Assist's envelope included.
    pub body: serde_json::Value,
}

/// Headers for the record.
pub(crate) fn harmless(headers: &HeaderMap) -> BTreeMap<String, String> {
    headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            let secret = if name == AUTHORIZATION {
                value.split_once(' ').map(|(_, token)| token)
            } else {
                (name == "x-goog-api-key").then_some(value.as_ref())
            };
            let told = secret.map_or_else(|| value.clone().into_owned(), fingerprint);
            (name.as_str().to_owned(), told)
        })
        .collect()
}
