//! What a fake Google saw, in numbers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use sha2::{Digest, Sha256};

/// The first 8 hex digits of the SHA-256 of a secret: how [`Counters`] name tokens.
pub fn fingerprint(secret: &str) -> String {
    Sha256::digest(secret)
        .iter()
        .take(4)
        .fold(String::new(), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// A snapshot of everything counted since the start or the last reset.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counters {
    /// Requests by endpoint, such as `generate_content` or `oauth_token`.
    pub requests: BTreeMap<String, u64>,
    /// Generation requests (unary and streamed) by Google project.
    pub by_project: BTreeMap<String, u64>,
    /// Generation requests by model.
    pub by_model: BTreeMap<String, u64>,
    /// Generation requests by [`fingerprint`] of the access token or API key.
    pub by_access_token: BTreeMap<String, u64>,
    /// The Google project of each generation request, in order of arrival; the newest 10,000.
    pub project_sequence: Vec<String>,
    /// Answers by HTTP status, the token endpoint's included.
    pub statuses: BTreeMap<u16, u64>,
    /// Calls of the token endpoint.
    pub oauth: OAuthCounters,
    /// Answers that the client did not wait for.
    pub aborted: u64,
    /// Thought signatures, issued and carried by requests.
    pub signatures: SignatureCounters,
    /// TCP connections.
    pub connections: ConnectionCounters,
    /// Requests that are being answered.
    pub in_flight: u64,
    /// The most that were answered at once.
    pub in_flight_max: u64,
    /// Scripted faults that have fired.
    pub faults_fired: u64,
}

/// Calls of the token endpoint.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OAuthCounters {
    /// Every call.
    pub total: u64,
    /// Refreshes, by [`fingerprint`] of the refresh token.
    pub by_refresh_token: BTreeMap<String, RefreshCounters>,
    /// Refreshes that were answered with an access token, by the account's first project: refresh
    /// tokens change when they are rotated.
    pub granted_by_project: BTreeMap<String, u64>,
}

/// Refreshes with one refresh token.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct RefreshCounters {
    /// Calls that named it.
    pub calls: u64,
    /// Calls that were answered with an access token.
    pub granted: u64,
    /// Calls that are being answered.
    pub in_flight: u64,
    /// The most at once: 1 when refreshes are single flight.
    pub in_flight_max: u64,
}

/// Thought signatures by what they turned out to be.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct SignatureCounters {
    /// Issued on function calls: those that have to come back.
    pub issued: u64,
    /// Issued by a fake Google.
    pub real: u64,
    /// One of the two documented dummy values, raw or in base64.
    pub dummy: u64,
    /// Neither.
    pub corrupt: u64,
    /// Calls that needed one and had none.
    pub missing: u64,
}

/// TCP connections.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ConnectionCounters {
    /// Accepted so far.
    pub accepted: u64,
    /// Open now.
    pub open: u64,
    /// Requests over HTTP/1.1.
    pub http1_requests: u64,
    /// Requests over HTTP/2.
    pub http2_requests: u64,
}

impl Counters {
    /// Requests at an endpoint, by its name in [`requests`](Self::requests).
    pub fn requests_at(&self, endpoint: crate::Endpoint) -> u64 {
        self.requests.get(endpoint.name()).copied().unwrap_or(0)
    }

    /// Generation requests, unary and streamed.
    pub fn generations(&self) -> u64 {
        self.by_model.values().sum()
    }

    /// What happened to a refresh token.
    pub fn refreshes(&self, refresh_token: &str) -> RefreshCounters {
        self.oauth
            .by_refresh_token
            .get(&fingerprint(refresh_token))
            .copied()
            .unwrap_or_default()
    }

    /// Generation requests that a Google project was named in.
    pub fn project(&self, project: &str) -> u64 {
        self.by_project.get(project).copied().unwrap_or(0)
    }
}

/// Adds one under a name.
pub(crate) fn count<K: Ord>(map: &mut BTreeMap<K, u64>, key: K) {
    *map.entry(key).or_default() += 1;
}
