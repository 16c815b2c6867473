//! Google's error envelope, `{"error": {"code", "message", "status", "details"}}`, and the details that go in it.

use crate::json::{Json, object};

/// A `google.rpc.Status` with the HTTP status that carries it.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub(crate) code: u16,
    pub(crate) message: String,
    status: &'static str,
    details: Vec<Json>,
    legacy_reason: Option<&'static str>,
}

impl Status {
    pub(crate) fn new(code: u16, status: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            status,
            details: Vec::new(),
            legacy_reason: None,
        }
    }

    pub(crate) fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(400, "INVALID_ARGUMENT", message)
    }

    pub(crate) fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(401, "UNAUTHENTICATED", message)
    }

    pub(crate) fn permission_denied(message: impl Into<String>) -> Self {
        Self::new(403, "PERMISSION_DENIED", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "NOT_FOUND", message)
    }

    pub(crate) fn exhausted(message: impl Into<String>) -> Self {
        Self::new(429, "RESOURCE_EXHAUSTED", message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "UNAVAILABLE", message)
    }

    /// Adds `google.rpc.ErrorInfo`.
    pub(crate) fn info(self, reason: &str, domain: &str, metadata: Json) -> Self {
        let mut info = object! {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "domain": domain,
        };
        if !metadata.is_empty() {
            info.set("metadata", metadata);
        }
        self.detail(info)
    }

    /// Adds `google.rpc.RetryInfo`; the delay in JSON's spelling of a duration, such as `0.479417207s`.
    pub(crate) fn retry(self, delay: &str) -> Self {
        self.detail(
            object! { "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay },
        )
    }

    /// Adds `google.rpc.BadRequest`, one violation for each (field, description); an empty field is left out.
    pub(crate) fn violations(self, violations: &[(String, String)]) -> Self {
        let violations: Vec<Json> = violations
            .iter()
            .map(|(field, description)| {
                if field.is_empty() {
                    object! { "description": description }
                } else {
                    object! { "field": field, "description": description }
                }
            })
            .collect();
        self.detail(object! { "@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations })
    }

    pub(crate) fn detail(mut self, detail: Json) -> Self {
        self.details.push(detail);
        self
    }

    /// Adds the older APIs' `errors` list beside `details`.
    pub(crate) fn legacy(mut self, reason: &'static str) -> Self {
        self.legacy_reason = Some(reason);
        self
    }

    /// The whole document.
    pub(crate) fn to_json(&self) -> Json {
        let mut error = object! { "code": self.code, "message": &self.message };
        if let Some(reason) = self.legacy_reason {
            let legacy = object! { "message": &self.message, "domain": "global", "reason": reason };
            error.set("errors", vec![legacy]);
        }
        error.set("status", self.status);
        if !self.details.is_empty() {
            error.set("details", self.details.clone());
        }
        object! { "error": error }
    }
}
