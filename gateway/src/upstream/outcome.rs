//! What an upstream's answer means for its project and for the client: classified
//! once, by google.rpc's details first, then by text.

use std::time::Duration;

use antigravity_proto::{UNSTATED_REST, v1::Outcome};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};

use super::google_error::GoogleError;
use crate::error::Error;

/// A failed attempt, classified.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What the token-service is told.
    pub outcome: Outcome,
    /// Google's HTTP status; 0 when there was no answer.
    pub http_status: u16,
    /// Google's reason, or its status name.
    pub reason: String,
    /// Google's words, on one line and not many.
    pub said: String,
    /// The link that the account's owner has to open.
    pub url: String,
    /// When the limit ends.
    pub reset_at: Option<Timestamp>,
    /// What the client is told when nobody else can serve.
    pub error: Error,
    /// What to do next.
    pub next: Next,
}

/// What a failed attempt calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The token is refused: refresh it and try again, then another project.
    Refresh,
    /// Another project; this one not again for this request.
    OtherProject,
    /// A 429 without a word on when it ends: maybe the request's fault.
    BareLimit,
    /// Another upstream: this one's front end answers nobody here.
    OtherUpstream,
    /// Another project, or this one again a little later.
    Again,
    /// The model is not known here: another host, another project, another upstream.
    UnknownModel,
    /// The same once more, and it is nobody's fault.
    Repeat,
    /// It would not help.
    Tell,
}

/// The longest rest that is believed: no quota window of Google's is longer.
const MAX_REST: SignedDuration = SignedDuration::from_hours(31 * 24);
/// Characters of a reason that are reported.
const MAX_REASON: usize = 256;
/// Bytes of a link that is reported.
const MAX_URL: usize = 2048;
/// The longest that an upstream is left alone, whatever its front end says: it was not asked
/// about the projects.
const MAX_SHUT_OUT: SignedDuration = SignedDuration::from_mins(10);
/// How long an upstream is left alone whose front end shut this machine out.
const SHUT_OUT: SignedDuration = SignedDuration::from_secs(60);
/// Text of the answer that Code Assist gives to clients it does not want.
const UNSUPPORTED_CLIENT: &str = "This version of Antigravity is no longer supported";

impl Failure {
    /// Of an answer with an error status, or an error in a stream.
    #[must_use]
    pub fn of_answer(
        http_status: u16,
        error: &GoogleError,
        retry_after: Option<SignedDuration>,
        now: Timestamp,
    ) -> Self {
        let status = StatusCode::from_u16(http_status).unwrap_or(StatusCode::BAD_GATEWAY);
        let latest = now.checked_add(MAX_REST).unwrap_or(Timestamp::MAX);
        let reset_at = error
            .reset_at(now)
            .or_else(|| now.checked_add(retry_after?).ok())
            .map(|at| at.min(latest));
        let mut this = Self {
            outcome: Outcome::UpstreamError,
            http_status,
            reason: bounded(if error.reason.is_empty() {
                &error.status
            } else {
                &error.reason
            }),
            said: one_line(&error.message),
            url: String::new(),
            reset_at,
            error: Error::Upstream {
                message: said(error, status),
                status,
                retry_after: reset_at.map(|at| left(at, now)),
            },
            next: Next::Again,
        };
        if error.message.contains(UNSUPPORTED_CLIENT) || error.reason == "UNSUPPORTED_CLIENT" {
            this.set(Outcome::ClientUnsupported, Next::OtherProject);
            this.error = Error::ClientUnsupported {
                message: error.message.clone(),
            };
            return this;
        }
        match http_status {
            401 => this.unauthenticated(),
            403 => this.forbidden(error),
            404 => {
                this.set(Outcome::InvalidRequest, Next::UnknownModel);
                this.error = Error::UnknownModel {
                    message: said(error, status),
                };
            }
            429 => this.limited(error, now),
            400..=499 if http_status != 499 && http_status != 408 => this.refused(error, status),
            _ if error.reason == "MODEL_CAPACITY_EXHAUSTED" => {
                this.set(Outcome::ModelCapacity, Next::Again);
            }
            _ => {}
        }
        this
    }

    /// Of a request that showed an API key. A key has no successor, so that only what is
    /// said of the key itself condemns it: a bare 403 may be about what the client named.
    pub fn concerns_api_key(&mut self, error: &GoogleError) {
        if refuses_key(error) {
            self.unauthenticated();
        } else if self.next == Next::Refresh && self.http_status == 403 {
            self.set(Outcome::PermissionDenied, Next::OtherProject);
        }
    }

    /// Until when its project rests: as Google says, or as the token-service will have it.
    #[must_use]
    pub fn rests_until(&self, now: Timestamp) -> Option<Timestamp> {
        let unstated = match self.outcome {
            Outcome::RateLimited | Outcome::QuotaExhausted => {
                let rest = SignedDuration::try_from(UNSTATED_REST).ok()?;
                now.checked_add(rest).ok()
            }
            _ => None,
        };
        self.reset_at.or(unstated)
    }

    fn set(&mut self, outcome: Outcome, next: Next) {
        self.outcome = outcome;
        self.next = next;
    }

    fn unauthenticated(&mut self) {
        self.set(Outcome::Unauthenticated, Next::Refresh);
        self.error = Error::NoUsableProject {
            message: "Google refuses the access tokens of every project that could serve this \
                      request, fresh ones too."
                .to_owned(),
        };
    }

    /// 403 is about our project, never about the client's key.
    fn forbidden(&mut self, error: &GoogleError) {
        let suspended = error.message.contains("has been disabled")
            && error
                .message
                .to_ascii_lowercase()
                .contains("terms of service");
        let outcome = match error.reason.as_str() {
            _ if suspended => Outcome::Suspended,
            "VALIDATION_REQUIRED" => Outcome::ValidationRequired,
            ""
            | "ACCESS_TOKEN_EXPIRED"
            | "ACCESS_TOKEN_TYPE_UNSUPPORTED"
            | "CREDENTIALS_MISSING" => {
                return self.unauthenticated();
            }
            _ => Outcome::PermissionDenied,
        };
        self.set(outcome, Next::OtherProject);
        let links = ["validation_url", "validation_link", "activationUrl"];
        self.url = links
            .iter()
            .find_map(|key| error.metadata.get(*key))
            .or(error.link.as_ref())
            // A link that was cut off would lead nowhere.
            .filter(|link| link.len() <= MAX_URL)
            .cloned()
            .unwrap_or_default();
        self.error = Error::NoUsableProject {
            message: "Google denies its service to every project that could serve this request. \
                      `antigravity-gateway projects list` tells why."
                .to_owned(),
        };
    }

    fn limited(&mut self, error: &GoogleError, now: Timestamp) {
        if error.is_page {
            return self.shut_out(now);
        }
        let daily = error.quota_ids.iter().any(|id| id.contains("PerDay"));
        let spent = matches!(
            error.reason.as_str(),
            "QUOTA_EXHAUSTED" | "INSUFFICIENT_G1_CREDITS_BALANCE"
        ) || daily
            || error.message.starts_with("Individual quota reached");
        let bare = error.reason.is_empty() && self.reset_at.is_none() && error.quota_ids.is_empty();
        let (outcome, next) = if error.reason == "MODEL_CAPACITY_EXHAUSTED" {
            (Outcome::ModelCapacity, Next::Again)
        } else if spent {
            (Outcome::QuotaExhausted, Next::OtherProject)
        } else if bare {
            (Outcome::RateLimited, Next::BareLimit)
        } else {
            (Outcome::RateLimited, Next::OtherProject)
        };
        self.set(outcome, next);
        let retry_after = self.reset_at.map(|at| left(at, now));
        self.error = Error::RateLimited {
            message: said(error, StatusCode::TOO_MANY_REQUESTS),
            retry_after,
            quota: spent,
        };
    }

    /// Google's front end takes this machine for a robot, whatever project it asks for: it
    /// wants to be left in peace, and no project is at fault.
    fn shut_out(&mut self, now: Timestamp) {
        self.set(Outcome::UpstreamError, Next::OtherUpstream);
        let latest = now.checked_add(MAX_SHUT_OUT).unwrap_or(Timestamp::MAX);
        let until = self
            .reset_at
            .or_else(|| now.checked_add(SHUT_OUT).ok())
            .map(|until| until.min(latest));
        self.reset_at = until;
        self.error = Error::RateLimited {
            message: "Google's front end answers no requests from this gateway's address for a \
                      while: it takes them for automated abuse."
                .to_owned(),
            retry_after: until.map(|at| left(at, now)),
            quota: false,
        };
    }

    fn refused(&mut self, error: &GoogleError, status: StatusCode) {
        // These say something about our key or our place, which the client cannot mend.
        let ours =
            refuses_key(error) || error.message.starts_with("User location is not supported");
        if ours {
            self.set(Outcome::PermissionDenied, Next::OtherProject);
            self.error = Error::NoUsableProject {
                message: "Google does not serve the projects of this gateway: its API key is not \
                          valid, or its location is not supported."
                    .to_owned(),
            };
            return;
        }
        self.set(Outcome::InvalidRequest, Next::Tell);
        self.error = Error::Refused {
            message: said(error, status),
            status,
        };
    }

    /// Of a connection that failed or broke.
    #[must_use]
    pub fn of_transport(nobodys_fault: bool) -> Self {
        Self {
            outcome: Outcome::Transport,
            http_status: 0,
            reason: "TRANSPORT".to_owned(),
            said: String::new(),
            url: String::new(),
            reset_at: None,
            error: Error::Transport,
            next: if nobodys_fault {
                Next::Repeat
            } else {
                Next::Again
            },
        }
    }

    /// Of an upstream that fell silent.
    #[must_use]
    pub fn of_silence() -> Self {
        Self {
            reason: "TIMEOUT".to_owned(),
            error: Error::Timeout,
            ..Self::of_transport(false)
        }
    }

    /// Of an answer that the model failed to produce.
    #[must_use]
    pub fn of_malformed(reason: String, said: Option<String>) -> Self {
        Self {
            error: Error::Malformed { reason, said },
            ..Self::of_invalid_answer(String::new())
        }
    }

    /// Of a 200 that is no answer.
    #[must_use]
    pub fn of_invalid_answer(message: String) -> Self {
        Self {
            outcome: Outcome::UpstreamError,
            http_status: 200,
            reason: "INVALID_ANSWER".to_owned(),
            error: Error::InvalidAnswer { message },
            ..Self::of_transport(false)
        }
    }
}

/// Whether Google says that the API key itself is none, or none any more.
#[must_use]
pub fn refuses_key(error: &GoogleError) -> bool {
    let message = error.message.to_ascii_lowercase();
    error.reason == "API_KEY_INVALID"
        || message.starts_with("api key not valid")
        || message.starts_with("api key not found")
        || message.starts_with("api key expired")
        || (message.contains("api key") && message.contains("leaked"))
}

/// What is told of Google's words.
pub fn one_line(text: &str) -> String {
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(MAX_REASON).collect()
}

/// Google's reasons are single words; what a report carries is limited.
fn bounded(reason: &str) -> String {
    reason.chars().take(MAX_REASON).collect()
}

fn left(until: Timestamp, now: Timestamp) -> Duration {
    let left: SignedDuration = until.duration_since(now);
    left.max(SignedDuration::ZERO).unsigned_abs()
}

/// Google's words, or ours where it has none.
fn said(error: &GoogleError, status: StatusCode) -> String {
    if error.message.is_empty() {
        format!("Google answered {status} without a word.")
    } else {
        error.message.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classified(status: u16, body: &str) -> Failure {
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        Failure::of_answer(status, &GoogleError::parse(body), None, now)
    }

    fn info(code: u16, message: &str, reason: &str) -> String {
        format!(
            r#"{{"error":{{"code":{code},"message":"{message}","details":[{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}","metadata":{{"validation_url":"https://v"}}}}]}}}}"#
        )
    }

    #[test]
    fn each_class() {
        use Outcome as O;
        let tos = r#"{"error":{"code":403,"message":"This service has been disabled in this account for violation of Terms of Service. Please submit an appeal."}}"#;
        for (status, body, outcome, next) in [
            (401, String::new(), O::Unauthenticated, Next::Refresh),
            (403, info(403, "no", ""), O::Unauthenticated, Next::Refresh),
            (403, info(403, "no", "SERVICE_DISABLED"), O::PermissionDenied, Next::OtherProject),
            (403, info(403, "no", "VALIDATION_REQUIRED"), O::ValidationRequired, Next::OtherProject),
            (403, tos.to_owned(), O::Suspended, Next::OtherProject),
            (404, String::new(), O::InvalidRequest, Next::UnknownModel),
            (429, r#"{"error":{"code":429,"message":"Resource has been exhausted (e.g. check quota)."}}"#.to_owned(), O::RateLimited, Next::BareLimit),
            (429, info(429, "reset after 5s", "RATE_LIMIT_EXCEEDED"), O::RateLimited, Next::OtherProject),
            (429, info(429, "reset after 5h", "QUOTA_EXHAUSTED"), O::QuotaExhausted, Next::OtherProject),
            (429, "<html><head><title>Sorry...</title></head></html>".to_owned(), O::UpstreamError, Next::OtherUpstream),
            (503, info(503, "no", "MODEL_CAPACITY_EXHAUSTED"), O::ModelCapacity, Next::Again),
            (500, "<html>".to_owned(), O::UpstreamError, Next::Again),
            (400, info(400, "bad", "API_KEY_INVALID"), O::PermissionDenied, Next::OtherProject),
            (400, info(400, "User location is not supported for the API use.", ""), O::PermissionDenied, Next::OtherProject),
            (400, info(400, "bad", ""), O::InvalidRequest, Next::Tell),
            (400, info(400, "This version of Antigravity is no longer supported. Update", ""), O::ClientUnsupported, Next::OtherProject),
        ] {
            let failure = classified(status, &body);
            assert_eq!((failure.outcome, failure.next), (outcome, next), "{status} {body}");
        }
        assert_eq!(
            classified(403, &info(403, "no", "VALIDATION_REQUIRED")).url,
            "https://v"
        );
    }

    #[test]
    fn only_words_about_the_key_condemn_it() {
        let file = info(403, "You do not have permission to access the File abc", "");
        let leaked = info(
            403,
            "Your API key was reported as leaked. Please use another API key.",
            "",
        );
        for (status, body, next) in [
            (
                400,
                info(
                    400,
                    "API key not valid. Please pass a valid API key.",
                    "API_KEY_INVALID",
                ),
                Next::Refresh,
            ),
            (
                400,
                info(
                    400,
                    "API key expired. Please renew the API key.",
                    "API_KEY_INVALID",
                ),
                Next::Refresh,
            ),
            (401, String::new(), Next::Refresh),
            (403, leaked, Next::Refresh),
            (403, file, Next::OtherProject),
            (
                403,
                info(403, "no", "API_KEY_SERVICE_BLOCKED"),
                Next::OtherProject,
            ),
        ] {
            let error = GoogleError::parse(&body);
            let mut failure = classified(status, &body);
            failure.concerns_api_key(&error);
            assert_eq!(failure.next, next, "{status} {body}");
            assert_eq!(failure.said, error.message);
        }
    }

    #[test]
    fn clients_see_no_401_and_no_403() {
        for status in [401, 403] {
            let error = classified(status, "").error;
            assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(error.code(), Some("no_usable_project"));
        }
    }
}
