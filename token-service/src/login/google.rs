//! Calls of Google's APIs in an account's name: JSON there and back, and what refusals say.

use std::fmt;

use http::{HeaderMap, HeaderValue, Method, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::project::Answer;

/// Model lists have tens of kilobytes.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
const MAX_MESSAGE: usize = 400;
const MAX_LINK: usize = 2048;
/// What Code Assist says to clients that it does not want, as an error and as a model's text.
pub(super) const UNSUPPORTED_CLIENT: &str = "This version of Antigravity is no longer supported";

/// An account that calls.
pub(super) struct Caller<'a> {
    pub(super) http: &'a reqwest::Client,
    pub(super) token: &'a SecretString,
    /// Those that an operator adds; ours go before them.
    pub(super) headers: &'a HeaderMap,
    /// `x-goog-user-project`: who pays, where the API asks for that.
    pub(super) user_project: Option<&'a str>,
}

/// Why a call brought nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusal {
    /// 0: there was no answer.
    pub(super) status: u16,
    /// `google.rpc.ErrorInfo.reason`, else the status' name.
    pub(super) reason: String,
    pub(super) message: String,
    /// What is to be opened.
    pub(super) link: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            0 => f.write_str(&self.message),
            status if self.message.is_empty() => write!(f, "Google answers {status}"),
            status => {
                let said = self.message.trim_end_matches('.');
                write!(f, "Google answers {status}: {said}")
            }
        }
    }
}

impl Refusal {
    fn no_answer(message: String) -> Self {
        Self {
            message,
            ..Self::default()
        }
    }

    /// Whether it may be another answer next time.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self.status, 0 | 408 | 429 | 499..)
    }

    /// Whether another host may know better.
    fn is_of_host(&self) -> bool {
        matches!(self.status, 0 | 404 | 499..)
    }

    /// What it means for the project that was asked with.
    pub(super) fn verdict(&self) -> Answer {
        let words = self.message.to_ascii_lowercase();
        let suspended = words.contains("has been disabled") && words.contains("terms of service");
        let reason = self.reason.clone();
        let url = self.link.clone().unwrap_or_default();
        match (self.status, self.reason.as_str()) {
            (403, _) if self.is_of_client() => Answer::Neutral,
            (403, _) if suspended => Answer::Suspended {
                reason: self.message.clone(),
                url,
            },
            (403, "VALIDATION_REQUIRED") => Answer::ValidationRequired { reason, url },
            (403, "" | "ACCESS_TOKEN_EXPIRED" | "CREDENTIALS_MISSING") => Answer::Neutral,
            (403, _) => Answer::Denied { reason, url },
            (429, _) => Answer::Limited { reset_at: None },
            _ => Answer::Neutral,
        }
    }

    /// Whether it is about this program rather than about the account.
    pub(super) fn is_of_client(&self) -> bool {
        self.reason == "UNSUPPORTED_CLIENT" || self.message.contains(UNSUPPORTED_CLIENT)
    }

    fn of(status: u16, body: &[u8]) -> Self {
        let mut this = Self {
            status,
            ..Self::default()
        };
        let Ok(document) = serde_json::from_slice::<Value>(body) else {
            return this;
        };
        let error = document
            .get("error")
            .or_else(|| document.get(0)?.get("error"));
        if let Some(error) = error {
            this.absorb(error);
        }
        this
    }

    /// Takes Google's `error` object in.
    pub(super) fn absorb(&mut self, error: &Value) {
        let text = |key: &str| error.get(key).and_then(Value::as_str);
        self.message = line(text("message").unwrap_or_default());
        self.reason = line(text("status").unwrap_or_default());
        let details = error.get("details").and_then(Value::as_array);
        for detail in details.into_iter().flatten() {
            let kind = detail
                .get("@type")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if kind.ends_with("google.rpc.ErrorInfo") {
                if let Some(reason) = detail.get("reason").and_then(Value::as_str) {
                    self.reason = line(reason);
                }
                let keys = ["validation_url", "validation_link", "activationUrl"];
                let metadata = |key: &&str| detail.get("metadata")?.get(*key);
                self.link = keys.iter().find_map(metadata).and_then(link);
            } else if kind.ends_with("google.rpc.Help") && self.link.is_none() {
                self.link = detail.pointer("/links/0/url").and_then(link);
            }
        }
    }
}

impl Caller<'_> {
    pub(super) async fn get(&self, url: &str) -> Result<Value, Refusal> {
        self.call(Method::GET, url, None).await
    }

    pub(super) async fn post(&self, url: &str, body: &Value) -> Result<Value, Refusal> {
        self.call(Method::POST, url, Some(body)).await
    }

    /// Posts to the first of `hosts` that knows what to do with it, and tells which.
    pub(super) async fn post_to_any<'h>(
        &self,
        hosts: &'h [String],
        path: &str,
        body: &Value,
    ) -> Result<(Value, &'h str), Refusal> {
        let mut last = Refusal::no_answer("no host of the Cloud Code API is configured".into());
        for host in hosts {
            match self.post(&format!("{host}{path}"), body).await {
                Ok(answer) => return Ok((answer, host)),
                Err(refusal) if refusal.is_of_host() => last = refusal,
                Err(refusal) => return Err(refusal),
            }
        }
        Err(last)
    }

    async fn call(
        &self,
        method: Method,
        url: &str,
        body: Option<&Value>,
    ) -> Result<Value, Refusal> {
        let mut headers = self.headers.clone();
        headers.remove(header::AUTHORIZATION);
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Some(project) = self.user_project
            && let Ok(project) = HeaderValue::from_str(project)
        {
            headers.insert("x-goog-user-project", project);
        }
        let mut request = self
            .http
            .request(method, url)
            .headers(headers)
            .bearer_auth(self.token.expose_secret());
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let silent = |error: reqwest::Error| Refusal::no_answer(silence(error));
        let mut answer = request.send().await.map_err(silent)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(silent)? {
            body.extend_from_slice(&piece);
            if body.len() > MAX_ANSWER {
                return Err(Refusal::no_answer("Google's answer is too large".into()));
            }
        }
        if !status.is_success() {
            return Err(Refusal::of(status.as_u16(), &body));
        }
        serde_json::from_slice(&body)
            .map_err(|_| Refusal::no_answer(format!("Google answers {status}, and no JSON")))
    }
}

/// The causes of a transport error, without the address.
fn silence(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "Google does not answer in time".to_owned();
    }
    let host = error
        .url()
        .and_then(|url| url.host_str())
        .unwrap_or_default();
    let mut text = format!("Google cannot be reached at {host}");
    let error = error.without_url();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    line(&text)
}

/// Words of Google's as they may be repeated: one line, short.
pub(super) fn line(text: &str) -> String {
    let words: Vec<_> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .collect();
    let words = words.into_iter().filter(|word| !word.is_empty());
    let text = words.collect::<Vec<_>>().join(" ");
    text.chars().take(MAX_MESSAGE).collect()
}

/// A link that can be shown: one that was cut off would lead nowhere.
pub(super) fn link(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let web = text.starts_with("https://") || text.starts_with("http://");
    let plain = |c: char| !c.is_control() && !c.is_whitespace();
    (web && text.len() <= MAX_LINK && text.chars().all(plain)).then(|| text.to_owned())
}
